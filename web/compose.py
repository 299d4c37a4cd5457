"""Composition root: opens what the settings name and hands the engine its ports.

Nothing else in the program opens a backend.
"""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import backends
from backends.definitions import SearchSettings
from backends.files import open_files
from engine.clock import SystemClock, SystemEntropy
from engine.errors import SettingInvalid
from engine.model import WorkerId
from engine.ports import Ports
from engine.tenant import TenantId
from web.settings import Settings

SQLITE = "sqlite:"
OUTPUT_FOLDER = "output"  # in the store's folder


def new_worker_id() -> WorkerId:
    """An id for this process that no other has had, readable in the list of jobs."""
    host = "".join(c for c in socket.gethostname() if (c.isascii() and c.isalnum()) or c == "-")
    return WorkerId(f"{host[:32] or 'host'}-{os.getpid()}-{SystemEntropy().token(32)}")


def store_folder(settings: Settings) -> Path | None:
    """The folder in which the store lies, if it lies in one."""
    if settings.store.startswith(SQLITE):
        return Path(settings.store.removeprefix(SQLITE))
    return None


def output_folder(settings: Settings) -> Path:
    """The folder of export files. Raises SettingInvalid."""
    if settings.output:
        return Path(settings.output)
    store = store_folder(settings)
    if store is None:
        raise SettingInvalid("output", f"must be given with the store {settings.store}")
    return store / OUTPUT_FOLDER


def search_settings(settings: Settings) -> SearchSettings:
    """What decides how resources are indexed. Raises SettingInvalid."""
    return SearchSettings(base_url=settings.effective_base_url, zone_of=settings.zone_of)


@asynccontextmanager
async def compose(settings: Settings, *, worker: WorkerId | None = None) -> AsyncIterator[Ports]:
    """Open the backend and the output store, and make sure of the configured tenants.

    Both are closed when the block is left. Raises StartupError, StoreUnavailable,
    OutputUnavailable.
    """
    worker = worker or new_worker_id()
    folder = output_folder(settings)
    async with (
        backends.open(settings.store, worker=worker, search=search_settings(settings)) as backend,
        open_files(folder, coding=settings.output_coding) as outputs,
    ):
        for tenant in settings.tenants:
            await backend.tenants.ensure(TenantId(tenant))
        yield backend.ports(outputs, clock=SystemClock(), entropy=SystemEntropy())
