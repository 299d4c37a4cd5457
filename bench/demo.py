"""The whole way once: a server, the sample data, an export over HTTP, every byte checked.

    make demo

Leaves the exported files in demo-export/, and says where.
"""

import gzip
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.process import PENSTOCK, environment, serving

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "tests" / "data" / "synthea-r4"
FOLDER = ROOT / "demo-export"
DONE_PERCENT = re.compile(r"(\d+) ?%")
WAIT_SECONDS_MAX = 300

console = Console()


def main() -> None:
    """Run the demo; exit status 1 if anything is not as it should be."""
    store = FOLDER / "store"
    store.mkdir(parents=True, exist_ok=True)
    with serving(store) as server, httpx.Client(timeout=60) as client:
        console.rule("[bold]Server")
        console.print(f"on SQLite in {store}, at {server.base}/fhir")
        console.rule("[bold]Load")
        load(store)
        console.rule("[bold]Export")
        status_url, manifest = export(client, f"{server.base}/fhir")
        folder = FOLDER / f"ndjson-{status_url.rsplit('/', 1)[1][:8]}"
        console.print(manifest_table(manifest))
        console.rule("[bold]Download and verify")
        problems = list(download_all(client, manifest, folder)) + compare(folder)
        client.delete(status_url).raise_for_status()
    for problem in problems:
        console.print(f"[red]{problem}")
    if problems:
        sys.exit(1)
    console.print(
        f"[green]Every count and checksum is right, and each of the {len(names(SAMPLE)):,} "
        f"resources of the sample data is there exactly once.[/]\nThe files are in [bold]{folder}"
    )


def load(store: Path) -> None:
    """`penstock load`, beside the running server. A second demo finds nothing new."""
    subprocess.run([*PENSTOCK, "load", str(SAMPLE)], env=environment(store), check=True)


def export(client: httpx.Client, base: str) -> tuple[str, dict[str, Any]]:
    """Kick off, poll as the server asks to, and return the status URL and the manifest."""
    headers = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
    kick_off = client.get(f"{base}/$export", headers=headers)
    kick_off.raise_for_status()
    status_url = kick_off.headers["Content-Location"]
    console.print(f"kicked off; status at {status_url}")
    began = time.monotonic()
    with progress_bar() as bar:
        task = bar.add_task("exporting", total=100, note="")
        while time.monotonic() - began < WAIT_SECONDS_MAX:
            answer = client.get(status_url, headers={"Accept": "application/json"})
            answer.raise_for_status()
            if answer.status_code == 200:
                bar.update(task, completed=100, note="complete")
                return status_url, answer.json()
            note = answer.headers.get("X-Progress", "")
            if percent := DONE_PERCENT.search(note):
                bar.update(task, completed=int(percent[1]))
            bar.update(task, note=note)
            time.sleep(float(answer.headers["Retry-After"]))
    raise SystemExit(f"the export did not end within {WAIT_SECONDS_MAX} s")


def manifest_table(manifest: dict[str, Any]) -> Table:
    """The manifest for people."""
    table = Table(title=f"Manifest as of {manifest['transactionTime']}", title_justify="left")
    table.add_column("file")
    for heading in ("resources", "bytes"):
        table.add_column(heading, justify="right")
    table.add_column("SHA-256")
    for item in manifest["output"]:
        name = item["url"].rsplit("/", 1)[1]
        digest = item["sha256"][:16] + "…"
        table.add_row(name, f"{item['count']:,}", f"{item['fileSize']:,}", digest)
    table.add_section()
    total = [sum(item[key] for item in manifest["output"]) for key in ("count", "fileSize")]
    table.add_row("all", f"{total[0]:,}", f"{total[1]:,}", "")
    return table


def download_all(client: httpx.Client, manifest: dict[str, Any], folder: Path) -> Iterator[str]:
    """Store every file; what is wrong with it, if anything is."""
    folder.mkdir()
    with progress_bar() as bar:
        total = sum(item["fileSize"] for item in manifest["output"])
        task = bar.add_task("downloading", total=total, note="")
        for item in manifest["output"]:
            path = folder / item["url"].rsplit("/", 1)[1]
            lines, digest, size = download(client, item["url"], path)
            bar.update(task, advance=size, note=path.name)
            for what, found in (("count", lines), ("sha256", digest), ("fileSize", size)):
                if found != item[what]:
                    yield f"{path.name}: {what} is {found}, the manifest says {item[what]}"
        bar.update(task, note="complete")
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def download(client: httpx.Client, url: str, path: Path) -> tuple[int, str, int]:
    """One file: its lines, SHA-256 and size."""
    lines, size, digest = 0, 0, hashlib.sha256()
    headers = {"Accept": "application/fhir+ndjson"}
    with client.stream("GET", url, headers=headers) as answer, path.open("xb") as file:
        answer.raise_for_status()
        for piece in answer.iter_bytes():
            lines += piece.count(b"\n")
            size += len(piece)
            digest.update(piece)
            file.write(piece)
    return lines, digest.hexdigest(), size


def compare(folder: Path) -> list[str]:
    """Whether the folder holds each resource of the sample data exactly once."""
    exported, expected = names(folder), names(SAMPLE)
    problems = []
    if len(exported) != len(set(exported)):
        problems.append("a resource was exported twice")
    if missing := set(expected) - set(exported):
        problems.append(f"{len(missing):,} resources are missing")
    if strange := set(exported) - set(expected):
        problems.append(f"{len(strange):,} resources are not of the sample data")
    return problems


def names(folder: Path) -> list[str]:
    """`Type/id` of every line of every NDJSON file."""
    found = []
    for path in sorted(folder.glob("*.ndjson*")):
        data = path.read_bytes()
        for line in (gzip.decompress(data) if path.suffix == ".gz" else data).split(b"\n")[:-1]:
            resource = json.loads(line)
            found.append(f"{resource['resourceType']}/{resource['id']}")
    return found


def progress_bar() -> Progress:
    """A bar with a note."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Progress(*columns, console=console)


if __name__ == "__main__":
    main()
