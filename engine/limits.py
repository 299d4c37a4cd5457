"""The engine's bounds, in one place and checked against each other (STYLE 13)."""

import msgspec

from engine.errors import SettingInvalid

MIB = 1 << 20


class EngineLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Every number that shapes the engine's work. Settings may change them."""

    lease_seconds: float = 60.0
    lease_renew_seconds: float = 10.0
    lease_margin_seconds: float = 5.0  # a worker stops itself this long before its lease ends
    attempts_max: int = 5  # claims that ended without release, before a job fails
    jobs_at_once: int = 2  # per process
    lanes_per_job: int = 2  # parts that stream at once; as many more become durable meanwhile
    part_bytes: int = 64 * MIB
    open_jobs_max: int = 50  # per tenant, accepted or in progress
    retention_seconds: float = 7 * 24 * 3600.0  # of finished files
    drain_seconds: float = 10.0  # to finish in when asked to stop
    commit_seconds: float = 30.0  # bound of a shielded commit or clean-up
    stall_seconds: float = 300.0  # without progress, the keeper stops renewing
    poll_seconds: float = 5.0  # the claimer looks, woken or not
    upkeep_seconds: float = 60.0  # between two rounds of the janitor
    pin_orphan_seconds: float = 600.0  # a pin without a job row goes after this
    file_orphan_seconds: float = 600.0  # a file without a job row goes after this
    backoff_seconds: float = 1.0  # first delay of a restarted actor or a released job
    backoff_seconds_max: float = 60.0

    def check(self) -> None:
        """Raise SettingInvalid if two bounds contradict each other."""
        renew, margin = self.lease_renew_seconds, self.lease_margin_seconds
        if not 2 * renew + margin < self.lease_seconds:
            raise SettingInvalid(
                "lease_seconds", "must outlive one missed renewal: more than 2 x renew + margin"
            )
        for name in ("lanes_per_job", "jobs_at_once", "attempts_max", "open_jobs_max"):
            if getattr(self, name) < 1:
                raise SettingInvalid(name, "must be at least 1")
        if self.part_bytes < 64 * 1024:
            raise SettingInvalid("part_bytes", "must be at least 65536")
