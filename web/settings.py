"""Settings: one list of names, each from a default, a file, the environment or a flag.

Later wins, in that order. An unknown or unusable setting stops the start with a
message that names it and where it came from. `docs/settings.md` explains each.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from engine.errors import BadRequest, SettingInvalid
from engine.limits import MIB, EngineLimits
from engine.tenant import DEFAULT_TENANT, parse_tenant_id

ENV_PREFIX = "PENSTOCK_"
CONFIG_ENV = "PENSTOCK_CONFIG"
CONFIG_NAME = "penstock.toml"  # looked for in the working directory
ENGINE_TABLE = "engine"

# Kubernetes puts these into every container beside a service that is called penstock.
_NOT_OURS = re.compile(r"PENSTOCK_(SERVICE_(HOST|PORT)(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)")
_ZERO_ALLOWED = frozenset({"min_job_age_seconds", "engine.drain_seconds"})
_TCP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/]+):(?P<port>\d{1,5})")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator decides. Checked by `load_settings`."""

    store: str = "sqlite:./data"  # the backend, by URL
    output: str = ""  # folder of the export files; empty: `output` in the store's folder
    bind: tuple[str, ...] = ("127.0.0.1:8080",)  # host:port, unix:path or fd://number
    base_url: str = ""  # what clients see; empty: made from the first address
    tenants: tuple[str, ...] = (DEFAULT_TENANT,)  # created if they are new
    resource_bytes_max: int = 16 * MIB  # of one resource, one NDJSON line
    request_bytes_max: int = 17 * MIB  # of one request body
    output_coding: Literal["", "gzip"] = ""  # of export files at rest
    min_job_age_seconds: float = 0.5  # the first status poll waits until a job is this old
    polls_per_second: float = 10.0  # of one export's status, in the long run
    polls_burst: int = 20  # and so many at once
    send_seconds: float = 60.0  # a client that takes no bytes for this long is cut off
    body_seconds: float = 60.0  # a client that sends no bytes of its body likewise
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    engine: EngineLimits = EngineLimits()

    @property
    def effective_base_url(self) -> str:
        """The FHIR base of the default tenant, without a slash at the end."""
        if self.base_url:
            return self.base_url.rstrip("/")
        first = _TCP.fullmatch(self.bind[0])
        if first is None:
            raise SettingInvalid("base_url", "must be given if the first address is not host:port")
        return f"http://{self.bind[0]}/fhir"

    def check(self) -> None:
        """Raise SettingInvalid for the first setting that cannot be used."""
        for name, value in flatten(self):
            if isinstance(value, int | float):
                _check_number(name, value)
        _check_base_url(self.base_url)
        _check_bind(self.bind)
        _check_tenants(self.tenants)
        if ":" not in self.store:
            raise SettingInvalid("store", "must be a URL such as sqlite:./data")
        if self.request_bytes_max <= self.resource_bytes_max:
            raise SettingInvalid("request_bytes_max", "must be more than resource_bytes_max")
        _check_engine(self.engine)
        _ = self.effective_base_url


class Given(NamedTuple):
    """A value that somebody gave, and where."""

    value: object
    origin: str  # for the message
    text: bool  # from the environment or a flag: numbers and lists are still text


def load_settings(
    *,
    config: Path | None = None,
    environ: Mapping[str, str],
    flags: Mapping[str, Given] | None = None,
) -> Settings:
    """Defaults, then the file, the environment and the flags. Raises SettingInvalid.

    A setting of the engine is called `engine.lease_seconds`.
    """
    given: dict[str, Given] = {}
    path = find_config(config, environ)
    if path is not None:
        given.update(_from_file(path))
    given.update(_from_environment(environ))
    given.update(flags or {})
    try:
        settings = _build(given)
        settings.check()
    except SettingInvalid as error:
        raise _with_origin(error, given) from None
    return settings


