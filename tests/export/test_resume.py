"""Resumed, not restarted (promise 4); and what is written meanwhile does not show (promise 1)."""

import itertools
from dataclasses import replace
from typing import Any

import trio
from trio.abc import Clock

from engine.errors import OutputFull
from engine.instant import format_instant
from engine.messages import Drain
from engine.model import Batch, ExportRequest, ExportStatus, Issue, PartEnd
from engine.ports import Ports
from tests.support.brake import Brake
from tests.support.builders import numbered, prepared
from tests.support.cut_off import CutOff
from tests.support.plant import Plant, with_limits

RESOURCES = numbered("Observation", 1500, padding=200) + numbered("Patient", 700, padding=200)
ONE_LANE = with_limits(lanes_per_job=1)


async def test_a_dead_worker_loses_only_the_parts_it_had_not_recorded(
    plant: Plant, autojump_clock: Clock
) -> None:
    brake = Brake("recorded")
    async with plant.engine("w1", limits=ONE_LANE, wrap=brake.wrap) as engine:
        await engine.fill(RESOURCES)
        job = await engine.start()
        await brake.reached.wait()
        before = await engine.parts(job)
        assert len(before) >= 1
        if plant.kind == "memory":
            plant.world.kill("w1")  # type: ignore[arg-type]
    async with plant.engine("w2", limits=ONE_LANE) as heir:
        done = await heir.ended(job)
        assert done.status is ExportStatus.COMPLETE
        parts = await heir.parts(job)
        assert [part for part in parts if part.token == 1] == before
        assert {part.token for part in parts if part not in before} == {2}
        assert len(parts) == done.progress.parts_total == done.progress.parts_done
        assert sum(part.rows for part in parts) == len(RESOURCES)


async def test_an_export_holds_the_state_of_its_transaction_time(
    plant: Plant, autojump_clock: Clock, scheduler_seed: int
) -> None:
    brake = Brake("read")
    async with plant.engine(wrap=brake.wrap) as engine:
        await engine.fill(RESOURCES)
        store = await engine.store()
        job = await engine.start()
        await brake.reached.wait()
        await store.update(prepared("Patient", "0", b'"active":false'))
        await store.delete("Patient", "1")
        await store.update(prepared("Patient", "1", b'"active":true'))
        await store.delete("Observation", "1499")
        await store.create(prepared("Patient", "new"))
        await store.create(prepared("Device", "new"))
        brake.go.set()
        done = await engine.ended(job)
        instant = format_instant(done.snapshot.t_ms)
        assert done.status is ExportStatus.COMPLETE
        expected = {
            type: b"".join(
                resource.body(1, instant_of(line)) + b"\n"
                for resource, line in zip(
                    (r for r in RESOURCES if r.type == type), lines, strict=True
                )
            )
            for type, lines in by_type(await engine.files(job)).items()
        }
        assert expected == {
            type: b"".join(lines) for type, lines in by_type(await engine.files(job)).items()
        }
        assert all(
            instant_of(line) <= instant
            for lines in by_type(await engine.files(job)).values()
            for line in lines
        )


async def test_an_export_without_rows_is_complete_without_files(
    plant: Plant, autojump_clock: Clock
) -> None:
    async with plant.engine() as engine:
        await engine.fill(numbered("Patient", 3))
        since = ExportRequest(since_ms=plant.clock.now_ms() + 10_000)
        job = await engine.start(since)
        assert (await engine.ended(job)).status is ExportStatus.COMPLETE
        assert await engine.files(job) == {}
        await engine.idle()
        assert await engine.ports.outputs.jobs() == []


async def test_messages_of_the_request_become_an_error_file(
    plant: Plant, autojump_clock: Clock
) -> None:
    async with plant.engine() as engine:
        await engine.fill(numbered("Patient", 3))
        issues = (Issue(severity="warning", diagnostics="_x was ignored"),)
        job = await engine.start(ExportRequest(issues=issues))
        await engine.ended(job)
        files = await engine.files(job)
        assert files["error/OperationOutcome-1"].count(b"\n") == 1
        assert b"_x was ignored" in files["error/OperationOutcome-1"]


async def test_a_full_disk_parks_the_export_and_costs_no_attempt(
    plant: Plant, autojump_clock: Clock
) -> None:
    disk = FullDisk()
    async with plant.engine(wrap=disk.wrap) as engine:
        await engine.fill(RESOURCES)
        job = await engine.start()
        parked = await engine.until(job, lambda shown: bool(shown.reason))
        assert (parked.status, parked.attempt) == (ExportStatus.IN_PROGRESS, 0)
        assert "no space" in parked.reason
        await trio.sleep(600)
        assert await engine.stray_files() == []
        disk.full = False
        done = await engine.ended(job)
        assert (done.status, done.attempt) == (ExportStatus.COMPLETE, 1)


