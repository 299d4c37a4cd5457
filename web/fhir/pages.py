"""Pages: where the next page begins, as an opaque text that only this server makes.

Sealed with a key of the tenant's own store, so that no other tenant's cursor, nor one of another
query, is taken.
"""

import hashlib

from engine.fhir.search.cursor import seal, unseal
from engine.ports import TenantStore
from engine.tenant import TenantId
from web.fhir.tenancy import current_tenant

_PURPOSE = b"page-cursor"
_KEY_BYTES = 32


class Pages:
    """Seals positions and opens them again."""

    def __init__(self) -> None:
        self._keys: dict[TenantId, bytes] = {}  # grows with the tenants, not with requests

    async def seal(self, store: TenantStore, position: bytes, query: str) -> str:
        """A cursor for this position in this query of the current tenant."""
        tenant = current_tenant()
        return seal(position, key=await self._key(store), tenant=tenant, query=query)

    async def open(self, store: TenantStore, cursor: str | None, query: str) -> bytes:
        """The position that a cursor holds; empty without one. Raises BadParameter for one that
        was not made here for this query."""
        if not cursor:
            return b""
        tenant = current_tenant()
        return unseal(cursor, key=await self._key(store), tenant=tenant, query=query)

    async def _key(self, store: TenantStore) -> bytes:
        """Known to every process that has the store open, and to nobody else: made from the
        store's id, which is random, and which no answer shows."""
        tenant = current_tenant()
        if tenant not in self._keys:
            id = (await store.statistics()).store
            digest = hashlib.blake2b(_PURPOSE, key=id.encode(), digest_size=_KEY_BYTES)
            self._keys[tenant] = digest.digest()
        return self._keys[tenant]
