"""Options that several commands share, and how a command's result leaves the program.

A command raises engine errors; `web.main` turns them into one line on stderr
and an exit status.
"""

import functools
import json
import os
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from engine.errors import BadRequest, SettingInvalid
from engine.tenant import DEFAULT_TENANT, TenantId, parse_tenant_id
from web.settings import Given, Settings, load_settings, setting_types

P = ParamSpec("P")
R = TypeVar("R")

FLAG_PREFIX = "setting_"  # of an option that is a setting


class Exit(IntEnum):
    """Exit statuses, documented in the README."""

    OK = 0
    FAILED = 1  # something was done, or tried, and not all of it worked
    NOT_STARTED = 2  # bad usage, bad settings, a store that cannot be opened
    INTERRUPTED = 130  # by Ctrl-C


def settings_options(
    command: Callable[Concatenate[Settings, P], R],
) -> Callable[P, R]:
    """Give a command `--config`, `--store`, `--output` and `--set`, and the settings they make
    as its first argument."""

    @click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Settings file. [default: $PENSTOCK_CONFIG, else ./penstock.toml if there is one]",
    )
    @click.option(
        "--store",
        "setting_store",
        metavar="URL",
        help="Where the data is. [default: sqlite:./data]",
    )
    @click.option(
        "--output",
        "setting_output",
        metavar="DIR",
        help="Where export files lie. [default: in the store]",
    )
    @click.option(
        "--set",
        "assignments",
        metavar="NAME=VALUE",
        multiple=True,
        shell_complete=_complete_setting,
        help="Any other setting, such as engine.lanes_per_job=4. May be repeated.",
    )
    @functools.wraps(command)
    def with_settings(*args: Any, **options: Any) -> Any:
        flags = _assignments(options.pop("assignments"))
        # A command may have flags of its own for settings, named so (`serve --bind`).
        for option in [name for name in options if name.startswith(FLAG_PREFIX)]:
            if (value := options.pop(option)) is not None:
                name = option.removeprefix(FLAG_PREFIX)
                flags[name] = Given(value, f"flag --{name.replace('_', '-')}", text=True)
        config = options.pop("config")
        settings = load_settings(config=config, environ=os.environ, flags=flags)
        return command(settings, *args, **options)

    return with_settings


class TenantName(click.ParamType[TenantId]):
    """A tenant's name, checked."""

    name = "tenant"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> TenantId:
        try:
            return parse_tenant_id(value)
        except BadRequest as error:
            self.fail(str(error), param, ctx)


tenant_option = click.option(
    "--tenant", type=TenantName(), default=DEFAULT_TENANT, show_default=True, help="Whose data."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON for scripts.")


def echo_json(value: object) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _assignments(texts: tuple[str, ...]) -> dict[str, Given]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingInvalid(name, "write --set NAME=VALUE")
        found[name] = Given(value, "flag --set", text=True)
    return found


def _complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [f"{name}=" for name in setting_types() if name.startswith(incomplete)]
