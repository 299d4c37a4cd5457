"""The `penstock` command: finds the subcommand, runs it, and turns errors into exit statuses."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from engine.errors import BadRequest, PenstockError, StartupError
from engine.failure import leaves
from web.cli.options import Exit
from web.runtime import set_up_runtime

# Loaded when asked for: `penstock version` and shell completion need no web server.
COMMANDS = {
    "serve": ("web.cli.serve", "Run the server: HTTP and the export engine."),
    "load": ("web.cli.load", "Load NDJSON, gzip NDJSON, Bundles or folders of them."),
    "export": ("web.cli.export", "Export a tenant into a folder, without HTTP."),
    "jobs": ("web.cli.jobs", "List, show and cancel export jobs."),
    "reindex": ("web.cli.reindex", "Bring a tenant's search index up to date, or make it anew."),
    "history": ("web.cli.history", "Remove old versions of resources."),
    "doctor": ("web.cli.doctor", "Check settings, disk, permissions, schema and clock."),
    "version": ("web.cli.version", "Print the version."),
}


class Commands(click.Group):
    """A group that imports a command's module when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[name][0]), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def penstock() -> None:
    """Penstock, a bulk-data engine for FHIR.

    Settings come from a file, the environment and flags; docs/settings.md lists them.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit status."""
    set_up_runtime()
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = Exit.FAILED
    sys.exit(status)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result: Any = penstock.main(arguments, prog_name="penstock", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Exit.NOT_STARTED
    except click.ClickException as error:
        error.show()
        return Exit.NOT_STARTED
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except PenstockError as error:
        return _report([error])
    except BaseExceptionGroup as group:
        causes = list(leaves(group))
        expected = [error for error in causes if isinstance(error, PenstockError)]
        if len(expected) == len(causes):
            return _report(expected)
        if all(isinstance(error, KeyboardInterrupt) for error in causes):
            return Exit.INTERRUPTED
        raise
    return result if isinstance(result, int) else Exit.OK


def _report(errors: Sequence[PenstockError]) -> int:
    for error in errors:
        click.echo(f"penstock: {error}", err=True)
    started = not any(isinstance(error, StartupError | BadRequest) for error in errors)
    return Exit.FAILED if started else Exit.NOT_STARTED


if __name__ == "__main__":
    main()
