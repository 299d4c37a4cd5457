"""What a load tells: a progress bar, what was refused, and the totals."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.errors import Permanent, StartupError
from engine.model import Ingested
from web.cli.loading.cutting import Rejected
from web.cli.loading.worker import Batch

SHOWN_MAX = 100  # refused resources that are shown one by one; a rejects file takes them all


class Totals(msgspec.Struct):
    """What a load did so far. All of it is durable."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    conditional_references: int = 0
    unresolved_references: int = 0

    @property
    def loaded(self) -> int:
        """Resources that the store has now as they were given."""
        return self.created + self.updated + self.unchanged


class LoadReport:
    """Counts batches as they become durable and shows them."""

    def __init__(self, console: Console, progress: Progress, task: TaskID) -> None:
        self.totals = Totals()
        self.shown: list[Rejected] = []
        self.notices: list[str] = []
        self.rejects: IO[bytes] | None = None
        self._console = console
        self._progress = progress
        self._task = task
        self._begun_s: float | None = None

    def begin(self) -> None:
        """The store is open: the clock runs from here."""
        self._begun_s = time.monotonic()

    @property
    def begun(self) -> bool:
        return self._begun_s is not None

    @property
    def seconds(self) -> float:
        """Since the beginning; never 0, because rates are made with it."""
        return 1e-6 if self._begun_s is None else max(time.monotonic() - self._begun_s, 1e-6)

    def take(self, batch: Batch, done: Ingested) -> None:
        """Count one batch, and say what of it was refused."""
        totals = self.totals
        totals.created += done.created
        totals.updated += done.updated
        totals.unchanged += done.unchanged
        totals.conditional_references += batch.conditional
        totals.unresolved_references += batch.unresolved
        for rejected in batch.rejected:
            self._refused(rejected)
        for notice in batch.notices:
            self._notice(notice)
        rate = f"{totals.loaded:,} resources, {totals.loaded / self.seconds:,.0f}/s"
        self._progress.update(self._task, advance=batch.bytes_read, rate=rate)

    def as_json(self, *, stopped: bool) -> dict[str, Any]:
        """Everything for a script."""
        totals = self.totals
        return {
            "loaded": totals.loaded,
            "created": totals.created,
            "updated": totals.updated,
            "unchanged": totals.unchanged,
            "rejected": totals.rejected,
            "conditionalReferences": totals.conditional_references,
            "unresolvedReferences": totals.unresolved_references,
            "seconds": round(self.seconds, 3),
            "resourcesPerSecond": round(totals.loaded / self.seconds),
            "stopped": stopped,
            "rejects": [_as_row(rejected) for rejected in self.shown],
            "notices": self.notices,
        }

    def table(self) -> Table:
        """The totals for people."""
        totals = self.totals
        table = Table(show_header=False, box=None)
        table.add_column(justify="right")
        table.add_column()
        for count, what in (
            (totals.created, "created"),
            (totals.updated, "updated"),
            (totals.unchanged, "unchanged"),
            (totals.rejected, "rejected"),
            (totals.conditional_references, "conditional references resolved"),
            (totals.unresolved_references, "references to entries that their Bundle lacks"),
        ):
            table.add_row(f"{count:,}", what)
        rate = f"{totals.loaded / self.seconds:,.0f} resources/s"
        table.add_row(f"{self.seconds:,.1f}", f"seconds, {rate}")
        return table

    def _refused(self, rejected: Rejected) -> None:
        self.totals.rejected += 1
        if self.rejects is not None:
            try:
                self.rejects.write(msgspec.json.encode(_as_row(rejected)) + b"\n")
            except OSError as error:
                raise Permanent(f"the rejects file cannot be written: {error.strerror}") from None
        if len(self.shown) < SHOWN_MAX:
            self.shown.append(rejected)
            self._say(f"{_place(rejected)}: {rejected.error}")
        elif self.totals.rejected == SHOWN_MAX + 1:
            self._say("more are rejected: --rejects FILE lists them all")

    def _notice(self, notice: str) -> None:
        if len(self.notices) < SHOWN_MAX:
            self.notices.append(notice)
            self._say(notice)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def reporting(console: Console, *, bytes_total: int, rejects: Path | None) -> Iterator[LoadReport]:
    """A progress bar on the console while the block runs, if it is a terminal.

    The rejects file is made before anything is loaded. Raises StartupError if it cannot be.
    """
    progress = Progress(
        TextColumn("loading"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with progress:
        task = progress.add_task("", total=bytes_total or None, rate="")
        report = LoadReport(console, progress, task)
        if rejects is None:
            yield report
            return
        try:
            file = open(rejects, "wb", buffering=0)  # noqa: SIM115 -- the block below closes it
        except OSError as error:
            raise StartupError(f"--rejects {rejects}: {error.strerror}") from None
        with file:
            report.rejects = file
            yield report


def _place(rejected: Rejected) -> str:
    if rejected.line is not None:
        return f"{rejected.file}:{rejected.line}"
    if rejected.entry is not None:
        return f"{rejected.file} entry {rejected.entry}"
    return rejected.file


def _as_row(rejected: Rejected) -> dict[str, str | int]:
    row: dict[str, str | int] = {"file": rejected.file}
    if rejected.line is not None:
        row["line"] = rejected.line
    if rejected.entry is not None:
        row["entry"] = rejected.entry
    row["error"] = rejected.error
    return row
