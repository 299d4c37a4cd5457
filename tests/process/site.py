"""A store's files as an outsider sees them, and what its server has open.

Looks at control.db as one more process would; changes nothing, and leaves the WAL of a
server that was killed as it was.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import apsw
import trio

from tests.support.http_export import WAIT_SECONDS_MAX, pause

# Types of the sample data that make more than a hundred parts of the smallest size, and
# that leave a job enough time to be disturbed in.
TYPES = ("Condition", "DiagnosticReport", "Encounter", "Immunization", "Patient", "Procedure")
SMALL_PARTS = {
    "engine.part_bytes": 65536,
    "engine.lanes_per_job": 2,
    "engine.upkeep_seconds": 0.3,
    "min_job_age_seconds": 0,
    "polls_per_second": 1000,
    "polls_burst": 1000,
}


class JobRow(NamedTuple):
    """A job as its row has it."""

    status: str
    token: int
    attempt: int
    worker: str | None
    parts_total: int


class PartRow(NamedTuple):
    """A recorded part."""

    token: int
    location: str


class FileFacts(NamedTuple):
    """What changes if a file is written again."""

    inode: int
    written_ns: int
    size: int


class StoreFolder:
    """A store and its output folder."""

    def __init__(self, folder: Path, output: Path | None = None) -> None:
        self.folder = folder
        self.output = output or folder / "output"

    def job(self, job: str) -> JobRow:
        query = "SELECT status, token, attempt, worker, parts_total FROM export_job WHERE id = ?"
        with reading(self.folder / "control.db") as control:
            return JobRow(*control.execute(query, (job,)).get)

    def parts(self, job: str) -> dict[int, PartRow]:
        """The recorded parts of a job, by number."""
        query = (
            "SELECT number, part.token, location FROM export_part AS part "
            "JOIN export_job ON num = job WHERE id = ? AND location IS NOT NULL"
        )
        with reading(self.folder / "control.db") as control:
            rows = control.execute(query, (job,)).fetchall()
        return {number: PartRow(token, location) for number, token, location in rows}

    def leases(self) -> int:
        """How many leases are held, by whomever."""
        with reading(self.folder / "control.db") as control:
            count = control.execute("SELECT count(*) FROM export_job WHERE worker IS NOT NULL").get
        assert isinstance(count, int)
        return count

    def pins(self) -> list[str]:
        """The jobs for which a snapshot is pinned, in any tenant's store."""
        jobs: list[str] = []
        for path in self.tenant_files():
            with reading(path) as tenant:
                jobs += [job for (job,) in tenant.execute("SELECT job FROM snapshot").fetchall()]
        return jobs

    def tenant_files(self) -> list[Path]:
        return sorted((self.folder / "tenants").glob("*.db"))

    def tenant_file(self, tenant: str) -> Path:
        with reading(self.folder / "control.db") as control:
            key = control.execute("SELECT key FROM tenant WHERE id = ?", (tenant,)).get
        return self.folder / "tenants" / f"{key}.db"

    def files(self, job: str = "") -> dict[str, FileFacts]:
        """Every output file, of this job only if one is named, by its location."""
        found = {}
        for folder, _, names in os.walk(self.output):  # which may change meanwhile
            for path in (Path(folder, name) for name in names):
                location = str(path.relative_to(self.output))
                with suppress(FileNotFoundError):
                    facts = path.stat()
                    if job in location:
                        found[location] = FileFacts(facts.st_ino, facts.st_mtime_ns, facts.st_size)
        return found

    def strays(self, job: str) -> set[str]:
        """Files of a job that it has not recorded."""
        return set(self.files(job)) - {part.location for part in self.parts(job).values()}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside the block nobody can write to control.db."""
        with reading(self.folder / "control.db") as control:
            control.execute("BEGIN IMMEDIATE")
            yield
            control.execute("ROLLBACK")


@contextmanager
def reading(path: Path) -> Iterator[apsw.Connection]:
    """A connection that leaves the file as it is, even if it is the last one to close."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.set_busy_timeout(10_000)
        yield connection
    finally:
        connection.close()


def descriptors(pid: int) -> list[str]:
    """What a process has open."""
    names = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            names.append(os.readlink(descriptor))
    return names


def open_files(pid: int, folder: Path) -> list[str]:
    """What a process has open below a folder."""
    return [name for name in descriptors(pid) if name.startswith(f"{folder}/")]


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


async def until(wanted: Callable[[], bool], seconds: float = WAIT_SECONDS_MAX) -> float:
    """Look until it is as wanted, at most this long; how long it took."""
    began = trio.current_time()
    with trio.fail_after(seconds):
        while not wanted():
            await pause()
    return trio.current_time() - began
