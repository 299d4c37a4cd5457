"""Tenancy: which tenant a path is about, and the address its resources are known by.

`[base]` is the default tenant, `[base]/{words}` another one. Words are lower-case,
resource types begin with a capital and operations with `$`, so the two never collide.
A tenant that does not exist looks like any other address with nothing at it.
"""

from quart import Blueprint, Quart, g
from werkzeug.routing import BaseConverter

from engine.errors import BadRequest, NotFound
from engine.fhir.ids import TYPE_PATTERN
from engine.tenant import DEFAULT_TENANT, TenantId, parse_tenant_id
from web.services import Services

FHIR_PREFIX = "/fhir"
TENANT_PREFIX = f"{FHIR_PREFIX}/<tenant:tenant_words>"


class TenantConverter(BaseConverter):
    """Lower-case words joined by slashes, as a part of a rule."""

    part_isolating = False
    regex = r"[a-z][a-z0-9-]*(?:/[a-z][a-z0-9-]*)*"


class TypeConverter(BaseConverter):
    """What could be a resource type, as a part of a rule."""

    regex = TYPE_PATTERN


def use_converters(app: Quart) -> None:
    """Make `<tenant:...>` and `<fhir_type:...>` known to an application's rules."""
    app.url_map.converters.update(tenant=TenantConverter, fhir_type=TypeConverter)


def register_fhir(app: Quart, blueprint: Blueprint) -> None:
    """Mount a blueprint whose rules begin below `[base]`, for the default and every other
    tenant. Its handlers learn the tenant from `current_tenant()`."""
    blueprint.url_value_preprocessor(_remember_tenant)
    app.register_blueprint(blueprint, url_prefix=FHIR_PREFIX)
    app.register_blueprint(blueprint, url_prefix=TENANT_PREFIX, name=f"{blueprint.name}_of_tenant")


def current_tenant() -> TenantId:
    """The tenant that the current request is about; it need not exist. Raises NotFound if
    nothing could be called so."""
    if g.tenant_words is None:
        return DEFAULT_TENANT
    try:
        return parse_tenant_id(g.tenant_words)
    except BadRequest:
        raise NotFound("there is no such tenant") from None


def tenant_base(services: Services, tenant: TenantId) -> str:
    """The absolute FHIR base of a tenant, from the settings and never from a Host header."""
    base = services.settings.effective_base_url
    return base if tenant == DEFAULT_TENANT else f"{base}/{tenant}"


def _remember_tenant(_endpoint: str | None, values: dict[str, str] | None) -> None:
    g.tenant_words = values.pop("tenant_words", None) if values is not None else None
