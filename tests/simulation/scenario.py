"""Scenario: everything about one simulated run that its seed decides beforehand.

Swarm testing: each seed leaves most kinds of fault out and turns the rest up, because a
run with all faults at once hides more than it shows.
"""

import random
from dataclasses import dataclass

from engine.limits import EngineLimits

# Kinds of fault at a call. See gate.py for what each does.
KINDS = ("kill", "pause", "stall", "refuse", "lose", "slow", "cut")
RATES = (0.001, 0.003, 0.01)
HOT_FACTOR = 8

# Where an interruption does the most harm: at what makes something visible.
HOT_SPOTS = frozenset(
    {
        "work.record_part",
        "work.finish",
        "work.save_plan",
        "sink.finalize",
        "leases.claim",
        "leases.heartbeat",
        "leases.release",
        "store.open_snapshot",
        "jobs.start",
        "jobs.cancel",
        "outputs.delete_job",
        "outputs.remove",
    }
)

TYPES = ("Condition", "Encounter", "Observation", "Patient")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One seed's world, workers, clients and faults."""

    seed: int
    limits: EngineLimits
    horizon_s: float  # when the faults stop
    slots: int  # workers at once
    tenants: int
    ids: int  # per type: few, so that writes meet
    types: tuple[str, ...]
    resources: int  # of each tenant, before the first export
    kickoffs: int
    rates: dict[str, float]
    latency_rate: float  # of calls that take some time
    latency_s: float
    slow_data_s: float  # of a read or an append, if they are slow: parts may outlast a lease
    power_cuts: int
    drains: int
    clock_steps: int
    skew_s: float  # of the workers' wall clocks
    known_deaths: bool  # whether a dead worker is known to be dead at once
    piece_bytes: int  # a longer line comes in several batches
    body_bytes: int
    write_gap_s: float
    coding: str

    @property
    def lease_s(self) -> float:
        return self.limits.lease_seconds


def draw_scenario(seed: int) -> Scenario:
    """The scenario of a seed."""
    rng = random.Random(f"scenario {seed}")
    lease_s = rng.choice((12.0, 20.0, 40.0))
    return Scenario(
        seed=seed,
        limits=_draw_limits(rng, lease_s),
        horizon_s=lease_s * rng.uniform(3, 6),
        slots=rng.choice((2, 2, 3)),
        tenants=rng.choice((1, 1, 1, 2)),
        ids=rng.choice((3, 6, 12)),
        types=TYPES[: rng.choice((1, 2, 4))],
        resources=rng.choice((0, 4, 8, 14)),
        kickoffs=rng.choice((1, 2, 2)),
        rates={kind: rng.choice(RATES) for kind in KINDS if rng.random() < 0.45},
        latency_rate=rng.choice((0.1, 0.4)),
        latency_s=rng.choice((0.02, 0.3, 1.5)),
        slow_data_s=lease_s * rng.choice((0.0, 0.0, 0.0, 0.4)),
        power_cuts=rng.choice((0, 0, 0, 1)),
        drains=rng.choice((0, 0, 1, 3)),
        clock_steps=rng.choice((0, 0, 2, 6)),
        skew_s=rng.choice((0.0, 2.0, 120.0, 7200.0)),
        known_deaths=rng.random() < 0.5,
        piece_bytes=rng.choice((60, 1 << 20)),
        body_bytes=rng.choice((10, 60)),
        write_gap_s=lease_s * rng.choice((0.05, 0.2, 0.5)),
        coding=rng.choice(("", "", "gzip")),
    )


def _draw_limits(rng: random.Random, lease_s: float) -> EngineLimits:
    return EngineLimits(
        lease_seconds=lease_s,
        lease_renew_seconds=lease_s * rng.choice((0.15, 0.4)),
        lease_margin_seconds=lease_s / 12,
        attempts_max=rng.choice((3, 30)),
        jobs_at_once=rng.choice((1, 2, 3)),
        lanes_per_job=rng.choice((1, 2, 3)),
        open_jobs_max=rng.choice((2, 50)),
        retention_seconds=rng.choice((7 * 86400.0, 7 * 86400.0, 2 * lease_s)),
        drain_seconds=rng.choice((0.1, 2.0, 10.0)),
        commit_seconds=rng.choice((lease_s / 4, lease_s)),
        stall_seconds=lease_s * rng.choice((4, 20)),
        poll_seconds=lease_s / 3,
        upkeep_seconds=lease_s * rng.choice((0.7, 2)),
        pin_orphan_seconds=lease_s * 10,
        file_orphan_seconds=lease_s * 10,
        backoff_seconds=rng.choice((0.1, 1.0)),
        backoff_seconds_max=lease_s / 2,
    )