async def test_an_asked_for_stop_finishes_what_runs(plant: Plant, autojump_clock: Clock) -> None:
    brake = Brake("finish")
    async with plant.engine(wrap=brake.wrap) as engine:
        await engine.fill(RESOURCES)
        job = await engine.start()
        await brake.reached.wait()
        engine.supervisor.tell(Drain())
        brake.go.set()
        assert (await engine.ended(job)).status is ExportStatus.COMPLETE


async def test_an_asked_for_stop_releases_what_takes_too_long(
    plant: Plant, autojump_clock: Clock
) -> None:
    brake = Brake("finalize")
    async with plant.engine("w1", wrap=brake.wrap) as engine:
        await engine.fill(RESOURCES)
        job = await engine.start()
        await brake.reached.wait()
        engine.supervisor.tell(Drain())
        await engine.idle()
        released = await engine.job(job)
        assert (released.status, released.attempt) == (ExportStatus.IN_PROGRESS, 0)
        assert await engine.stray_files() == []
    async with plant.engine("w2") as heir:
        began = trio.current_time()
        done = await heir.ended(job)
        assert (done.status, done.attempt) == (ExportStatus.COMPLETE, 1)
        assert trio.current_time() - began < 1.0


async def test_a_job_that_kills_its_workers_fails_and_the_rest_live(
    plant: Plant, autojump_clock: Clock
) -> None:
    limits = with_limits(attempts_max=2)
    job = None
    for n in itertools.count():
        brake, cut_off = Brake("append"), CutOff()
        async with plant.engine(
            f"w{n}",
            limits=limits,
            wrap=lambda ports: cut_off.wrap(brake.wrap(ports)),  # noqa: B023
        ) as engine:
            if job is None:
                await engine.fill(RESOURCES)
                job = await engine.start()
            if n == limits.attempts_max:
                done = await engine.ended(job)
                assert done.status is ExportStatus.ERROR
                assert done.issue is not None
                assert "given up after 2 attempts" in done.issue.diagnostics
                brake.go.set()
                other = await engine.start(ExportRequest(types=("Patient",)))
                assert (await engine.ended(other)).status is ExportStatus.COMPLETE
                return
            await brake.reached.wait()
            cut_off.now = True  # it dies without a word


async def test_a_stream_that_ends_without_its_end_fails_the_export(
    plant: Plant, autojump_clock: Clock
) -> None:
    async with plant.engine(wrap=ShortStreams().wrap) as engine:
        await engine.fill(RESOURCES)
        job = await engine.start()
        done = await engine.ended(job)
        assert done.status is ExportStatus.ERROR
        assert await engine.files(job) == {}


def by_type(files: dict[str, bytes]) -> dict[str, list[bytes]]:
    """The lines of each type, parts joined in order."""
    lines: dict[str, list[bytes]] = {}
    for name, data in files.items():
        type = name.split("/")[1].split("-")[0]
        lines.setdefault(type, []).extend(line + b"\n" for line in data.split(b"\n")[:-1])
    return lines


def instant_of(line: bytes) -> str:
    return line.split(b'"lastUpdated":"')[1].split(b'"')[0].decode()


class FullDisk:
    """No output file can be written while `full` is set."""

    full = True

    def wrap(self, ports: Ports) -> Ports:
        return replace(ports, outputs=_FullOutputs(ports.outputs, self))


class _FullOutputs:
    def __init__(self, inner: Any, disk: FullDisk) -> None:
        self._inner = inner
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def open_part(self, key: Any) -> Any:
        if self._disk.full:
            raise OutputFull("no space is left for output files")
        return self._inner.open_part(key)


class ShortStreams:
    """Parts claim to be longer than what was given: rows got lost on the way."""

    def wrap(self, ports: Ports) -> Ports:
        self._inner = ports.tenants
        return replace(ports, tenants=self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def store(self, tenant: Any) -> Any:
        return _ShortStore(await self._inner.store(tenant))


class _ShortStore:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def stream(self, *args: Any) -> Any:
        return _ShortStream(self._inner.stream(*args))


class _ShortStream:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __aenter__(self) -> Any:
        self._stream = await self._inner.__aenter__()
        return self

    async def __aexit__(self, *args: Any) -> Any:
        return await self._inner.__aexit__(*args)

    async def read(self) -> Any:
        message = await self._stream.read()
        if isinstance(message, PartEnd):
            return PartEnd(message.rows + 1, message.bytes + 100)
        assert isinstance(message, Batch)
        return message