def find_config(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The settings file: the flag's, else the environment's, else the working directory's."""
    if config is not None:
        return config
    if named := environ.get(CONFIG_ENV):
        return Path(named)
    here = Path(CONFIG_NAME)
    return here if here.is_file() else None


def setting_types() -> dict[str, Any]:
    """Every setting's name, `engine.` ones included, and its type."""
    types = {f.name: f.type for f in msgspec.structs.fields(Settings) if f.name != ENGINE_TABLE}
    for field in msgspec.structs.fields(EngineLimits):
        types[f"{ENGINE_TABLE}.{field.name}"] = field.type
    return types


def env_name(setting: str) -> str:
    """The environment variable of a setting."""
    return ENV_PREFIX + setting.replace(".", "_").upper()


def flatten(settings: Settings) -> Iterator[tuple[str, object]]:
    """Every setting's name and value."""
    for name in setting_types():
        top, _, below = name.partition(".")
        value = getattr(settings, top)
        yield name, getattr(value, below) if below else value


def _from_file(path: Path) -> Iterator[tuple[str, Given]]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingInvalid("config", f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingInvalid("config", f"{path} is not TOML: {error}") from None
    origin = f"file {path}"
    for name, value in table.items():
        if name == ENGINE_TABLE and isinstance(value, dict):
            for below, inner in value.items():
                yield f"{name}.{below}", Given(inner, origin, text=False)
        else:
            yield name, Given(value, origin, text=False)


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Given]]:
    known = {env_name(name): name for name in setting_types()}
    for variable, value in environ.items():
        if not variable.startswith(ENV_PREFIX) or variable == CONFIG_ENV:
            continue
        if variable in known:
            origin = f"environment variable {variable}"
            yield known[variable], Given(value, origin, text=True)
        elif not _NOT_OURS.fullmatch(variable):
            raise _unknown(variable, known, f"environment variable {variable}")


def _build(given: Mapping[str, Given]) -> Settings:
    types = setting_types()
    top: dict[str, Any] = {}
    engine: dict[str, Any] = {}
    for name, one in given.items():
        if name not in types:
            raise _unknown(name, types, one.origin)
        table, _, below = name.rpartition(".")
        (engine if table else top)[below] = _convert(name, types[name], one)
    return Settings(**top, engine=EngineLimits(**engine))


def _convert(name: str, kind: Any, one: Given) -> object:
    value = one.value
    if one.text and isinstance(value, str) and get_origin(kind) is tuple:
        value = [item.strip() for item in value.split(",") if item.strip()]
    elif one.text and isinstance(value, str) and kind in (int, float):
        value = value.strip()
    try:
        return msgspec.convert(value, kind, strict=not one.text)
    except msgspec.ValidationError:
        raise SettingInvalid(name, f"must be {_describe(kind)}") from None


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return "a list of texts"
    return {int: "a whole number", float: "a number", str: "a text"}[kind]


def _unknown(name: str, known: Mapping[str, object], origin: str) -> SettingInvalid:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return SettingInvalid(name, f"there is no such setting (from {origin}){hint}")


def _with_origin(error: SettingInvalid, given: Mapping[str, Given]) -> SettingInvalid:
    message = str(error).removeprefix(f"setting {error.setting}: ")
    one = given.get(error.setting)
    if one is None or "(from " in message:
        return error
    return SettingInvalid(error.setting, f"{message} (from {one.origin})")


def _check_number(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise SettingInvalid(name, "must be a finite number")
    if value < 0 or (value == 0 and name not in _ZERO_ALLOWED):
        raise SettingInvalid(name, "must be more than 0")


def _check_base_url(url: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        usable = bool(parts.scheme in ("http", "https") and parts.hostname)
    except ValueError:
        usable = False
    if not usable or "?" in url or "#" in url:
        raise SettingInvalid("base_url", "must be a URL such as https://example.org/fhir")


def _check_bind(bind: tuple[str, ...]) -> None:
    if not bind:
        raise SettingInvalid("bind", "must name at least one address")
    for address in bind:
        match = _TCP.fullmatch(address)
        if address.startswith(("unix:", "fd://")):
            continue
        if match is None or int(match["port"]) > 65535:
            raise SettingInvalid("bind", f"'{address}' is not host:port, unix:path or fd://number")


def _check_tenants(tenants: tuple[str, ...]) -> None:
    if not tenants:
        raise SettingInvalid("tenants", "must name at least one tenant")
    for tenant in tenants:
        try:
            parse_tenant_id(tenant)
        except BadRequest as error:
            raise SettingInvalid("tenants", f"'{tenant}': {error}") from None


def _check_engine(engine: EngineLimits) -> None:
    try:
        engine.check()
    except SettingInvalid as error:
        message = str(error).removeprefix(f"setting {error.setting}: ")
        raise SettingInvalid(f"{ENGINE_TABLE}.{error.setting}", message) from None
