"""History: the versions of one resource, of one type or of all, newest first.

Source: FHIR R4 http.html#history.
"""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from quart import Blueprint, Response, request

from engine.errors import BadParameter, NotFound, NotSupported
from engine.fhir.search.results import CURSOR, parse_count
from engine.fhir.search.scope import shown
from engine.fhir.search.values import date_range
from engine.instant import parse_instant
from engine.model import History, Version
from engine.ports import TenantStore
from web.fhir.address import check_address
from web.fhir.bundle import Link, bundle, history_entry
from web.fhir.context import FhirContext
from web.fhir.criteria import parse_pairs
from web.fhir.pages import Pages
from web.fhir.representation import (
    FORM_PARAMETERS,
    Form,
    json_response,
    parse_form,
    require_json,
)
from web.fhir.tenancy import current_tenant

PARAMETERS = frozenset({"_since", "_at", "_count", CURSOR})


class Asked(NamedTuple):
    """Which versions a request wants, and of which form."""

    pairs: tuple[tuple[str, str], ...]  # as given, without the cursor
    since_ms: int | None
    at_ms: tuple[int, int] | None
    rows: int  # 0: only how many there are
    cursor: str | None
    form: Form


def history_blueprint(context: FhirContext) -> Blueprint:
    """The routes of histories, below a FHIR base."""
    blueprint = Blueprint("history", __name__)
    api = HistoryApi(context)
    for address in ("/_history", "/<fhir_type:type>/_history", "/<fhir_type:type>/<id>/_history"):
        blueprint.add_url_rule(address, view_func=api.history, methods=["GET"])
    return blueprint


class HistoryApi:
    """The handlers."""

    def __init__(self, context: FhirContext) -> None:
        self._context = context
        self._pages = Pages()

    async def history(self, type: str | None = None, id: str | None = None) -> Response:
        """One page. A resource that never was is not found; one that was deleted has a history."""
        if type is not None:
            check_address(type, id)
        context = self._context
        asked = self._asked()
        store = await context.store()
        path = "/".join([name for name in (type, id) if name is not None] + ["_history"])
        address = f"{context.base}/{path}"
        position = await self._position(store, asked, address)
        async with context.deadline():
            page = await self._page(store, type, id, asked, position)
        if not page.versions and not page.total and type is not None and id is not None:
            await _require_known(store, type, id)
        links: list[Link] = [("self", _url(address, asked.pairs, asked.cursor))]
        if page.position:
            next_ = str(page.position).encode()
            cursor = await self._pages.seal(store, next_, _url(address, asked.pairs))
            links.append(("next", _url(address, asked.pairs, cursor)))
        entries = [self._entry(version, asked.form) for version in page.versions]
        body = bundle("history", entries, links=links, total=page.total, now_ms=context.now_ms)
        return json_response(body, asked.form)

    def _asked(self) -> Asked:
        pairs = parse_pairs(request.query_string)
        require_json(pairs)
        for name, _ in pairs:
            if name not in PARAMETERS and name not in FORM_PARAMETERS:
                raise NotSupported(
                    "there is no such parameter of a history", expression=shown(name)
                )
        given = dict(pairs)
        return Asked(
            pairs=tuple(pair for pair in pairs if pair[0] != CURSOR),
            since_ms=parse_instant(given["_since"], name="_since") if "_since" in given else None,
            at_ms=self._at(given["_at"]) if "_at" in given else None,
            rows=self._count(given.get("_count")),
            cursor=given.get(CURSOR),
            form=parse_form(pairs),
        )

    def _count(self, text: str | None) -> int:
        """Versions of a page; 0: only how many there are is wanted."""
        settings = self._context.services.settings
        if text is None:
            return settings.page_count
        try:
            return parse_count(text, settings.page_count_max)
        except BadParameter as error:
            error.expression = "_count"
            raise

    def _at(self, text: str) -> tuple[int, int]:
        """A date, or an instant: what was current at some time of it."""
        try:
            return date_range(text, self._context.services.settings.zone_of(current_tenant()))
        except ValueError:
            raise BadParameter(
                "_at must be a date or an instant, such as 2026-01-31 or 2026-01-31T08:30:00Z",
                expression="_at",
            ) from None

    async def _position(self, store: TenantStore, asked: Asked, address: str) -> int:
        opened = await self._pages.open(store, asked.cursor, _url(address, asked.pairs))
        return int(opened) if opened else 0

    async def _page(
        self, store: TenantStore, type: str | None, id: str | None, asked: Asked, position: int
    ) -> History:
        page = await store.history(
            type,
            id,
            since_ms=asked.since_ms,
            at_ms=asked.at_ms,
            position=position,
            limit=max(1, asked.rows),
        )
        return page if asked.rows else History(versions=(), total=page.total)

    def _entry(self, version: Version, form: Form) -> bytes:
        body = version.body
        if body is not None:
            body = form.shaped(body, self._context.definitions)
        return history_entry(self._context.base, version, body)


async def _require_known(store: TenantStore, type: str, id: str) -> None:
    if await store.read(type, id) is None:
        raise NotFound("there is no such resource")


def _url(address: str, pairs: Sequence[tuple[str, str]], cursor: str | None = None) -> str:
    query = urlencode([*pairs, *([(CURSOR, cursor)] if cursor else [])], safe=":/,$|*")
    return f"{address}?{query}" if query else address
