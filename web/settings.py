"""Settings: one list of names, each from a default, a file, the environment or a flag.

Later wins, in that order. An unknown or unusable setting stops the start with a
message that names it and where it came from. `docs/settings.md` explains each.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from engine.errors import BadRequest, SettingInvalid
from engine.limits import MIB, EngineLimits
from engine.tenant import DEFAULT_TENANT, TenantId, parse_tenant_id

ENV_PREFIX = "PENSTOCK_"
CONFIG_ENV = "PENSTOCK_CONFIG"
CONFIG_NAME = "penstock.toml"  # looked for in the working directory
ENGINE_TABLE = "engine"

# Kubernetes puts these into every container beside a service that is called penstock.
_NOT_OURS = re.compile(r"PENSTOCK_(SERVICE_(HOST|PORT)(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)")
_ZERO_ALLOWED = frozenset({"min_job_age_seconds", "engine.drain_seconds"})
_TCP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/]+):(?P<port>\d{1,5})")


Validation = Literal["structure", "off"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator decides. Checked by `load_settings`."""

    store: str = "sqlite:./data"  # the backend, by URL
    output: str = ""  # folder of the export files; empty: `output` in the store's folder
    bind: tuple[str, ...] = ("127.0.0.1:8080",)  # host:port, unix:path or fd://number
    base_url: str = ""  # what clients see; empty: made from the first address
    tenants: tuple[str, ...] = (DEFAULT_TENANT,)  # created if they are new
    resource_bytes_max: int = 16 * MIB  # of one resource, one NDJSON line
    request_bytes_max: int = 64 * MIB  # of one request body
    output_coding: Literal["", "gzip"] = ""  # of export files at rest
    min_job_age_seconds: float = 0.5  # the first status poll waits until a job is this old
    polls_per_second: float = 10.0  # of one export's status, in the long run
    polls_burst: int = 20  # and so many at once
    validation: Validation = "structure"  # of what is written over REST
    tenant_validation: tuple[str, ...] = ()  # tenant=off, where it differs
    zone: str = "UTC"  # of dates in searches and resources that name none
    tenant_zones: tuple[str, ...] = ()  # tenant=Europe/Berlin, where it differs
    page_count: int = 20  # entries of a page, if _count does not say
    page_count_max: int = 1000  # a larger _count gets so many
    search_seconds: float = 30.0  # a query that takes longer is stopped
    conditional_delete_max: int = 100  # resources; 1: only a single match is deleted
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

    def validation_of(self, tenant: TenantId) -> Validation:
        """How strictly what this tenant is sent is looked at."""
        own = self._own("tenant_validation", tenant, self.validation)
        return "off" if own == "off" else "structure"

    def zone_of(self, tenant: TenantId) -> tzinfo:
        """The zone of this tenant's dates without one."""
        return find_zone(self._own("tenant_zones", tenant, self.zone))

    def _own(self, name: str, tenant: TenantId, otherwise: str) -> str:
        """A tenant's own value in a list of tenant=value, else that of all."""
        return dict(_pairs(getattr(self, name))).get(tenant, otherwise)

    def _check_tenant_settings(self) -> None:
        for name, allowed in (
            ("tenant_validation", lambda value: value in get_args(Validation)),
            ("tenant_zones", _is_zone),
        ):
            for tenant, value in _pairs(getattr(self, name)):
                _check_tenants((tenant,), name)
                if not allowed(value):
                    raise SettingInvalid(name, f"'{tenant}={value}' has a value it cannot have")
        if not _is_zone(self.zone):
            raise SettingInvalid("zone", "must be a zone such as Europe/Berlin, or UTC")

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
        if self.request_bytes_max < self.resource_bytes_max:
            raise SettingInvalid("request_bytes_max", "must not be less than resource_bytes_max")
        if self.page_count > self.page_count_max:
            raise SettingInvalid("page_count", "must not be more than page_count_max")
        self._check_tenant_settings()
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


def _check_tenants(tenants: tuple[str, ...], setting: str = "tenants") -> None:
    if not tenants:
        raise SettingInvalid(setting, "must name at least one tenant")
    for tenant in tenants:
        try:
            parse_tenant_id(tenant)
        except BadRequest as error:
            raise SettingInvalid(setting, f"'{tenant}': {error}") from None


def _pairs(items: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Items of the form name=value."""
    for item in items:
        name, _, value = item.partition("=")
        yield name.strip(), value.strip()


def find_zone(name: str) -> tzinfo:
    """A time zone by its name. Raises ValueError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError(name) from None


def _is_zone(name: str) -> bool:
    try:
        find_zone(name)
    except ValueError:
        return False
    return True


def _check_engine(engine: EngineLimits) -> None:
    try:
        engine.check()
    except SettingInvalid as error:
        message = str(error).removeprefix(f"setting {error.setting}: ")
        raise SettingInvalid(f"{ENGINE_TABLE}.{error.setting}", message) from None
