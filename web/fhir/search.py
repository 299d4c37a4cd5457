"""Search: by type, over all types and in a compartment, by GET and by POST.

An answer is put together from stored bodies. Pages follow one another by links that hold a
sealed position. Source: FHIR R4 search.html, http.html#search.
"""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec
from quart import Blueprint, Response, request

from engine.fhir.search.query import ParsedSearch
from engine.fhir.search.results import CURSOR, Summary, Total
from engine.model import Found, Version
from engine.ports import TenantStore
from web.fhir.address import check_address
from web.fhir.bundle import Link, SearchMode, bundle, outcome_entry, search_entry
from web.fhir.context import FhirContext
from web.fhir.criteria import parse_pairs, parse_query
from web.fhir.negotiation import parse_prefer, require_form_body
from web.fhir.pages import Pages
from web.fhir.representation import Form, json_response, parse_pretty, require_json

FORM_BYTES_MAX = 1 << 20  # of the parameters in a body


class Scope(NamedTuple):
    """What a search is over."""

    type: str | None = None
    compartment: tuple[str, str] | None = None

    @property
    def path(self) -> str:
        """Below the base, without a slash at either end."""
        if self.compartment is None:
            return self.type or ""
        return "/".join([*self.compartment, self.type or "*"])


def search_blueprint(context: FhirContext) -> Blueprint:
    """The routes of searches, below a FHIR base."""
    blueprint = Blueprint("search", __name__)
    api = SearchApi(context)
    one = "/<fhir_type:type>/<id>"
    for address in ("", "/"):
        blueprint.add_url_rule(address, view_func=api.search_system, methods=["GET"])
    blueprint.add_url_rule("/_search", view_func=api.search_system, methods=["GET", "POST"])
    blueprint.add_url_rule("/<fhir_type:type>", view_func=api.search_type, methods=["GET"])
    for address, methods in (("", ["GET"]), ("/_search", ["GET", "POST"])):
        below = f"{one}/<fhir_type:inner>{address}"
        blueprint.add_url_rule(below, view_func=api.search_compartment, methods=methods)
        all_ = f"{one}/*{address}"
        blueprint.add_url_rule(all_, view_func=api.search_compartment, methods=methods)
    blueprint.add_url_rule(
        "/<fhir_type:type>/_search", view_func=api.search_type, methods=["GET", "POST"]
    )
    return blueprint


class SearchApi:
    """The handlers."""

    def __init__(self, context: FhirContext) -> None:
        self._context = context
        self._pages = Pages()

    async def search_type(self, type: str) -> Response:
        """Resources of one type."""
        check_address(type)
        return await self._search(Scope(type))

    async def search_system(self) -> Response:
        """Resources of all types, or of those that `_type` names."""
        return await self._search(Scope())

    async def search_compartment(self, type: str, id: str, inner: str | None = None) -> Response:
        """Resources of one type, or of all, in the compartment of one resource."""
        check_address(type, id)
        if inner is not None:
            check_address(inner)
        return await self._search(Scope(inner, (type, id)))

    async def _search(self, scope: Scope) -> Response:
        context = self._context
        pairs = await self._pairs()
        require_json(pairs)
        lenient = parse_prefer(request.headers.getlist("Prefer")).get("handling") != "strict"
        store = await context.store()
        parsed = await parse_query(
            context,
            store,
            pairs,
            type=scope.type,
            lenient=lenient,
            compartment=scope.compartment,
        )
        form = Form(
            pretty=parse_pretty(pairs),
            summary=parsed.summary or Summary.FALSE,
            elements=parsed.elements,
        )
        answer = _Answer(context.base, scope, parsed, form)
        async with context.deadline():
            body = await self._page(store, answer)
        return json_response(body, form)

    async def _pairs(self) -> list[tuple[str, str]]:
        """The parameters of the URL, and those of a POST's body after them."""
        pairs = parse_pairs(request.query_string)
        if request.method != "POST":
            return pairs
        async with self._context.body(bytes_max=FORM_BYTES_MAX) as raw:
            if not raw.strip():
                return pairs
            require_form_body(request.headers.get("Content-Type"))
            return pairs + parse_pairs(raw)

    async def _page(self, store: TenantStore, answer: "_Answer") -> bytes:
        """One page as a searchset."""
        parsed = answer.parsed
        settings = self._context.services.settings
        count = settings.page_count if parsed.count is None else parsed.count
        found, next_ = Found(matches=()), None
        if not parsed.only_total:
            binding = answer.url()
            position = await self._pages.open(store, parsed.cursor, binding)
            found = await store.search(parsed.query, limit=count, position=position)
            if found.position:
                next_ = await self._pages.seal(store, found.position, binding)
        total = await _total(store, parsed, found)
        return answer.bundle(found, next_, total, self._context)


async def _total(store: TenantStore, parsed: ParsedSearch, found: Found) -> int | None:
    """How many match: if it was asked for, or costs nothing because this is all."""
    if not parsed.only_total and not parsed.cursor and not found.position:
        return len(found.matches)
    if parsed.only_total or parsed.total in (Total.ACCURATE, Total.ESTIMATE):
        return await store.count(parsed.query)
    return None


class _Answer(NamedTuple):
    """What one search is answered with."""

    base: str
    scope: Scope
    parsed: ParsedSearch
    form: Form

    def url(self, cursor: str | None = None) -> str:
        """This search as it was understood, as a URL: the canonical text of it."""
        pairs = list(self.parsed.understood)
        if cursor is not None:
            pairs.append((CURSOR, cursor))
        query = urlencode(pairs, safe=":/,$|*")
        path = f"{self.base}/{self.scope.path}".rstrip("/")
        return f"{path}?{query}" if query else path

    def bundle(
        self, found: Found, next_: str | None, total: int | None, context: FhirContext
    ) -> bytes:
        links: list[Link] = [("self", self.url(self.parsed.cursor or None))]
        if next_ is not None:
            links.append(("next", self.url(next_)))
        entries = self._entries(found.matches, "match", context)
        entries += self._entries(found.included, "include", context)
        if self.parsed.issues:
            entries.append(outcome_entry(self.parsed.issues))
        return bundle("searchset", entries, links=links, total=total, now_ms=context.now_ms)

    def _entries(
        self, versions: Sequence[Version], mode: SearchMode, context: FhirContext
    ) -> list[bytes]:
        # `_elements` is about what was asked for, not about what comes with it (R4 #elements).
        form = self.form if mode == "match" else msgspec.structs.replace(self.form, elements=())
        entries = []
        for version in versions:
            assert version.body is not None
            body = form.shaped(version.body, context.definitions)
            entries.append(search_entry(self.base, version, body, mode))
        return entries
