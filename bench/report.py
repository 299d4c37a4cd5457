"""The results as a table and as docs/performance.md, with the bounds they are held against."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rich.table import Table

Results = dict[str, Any]


@dataclass(frozen=True)
class Bound:
    """One figure that must be reached."""

    name: str
    measurement: str
    figure: Callable[[Results], float]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    def measured(self, results: Results) -> bool:
        return self.measurement in results

    def met(self, results: Results) -> bool:
        value = self.figure(results)
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    @property
    def text(self) -> str:
        word, bound = (
            ("at least", self.at_least) if self.at_most is None else ("at most", self.at_most)
        )
        return f"{word} {bound:,g} {self.unit}".rstrip()


MUST_REACH = [
    Bound(
        "export over the sqlite3 program, in memory",
        "export_memory",
        lambda r: r["export_memory"]["sqlite3_over_penstock"]["median"],
        at_least=2.0,
        unit="times its speed",
    ),
    Bound(
        "export over the sqlite3 program piped through tee and sha256sum, in memory",
        "export_memory",
        lambda r: r["export_memory"]["sqlite3_hashed_over_penstock"]["median"],
        at_least=1.0,
        unit="times its speed (for comparison: the same work)",
    ),
    Bound(
        "export over a plain copy with fsync, on disk",
        "export_disk",
        lambda r: r["export_disk"]["copy_over_penstock"]["median"],
        at_least=0.8,
        unit="times its speed",
    ),
    Bound(
        "engine over the bare loop, in memory",
        "export_memory",
        lambda r: r["export_memory"]["penstock_over_bare"]["median"],
        at_most=1.10,
        unit="times its time",
    ),
    Bound(
        "engine over the bare loop, on disk",
        "export_disk",
        lambda r: r["export_disk"]["penstock_over_bare"]["median"],
        at_most=1.10,
        unit="times its time",
    ),
    Bound(
        "load without search indexes",
        "load",
        lambda r: r["load"]["resources_per_s"]["median"],
        at_least=30_000,
        unit="resources/s",
    ),
    Bound(
        "peak memory of the server during exports",
        "export_disk",
        lambda r: max(
            r[name]["server_peak_mib"] for name in ("export_disk", "export_memory") if name in r
        ),
        at_most=200,
        unit="MiB",
    ),
    Bound(
        "peak memory beside a load, with bodies of 5 and 16 MB",
        "load_beside_export",
        lambda r: r["load_beside_export"]["server_peak_mib"],
        at_most=200,
        unit="MiB",
    ),
    Bound(
        "largest WAL while export and load run together",
        "load_beside_export",
        lambda r: r["load_beside_export"]["wal_most_mib"],
        at_most=512,
        unit="MiB",
    ),
    Bound(
        "memory grown over 200 exports",
        "many_exports",
        lambda r: (
            r["many_exports"]["memory_mib"]["at_the_end"]
            - r["many_exports"]["memory_mib"]["after_20"]
        ),
        at_most=8,
        unit="MiB",
    ),
    Bound(
        "open files grown over 200 exports",
        "many_exports",
        lambda r: (
            r["many_exports"]["open_files"]["at_the_end"]
            - r["many_exports"]["open_files"]["after_20"]
        ),
        at_most=0,
        unit="files",
    ),
    Bound(
        "download, one client",
        "download",
        lambda r: r["download"]["one_client_mb_per_s"]["median"],
        at_least=1000,
        unit="MB/s",
    ),
    Bound(
        "memory grown by 50 slow readers",
        "download",
        lambda r: r["download"]["memory_most_mib"] - r["download"]["memory_before_mib"],
        at_most=100,
        unit="MiB",
    ),
    Bound(
        "poll p99 while an export runs",
        "latency",
        lambda r: r["latency"]["poll_ms"]["p99"],
        at_most=50,
        unit="ms",
    ),
    Bound(
        "kick-off p99 while an export runs",
        "latency",
        lambda r: r["latency"]["kick_off_ms"]["p99"],
        at_most=50,
        unit="ms",
    ),
    Bound(
        "from the new process to the job going on, after SIGKILL",
        "restart",
        lambda r: r["restart"]["from_start_s"]["max"],
        at_most=2.0,
        unit="s",
    ),
]

# Of the store alone: milliseconds in the thread, half of the questions take at most so long.
_IN_STORE = {
    "read": ("point read", 0.020),
    "subject_and_code": ("subject and code", 1.0),
    "code": ("code, first page", 1.0),
    "code_and_dates": ("code and date range", 50.0),
    "sorted_by_date": ("sorted by date, first page", 2.0),
    "total_of_four_codes": ("exact total of codes", 30.0),
    "blood_pressure_over": ("component-code-value-quantity, first page", 5.0),
    "chain_of_three": ("chain of three steps", 100.0),
    "has": ("_has", 100.0),
}
_OVER_HTTP = {
    "read": ("reads", 1_500.0),
    "create": ("creates, indexed and durable", 700.0),
    "search_page": ("pages of 20", 400.0),
}


def _search_bound(kind: str, name: str, at_most: float) -> Bound:
    return Bound(
        f"{name}, in the store",
        "search",
        lambda r: float(r["search"][kind]["p50_ms"]),
        at_most=at_most,
        unit="ms",
    )


def _rest_bound(kind: str, name: str, at_least: float) -> Bound:
    return Bound(
        f"{name} over HTTP",
        "rest",
        lambda r: float(r["rest"][kind]["per_s"]),
        at_least=at_least,
        unit="a second",
    )


MUST_REACH += [
    *(_search_bound(kind, *bound) for kind, bound in _IN_STORE.items()),
    *(_rest_bound(kind, *bound) for kind, bound in _OVER_HTTP.items()),
    Bound(
        "entries of transactions of 1,000 over HTTP",
        "bundles",
        lambda r: float(r["bundles"]["of_1000"]["entries_per_s"]),
        at_least=3_000,
        unit="a second",
    ),
]


def _rows(results: Results) -> Iterator[tuple[str, str, str, str]]:
    for bound in MUST_REACH:
        if bound.measured(results):
            value = f"{bound.figure(results):,.2f}"
            yield bound.name, value, bound.text, "yes" if bound.met(results) else "NO"


def table(results: Results) -> Table:
    """The bounds, for a terminal."""
    shown = Table("figure", "measured", "bound", "met")
    for row in _rows(results):
        shown.add_row(*row)
    return shown


def markdown(results: Results) -> str:
    """docs/performance.md."""
    facts = ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in results["machine"].items()
    )
    lines = [
        "# Performance",
        "",
        "Written by `make bench`; the raw figures are in `bench/results/latest.json`.",
        "Every comparison is paired: the two are run in turn, round after round, and the ratio",
        "is the median of the pairs. The load generator runs on the same machine.",
        "",
        f"Machine: {facts}.",
        f"Data: {results['data']['resources']:,} resources, "
        f"{results['data']['bytes'] / 1e6:,.0f} MB of NDJSON.",
        "",
        "| figure | measured | bound | met |",
        "| --- | ---: | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in _rows(results)),
        "",
        *_exports(results),
        "",
        *_searches(results),
        "",
        *_requests(results),
        "",
        "## How to repeat it",
        "",
        "`make bench` (about ten minutes; needs `sqlite3` and `curl`), or with more data",
        "`.venv/bin/python -m bench.run --data DIR`. `--only NAME` runs one measurement.",
        "What each one does is said at the top of its file in `bench/`.",
        "",
    ]
    return "\n".join(lines)


def _exports(results: Results) -> Iterator[str]:
    yield "| export | where | seconds (min, median, max) |"
    yield "| --- | --- | --- |"
    for name in ("export_memory", "export_disk"):
        for run, seconds in results.get(name, {}).get("seconds", {}).items():
            three = ", ".join(f"{seconds[key]:.2f}" for key in ("min", "median", "max"))
            yield f"| {run} | {results[name]['where']} | {three} |"


def _searches(results: Results) -> Iterator[str]:
    yield "| in the store | hits | p50 ms | p99 ms | hop to the thread, p50 ms |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, found in results.get("search", {}).items():
        if isinstance(found, dict):
            hits = f"{found['hits']:,.0f}"
            times = (f"{found[key]:.3f}" for key in ("p50_ms", "p99_ms", "hop_p50_ms"))
            yield f"| {name.replace('_', ' ')} | {hits} | {' | '.join(times)} |"


def _requests(results: Results) -> Iterator[str]:
    yield "| over HTTP | a second | p50 ms | p99 ms |"
    yield "| --- | ---: | ---: | ---: |"
    for kind in ("rest", "bundles"):
        for name, found in results.get(kind, {}).items():
            if isinstance(found, dict):
                figures = (f"{found[key]:,.1f}" for key in ("per_s", "p50_ms", "p99_ms"))
                label = f"transactions {name}" if kind == "bundles" else name
                yield f"| {label.replace('_', ' ')} | {' | '.join(figures)} |"
