"""Tenants: who owns data. Names are for people, keys are for storage.

A tenant's id may be hierarchical (`acme/research`). Its key is one opaque
segment given at creation and never reused, so that no key of one tenant is a
prefix of another's (DESIGN 9).
"""

import re
from typing import NewType

import msgspec

from engine.errors import BadRequest

TenantId = NewType("TenantId", str)
TenantKey = NewType("TenantKey", str)

DEFAULT_TENANT = TenantId("default")

TENANT_ID_CHARS_MAX = 128
_TENANT_ID = re.compile(r"[a-z][a-z0-9-]{0,62}(?:/[a-z][a-z0-9-]{0,62}){0,7}")

# First segments of paths under the FHIR base that are not tenants.
RESERVED_WORDS = frozenset({"metadata", "healthz", "readyz", "metrics", "ui", "admin", "fhir"})


class Tenant(msgspec.Struct, frozen=True):
    """One tenant as the registry knows it."""

    id: TenantId
    key: TenantKey


def parse_tenant_id(text: str) -> TenantId:
    """Check a tenant's name: lower-case words joined by `/`. Raises BadRequest."""
    if len(text) > TENANT_ID_CHARS_MAX or not _TENANT_ID.fullmatch(text):
        raise BadRequest(
            "a tenant's name is lower-case words of letters, digits and '-' joined by '/'"
        )
    if text.split("/")[0] in RESERVED_WORDS:
        raise BadRequest(f"'{text.split('/')[0]}' is a reserved word and cannot name a tenant")
    return TenantId(text)
