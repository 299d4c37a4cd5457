"""`penstock serve`: the supervisor and the HTTP server side by side in one nursery.

The first SIGTERM or SIGINT drains: not ready at once, no new job is claimed, running
ones finish or are released, and the listeners close last. A second one cancels all.
"""

import json
import os
import signal
import socket
from collections.abc import Sequence
from functools import partial

import click
import msgspec
import trio

from engine.errors import StartupError
from engine.messages import Drain
from engine.supervisor import Supervisor
from web.app import create_app
from web.cli.options import Exit, settings_options
from web.compose import compose, new_worker_id
from web.logs import configure_logs
from web.runtime import spare_collector
from web.server import serve as serve_http
from web.services import Services
from web.settings import Settings

BACKLOG = 1024  # connections that the kernel holds until they are accepted


@click.command()
@settings_options
@click.option(
    "--bind",
    "setting_bind",
    metavar="ADDRESSES",
    help="host:port, unix:path or fd://number, joined by commas; port 0 is a free one. "
    "[default: 127.0.0.1:8080]",
)
@click.option("--base-url", "setting_base_url", metavar="URL", help="The FHIR base clients see.")
@click.option("--log-level", "setting_log_level", help="debug, info, warning or error.")
@click.option("--log-format", "setting_log_format", help="text or json.")
def serve(settings: Settings) -> int:
    """Run the server until SIGTERM or SIGINT.

    When it is ready it prints one line of JSON with its addresses on stdout. Exit status:
    0 after a clean stop, 1 after a crash or a second signal, 2 if it could not start.
    """
    configure_logs(settings.log_level, settings.log_format)
    return trio.run(_serve, bind_free_ports(settings))


def bind_free_ports(settings: Settings) -> Settings:
    """Replace each port 0 by a socket that has a port, so that the base URL can name it."""
    addresses = [_bind_free_port(address) for address in settings.bind]
    base_url = settings.base_url
    if not base_url and addresses[0] != settings.bind[0]:
        base_url = f"http://{_address_of(addresses[0])}/fhir"
    return msgspec.structs.replace(settings, bind=tuple(addresses), base_url=base_url)


def _bind_free_port(address: str) -> str:
    host, _, port = address.rpartition(":")
    if port != "0" or address.startswith(("unix:", "fd:")):
        return address
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.bind((host.strip("[]"), 0))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartupError(f"cannot listen on {address}: {error.strerror}") from None
    return f"fd://{listener.detach()}"


def _address_of(bind: str) -> str:
    """The host:port of a bound socket that was given as fd://number."""
    with socket.socket(fileno=socket.dup(int(bind.removeprefix("fd://")))) as copy:
        host, port = copy.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _serve(settings: Settings) -> int:
    worker = new_worker_id()
    async with compose(settings, worker=worker) as ports, trio.open_nursery() as outer:
        supervisor = Supervisor(ports, worker, settings.engine)
        started, shutdown = trio.Event(), trio.Event()
        services = Services(
            ports=ports,
            limits=settings.engine,
            settings=settings,
            tell=supervisor.tell,
            ready=lambda: started.is_set() and not supervisor.draining,
        )
        async with trio.open_nursery() as both:
            await outer.start(_obey_signals, supervisor, both.cancel_scope)
            addresses = await both.start(
                partial(
                    serve_http,
                    create_app(services),
                    settings.bind,
                    shutdown=shutdown,
                    send_seconds=settings.send_seconds,
                )
            )
            await both.start(_run_engine, supervisor, shutdown)
            started.set()
            spare_collector()
            _print_ready(settings, addresses)
        outer.cancel_scope.cancel()
    return Exit.FAILED if both.cancel_scope.cancelled_caught else Exit.OK


async def _run_engine(
    supervisor: Supervisor, shutdown: trio.Event, *, task_status: trio.TaskStatus[None]
) -> None:
    """Run the engine; once it is drained, let the server close. A crash ends both."""
    await supervisor.run(task_status=task_status)
    shutdown.set()


async def _obey_signals(
    supervisor: Supervisor, all_work: trio.CancelScope, *, task_status: trio.TaskStatus[None]
) -> None:
    """First signal: drain. Second: cancel everything."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if supervisor.draining:
                all_work.cancel()
            supervisor.tell(Drain())


def _print_ready(settings: Settings, addresses: Sequence[str]) -> None:
    facts = {
        "ready": True,
        "addresses": list(addresses),
        "baseUrl": settings.effective_base_url,
        "pid": os.getpid(),
    }
    click.echo(json.dumps(facts))
