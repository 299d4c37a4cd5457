"""What long works on tenants' stores are, and what they need of a backend.

Such a work is a job with a lease like any other (engine.lease). It goes in short steps, each of
them fenced by the store or harmless if it is done twice; how far it is lies in its row.
"""

from typing import Protocol

import msgspec

from engine.model import ExportStatus, Issue, JobId, Lease, Pruned, Reindexed, WorkerId
from engine.tenant import TenantId


class Reindex(msgspec.Struct, frozen=True, kw_only=True, tag="reindex", tag_field="kind"):
    """Bring the index rows of all resources to the definitions of now."""

    rebuild: bool = False  # forget all rows first: for settings that changed, and after damage


class Pruning(msgspec.Struct, frozen=True, kw_only=True, tag="prune", tag_field="kind"):
    """Remove versions that were replaced before a time, but for the newest of each resource."""

    older_than_ms: int
    keep: int  # of each resource, the current version included; at least 1


Task = Reindex | Pruning


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far a work is, as its worker last wrote it down."""

    begun: bool = False  # the store has taken it up: the next worker goes on
    looked: int = 0  # at versions
    changed: int = 0  # resources indexed, or versions removed
    cursor: tuple[str, str] | None = None  # of a pruning: type and id to go on after


class StoreWork(msgspec.Struct, frozen=True, kw_only=True):
    """A work as others see it."""

    id: JobId
    tenant: TenantId
    task: Task
    status: ExportStatus  # the same words as for exports
    standing: Standing = Standing()
    created_ms: int
    finished_ms: int | None = None
    worker: WorkerId | None = None  # holds its lease
    reason: str = ""  # why an open one is waiting
    issue: Issue | None = None  # why it failed


class StoreWorks(Protocol):
    """Works of all tenants: of a kind, at most one is open for a tenant. Their tokens grow from
    one to the next, so that a store tells late steps of an old one from those of a new one."""

    async def ask(self, tenant: TenantId, task: Task) -> StoreWork:
        """The open work of this kind, whatever its details; a new one if there is none.
        Raises NotFound."""
        ...

    async def find(self, tenant: TenantId, work: JobId) -> StoreWork | None:
        """Any work. Of those that ended only the latest are kept."""
        ...

    async def cancel(self, tenant: TenantId, work: JobId) -> None:
        """End it, if it is open: its worker stops after the step that it is at."""
        ...

    async def save(self, lease: Lease, standing: Standing) -> None:
        """Write down how far it is, and renew. Fenced: raises LeaseLost, JobCancelled."""
        ...

    async def end(self, lease: Lease, standing: Standing, *, issue: Issue | None = None) -> None:
        """It is done, or it failed by this. Fenced, as save; the lease ends with it."""
        ...


class StoreUpkeep(Protocol):
    """Long works on a store, in short steps that hold up nobody for long. Whoever has the lease
    of such a work passes its token: a step under an older one does nothing."""

    async def indexed(self) -> bool:
        """Whether the index holds all that can be searched for now."""
        ...

    async def begin_reindex(self, job: JobId, token: int, *, rebuild: bool = False) -> None:
        """Take the work up, where it was left if it was begun before. `rebuild`: forget all index
        rows first; until the work is done nothing can be searched for. Raises LeaseLost."""
        ...

    async def step_reindex(self, job: JobId, token: int) -> Reindexed:
        """Make the rows of the next resources again that are not of this generation of the
        definitions. Cancelled: done or not at all. Raises LeaseLost."""
        ...

    async def prune(
        self,
        *,
        older_than_ms: int,
        keep: int,
        after: tuple[str, str] | None = None,
        dry_run: bool = False,
    ) -> Pruned:
        """Remove versions of the next resources that were replaced before a time, but for the
        newest `keep` (at least 1) of each and what an open snapshot shows. `dry_run`: only count
        them. Needs no fence: done twice or late it removes nothing else."""
        ...
