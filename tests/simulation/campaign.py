"""Campaign: many seeds over several processes, and what they added up to."""

import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.simulation.simulation import Outcome, simulate

PROCESSES = 2
SEEDS_PER_CHUNK = 20


@dataclass
class Campaign:
    """Sums over the outcomes of many seeds."""

    seeds: int = 0
    failures: list[tuple[int, str]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.faults.update(outcome.faults)
        self.sums.update(
            jobs=outcome.jobs,
            completed=outcome.completed,
            resumed=outcome.resumed,
            links=outcome.links,
            virtual_s=round(outcome.virtual_s),
        )
        if outcome.broken:
            self.failures.append((outcome.seed, outcome.broken[0]))

    def summary(self) -> str:
        """One line for whoever reads a test's output."""
        faults, sums = self.faults, self.sums
        return (
            f"{self.seeds} seeds, {faults.total()} faults, {faults['kill']} kills, "
            f"{faults['pause']} pauses, {faults['power']} power cuts, "
            f"{sums['virtual_s'] / 3600:.0f} virtual hours, {sums['completed']} of "
            f"{sums['jobs']} exports complete, {sums['resumed']} of them resumed, "
            f"{sums['links']} links of chains"
        )

    def report(self, bug: str | None = None) -> str:
        """The summary, and for each failed seed what repeats it."""
        planted = f" --bug {bug}" if bug else ""
        lines = [self.summary()]
        for seed, promise in self.failures[:20]:
            lines.append(f"broken: {promise}")
            lines.append(f"  python -m tests.simulation --seed {seed}{planted} -v")
        return "\n".join(lines)


def run_campaign(seeds: Sequence[int], *, processes: int = PROCESSES) -> Campaign:
    """Run every seed."""
    campaign = Campaign()
    for outcome in _spread(seeds, processes):
        campaign.add(outcome)
    return campaign


def first_catch(bug: str, seeds: Iterable[int]) -> Outcome | None:
    """The first seed that notices the bug."""
    for seed in seeds:
        outcome = simulate(seed, bug=bug)
        if outcome.broken:
            return outcome
    return None


def _spread(seeds: Sequence[int], processes: int) -> Iterator[Outcome]:
    if processes == 1:
        yield from map(simulate, seeds)
        return
    # Fresh interpreters: a fork would copy whatever the test run has open.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(simulate, seeds, chunksize=SEEDS_PER_CHUNK)
