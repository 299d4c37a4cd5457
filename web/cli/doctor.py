"""`penstock doctor`: looks at what the server will depend on, and says what is wrong.

It changes nothing but what opening a store changes: an older schema is brought up to date.
A store that does not exist yet is not made.
"""

import os
import resource
import stat
import tempfile
import time
from enum import StrEnum
from pathlib import Path

import apsw
import click
import msgspec
import trio

from backends.sqlite.migrate import CONTROL, TENANT, load_migrations
from engine.clock import SystemClock
from engine.errors import OutputFull, PenstockError, Transient
from engine.failure import leaves
from engine.ports import Ports
from engine.tenant import Tenant
from web.cli.options import Exit, echo_json, json_option, settings_options
from web.compose import compose, output_folder, store_folder
from web.settings import Settings, flatten

MIB = 1 << 20
FREE_BYTES_MIN = 64 * MIB
FREE_BYTES_ENOUGH = 1024 * MIB
PROBE_BYTES = 1 * MIB
SYNC_SECONDS_SLOW = 0.2  # kick-offs and renewals wait for one or two of them
OPEN_FILES_MIN = 1024
EARLIEST_MS = 1_735_689_600_000  # 2025-01-01: a clock before this was never set
CLOCK_BEHIND_MS_MAX = 1000


class Health(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(msgspec.Struct, frozen=True):
    """One finding."""

    name: str
    health: Health
    message: str


@click.command()
@settings_options
@json_option
def doctor(settings: Settings, as_json: bool) -> int:
    """Check settings, disk, permissions, schema and clock.

    Exit status: 0 if nothing failed (warnings may have been given), 1 if something did, 2 if
    the settings themselves cannot be used.
    """
    checks = trio.run(_examine, settings)
    failed = any(check.health is Health.FAILED for check in checks)
    if as_json:
        echo_json(
            {
                "ok": not failed,
                "checks": msgspec.to_builtins(checks),
                "settings": dict(flatten(settings)),
            }
        )
    else:
        for check in checks:
            click.echo(f"{check.health:<8} {check.name:<12} {check.message}")
    return Exit.FAILED if failed else Exit.OK


async def _examine(settings: Settings) -> list[Check]:
    checks = [
        Check(
            "settings",
            Health.OK,
            f"store {settings.store}, served as {settings.effective_base_url}",
        ),
        _check_open_files(),
        _check_clock(),
    ]
    folders = {"output": output_folder(settings)}
    if (store := store_folder(settings)) is not None:
        folders = {"store": store, **folders}
        checks.append(_check_library())
    for name, folder in folders.items():
        # In a thread: a disk in trouble may take its time.
        checks += await trio.to_thread.run_sync(_check_folder, name, folder)
    if store is None or (store / "control.db").exists():
        checks += await _check_store(settings)
    else:
        checks.append(Check("schema", Health.OK, f"no store yet; {store} will be made"))
    return checks


def _check_library() -> Check:
    return Check("sqlite", Health.OK, f"SQLite {apsw.sqlite_lib_version()}")


def _check_open_files() -> Check:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES_MIN:
        return Check(
            "open files", Health.WARNING, f"only {soft} are allowed; raise it to {OPEN_FILES_MIN}"
        )
    return Check("open files", Health.OK, f"{soft} allowed")


def _check_clock() -> Check:
    clock = SystemClock()
    if clock.now_ms() < EARLIEST_MS:
        return Check("clock", Health.FAILED, "the machine's clock was never set")
    if clock.boottime() <= 0:
        return Check("clock", Health.FAILED, "CLOCK_BOOTTIME does not work")
    return Check("clock", Health.OK, "set")


def _check_folder(name: str, folder: Path) -> list[Check]:
    """Permissions, space and a durable write, in the folder or where it will be made."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return [Check(name, Health.FAILED, f"{place} is not a folder")]
    mode = [_check_mode(name, folder)] if place == folder else []
    return [*mode, _check_space(name, place), _check_write(name, place)]


def _check_mode(name: str, folder: Path) -> Check:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        return Check(
            name, Health.WARNING, f"{folder} is open to other users ({mode:o}): chmod 700 it"
        )
    return Check(name, Health.OK, f"{folder} is closed to other users")


def _check_space(name: str, place: Path) -> Check:
    facts = os.statvfs(place)
    free = facts.f_bavail * facts.f_frsize
    message = f"{free // MIB:,} MiB free"
    if free < FREE_BYTES_MIN:
        return Check(name, Health.FAILED, f"only {message}")
    health = Health.WARNING if free < FREE_BYTES_ENOUGH else Health.OK
    return Check(name, health, message)


def _check_write(name: str, place: Path) -> Check:
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            began = time.perf_counter()
            file.write(os.urandom(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
            seconds = time.perf_counter() - began
    except OSError as error:
        return Check(name, Health.FAILED, f"cannot write in {place}: {error.strerror}")
    health = Health.WARNING if seconds > SYNC_SECONDS_SLOW else Health.OK
    return Check(name, health, f"a synced write of 1 MiB took {seconds * 1000:.0f} ms")


async def _check_store(settings: Settings) -> list[Check]:
    checks: list[Check] = []
    try:
        async with compose(settings) as ports:
            checks += await _look_inside(ports)
    except* PenstockError as group:
        checks += [Check("schema", Health.FAILED, str(error)) for error in leaves(group)]
    return checks


async def _look_inside(ports: Ports) -> list[Check]:
    versions = f"control {len(load_migrations(CONTROL))}, tenant {len(load_migrations(TENANT))}"
    checks = [Check("schema", Health.OK, f"up to date ({versions})")]
    try:
        await ports.outputs.check()
    except (Transient, OutputFull) as error:
        checks.append(Check("output", Health.FAILED, str(error)))
    for tenant in await ports.tenants.list():
        checks.append(await _check_tenant(ports, tenant))
    return checks


async def _check_tenant(ports: Ports, tenant: Tenant) -> Check:
    """Open the tenant's file, and compare its newest time with the machine's."""
    name = f"tenant {tenant.id}"
    try:
        facts = await (await ports.tenants.store(tenant.id)).statistics()
    except PenstockError as error:
        return Check(name, Health.FAILED, str(error))
    ahead_ms = max(facts.cut_ms, facts.last_ms) - ports.clock.now_ms()
    if ahead_ms > CLOCK_BEHIND_MS_MAX:
        return Check(
            name,
            Health.WARNING,
            f"its newest time is {ahead_ms / 1000:.0f} s ahead of the machine's clock; "
            "new versions take that time until the clock has passed it",
        )
    return Check(name, Health.OK, f"{sum(facts.rows.values()):,} resources")
