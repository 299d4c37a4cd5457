"""`make bench`: all measurements in one run; a JSON file, a table, docs/performance.md.

    python -m bench.run [--data DIR] [--resources N] [--bytes N] [--disk DIR] [--memory DIR]

The data set is the sample data of tests/data, or the NDJSON files of --data, many times over.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import bundles, download, endurance, export, latency, load, rest, search
from bench.data import multiply
from bench.measure import machine
from bench.report import MUST_REACH, markdown, table

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "latest.json"
PAGE = HERE.parent / "docs" / "performance.md"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--data", type=Path, default=HERE.parent / "tests" / "data" / "synthea-r4")
    words.add_argument("--resources", type=int, default=700_000)
    words.add_argument("--bytes", type=int, default=1_000_000_000)
    words.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()))
    words.add_argument("--memory", type=Path, default=Path("/dev/shm"))
    words.add_argument("--only", nargs="*", default=[], help="names of measurements")
    options = words.parse_args()
    console = Console()
    missing = [name for name in ("sqlite3", "curl", "dd") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"install {', '.join(missing)} first (Debian packages: sqlite3, curl)")
    with (
        tempfile.TemporaryDirectory(dir=options.disk, prefix="penstock-bench-") as disk,
        tempfile.TemporaryDirectory(dir=options.memory, prefix="penstock-bench-") as memory,
    ):
        results = _measure(options, console, Path(disk), Path(memory))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    console.print(table(results))
    if not options.only:
        PAGE.write_text(markdown(results))
    below = [
        bound.name for bound in MUST_REACH if bound.measured(results) and not bound.met(results)
    ]
    if below:
        console.print(f"below the bound: {', '.join(below)}")


def _measure(
    options: argparse.Namespace, console: Console, disk: Path, memory: Path
) -> dict[str, Any]:
    data = disk / "data"
    rows, size = multiply(
        options.data, data, resources_min=options.resources, bytes_min=options.bytes
    )
    console.print(f"data: {rows:,} resources, {size / 1e6:,.0f} MB of NDJSON")
    results: dict[str, Any] = {"machine": machine(), "data": {"resources": rows, "bytes": size}}
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "load": lambda: load.measure(disk, data),
        "export_disk": lambda: export.measure(disk, on_disk=True),
        "export_memory": lambda: _in_memory(disk, memory),
        "search": lambda: search.measure(disk, data),
        "latency": lambda: latency.measure(disk),
        "download": lambda: download.measure(disk),
        "restart": lambda: endurance.restart(disk),
        "many_exports": lambda: endurance.many_exports(disk / "small", options.data),
        "load_beside_export": lambda: endurance.load_beside_export(
            disk, options.data, bytes_min=2 * options.bytes
        ),
        # They write into the store, so they come last.
        "rest": lambda: rest.measure(disk, data),
        "bundles": lambda: bundles.measure(disk, data),
    }
    for name, step in steps.items():
        if not options.only or name in options.only or name == "load":
            console.print(f"measuring {name} ...")
            results[name] = step()
            console.print_json(json.dumps(results[name]))
    return results


def _in_memory(disk: Path, memory: Path) -> dict[str, Any]:
    shutil.copytree(disk / "store", memory / "store", ignore=shutil.ignore_patterns("output"))
    try:
        return export.measure(memory, on_disk=False)
    finally:
        for child in memory.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()


if __name__ == "__main__":
    main()
