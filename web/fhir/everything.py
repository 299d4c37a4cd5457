"""Patient/[id]/$everything: a patient's compartment, and what its resources point to beside it.

Source: FHIR R4 patient-operation-everything.html.
"""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from quart import Blueprint, Response, request

from engine.errors import BadParameter, NotFound, NotSupported
from engine.fhir.definitions.model import SearchKind
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.results import CURSOR, parse_count
from engine.fhir.search.scope import shown
from engine.fhir.search.tree import (
    TIME_MAX,
    Compartment,
    Criterion,
    Include,
    Instant,
    Prefix,
    Query,
    Updated,
)
from engine.fhir.types import STORED_TYPES
from engine.instant import parse_instant
from engine.interactions.matching import gone
from engine.model import Found, Version
from web.fhir.address import check_address
from web.fhir.bundle import Link, SearchMode, bundle, search_entry
from web.fhir.context import FhirContext
from web.fhir.criteria import parse_pairs
from web.fhir.negotiation import require_json_body
from web.fhir.pages import Pages
from web.fhir.parameters import parse_parameters
from web.fhir.representation import (
    FORM_PARAMETERS,
    Form,
    json_response,
    parse_form,
    require_json,
)

PATIENT = "Patient"
PARAMETERS = frozenset({"_since", "_type", "_count", CURSOR})
PARAMETERS_BYTES_MAX = 1 << 20  # of a POST's body
_REFUSED = frozenset({"start", "end"})


class Asked(NamedTuple):
    """Which part of everything, and in which form."""

    pairs: tuple[tuple[str, str], ...]  # as given, without the cursor
    since_ms: int | None
    types: frozenset[str]  # empty: all
    rows: int  # of a page
    cursor: str | None
    form: Form


def everything_blueprint(context: FhirContext) -> Blueprint:
    """The route of the operation, below a FHIR base."""
    blueprint = Blueprint("everything", __name__)
    api = EverythingApi(context)
    blueprint.add_url_rule(
        "/Patient/<id>/$everything", view_func=api.everything, methods=["GET", "POST"]
    )
    return blueprint


class EverythingApi:
    """The handler."""

    def __init__(self, context: FhirContext) -> None:
        self._context = context
        self._pages = Pages()

    async def everything(self, id: str) -> Response:
        """One page of a searchset. The patient has to be there."""
        check_address(PATIENT, id)
        context = self._context
        asked = self._asked(await self._pairs())
        store = await context.store()
        patient = await store.read(PATIENT, id)
        if patient is None:
            raise NotFound("there is no such patient")
        if patient.deleted:
            raise gone(patient)
        query = everything_query(await store.search_definitions(), id, asked.since_ms, asked.types)
        address = f"{context.base}/{PATIENT}/{id}/$everything"
        binding = _url(address, asked.pairs)
        position = await self._pages.open(store, asked.cursor, binding)
        found = Found(matches=())
        async with context.deadline():
            if query.types:
                found = await store.search(query, limit=asked.rows, position=position)
        links: list[Link] = [("self", _url(address, asked.pairs, asked.cursor))]
        if found.position:
            cursor = await self._pages.seal(store, found.position, binding)
            links.append(("next", _url(address, asked.pairs, cursor)))
        entries = self._entries(found.matches, "match", asked.form)
        entries += self._entries(found.included, "include", asked.form)
        body = bundle("searchset", entries, links=links, total=None, now_ms=context.now_ms)
        return json_response(body, asked.form)

    async def _pairs(self) -> list[tuple[str, str]]:
        """The parameters of the URL, and those of a POST's Parameters after them."""
        pairs = parse_pairs(request.query_string)
        if request.method != "POST":
            return pairs
        async with self._context.body(bytes_max=PARAMETERS_BYTES_MAX) as raw:
            if not raw.strip():
                return pairs
            require_json_body(request.headers.get("Content-Type"))
            return pairs + parse_parameters(raw)

    def _asked(self, pairs: list[tuple[str, str]]) -> Asked:
        require_json(pairs)
        for name, _ in pairs:
            if name in _REFUSED:
                raise NotSupported(
                    "dates of care are not looked at here: use _since, or search the types by "
                    "their dates",
                    expression=name,
                )
            if name not in PARAMETERS and name not in FORM_PARAMETERS:
                raise NotSupported("$everything has no such parameter", expression=shown(name))
        given = dict(pairs)
        settings = self._context.services.settings
        since = given.get("_since")
        return Asked(
            pairs=tuple(pair for pair in pairs if pair[0] != CURSOR),
            since_ms=None if since is None else parse_instant(since, name="_since"),
            types=_types(given.get("_type")),
            rows=_rows(given.get("_count"), settings.page_count, settings.page_count_max),
            cursor=given.get(CURSOR),
            form=parse_form(pairs),
        )

    def _entries(self, versions: Sequence[Version], mode: SearchMode, form: Form) -> list[bytes]:
        entries = []
        for version in versions:
            assert version.body is not None
            body = form.shaped(version.body, self._context.definitions)
            entries.append(search_entry(self._context.base, version, body, mode))
        return entries


def everything_query(
    search: SearchDefinitions, id: str, since_ms: int | None, types: frozenset[str]
) -> Query:
    """The compartment of one patient, with what it points to outside of all compartments, such
    as practitioners and medications. Another patient is not followed to. `types` empty: all."""
    members = search.compartment(PATIENT)
    inside = sorted({PATIENT, *members})
    wanted = [type for type in inside if not types or type in types]
    parameters = tuple(one for type in wanted for one in members.get(type, ()))
    criteria: list[Criterion] = [Compartment(PATIENT, id, parameters, itself=PATIENT in wanted)]
    if since_ms is not None:
        criteria.append(Updated((Instant(Prefix.GE, since_ms, TIME_MAX),)))
    outside = STORED_TYPES - set(inside)
    followed = outside & types if types else outside
    includes = tuple(
        include for type in wanted for include in _includes(search, type, sorted(followed))
    )
    return Query(types=tuple(wanted), criteria=tuple(criteria), includes=includes)


def _includes(search: SearchDefinitions, source: str, targets: Sequence[str]) -> Sequence[Include]:
    references = [one for one in search.parameters(source) if one.kind is SearchKind.REFERENCE]
    found = []
    for target in targets:
        parameters = tuple(one for one in references if target in one.targets)
        if parameters:
            found.append(Include(source, parameters, target))
    return found


def _types(text: str | None) -> frozenset[str]:
    types = frozenset(text.split(",")) if text is not None else frozenset()
    if types - STORED_TYPES:
        raise BadParameter("_type must be a list of resource types", expression="_type")
    return types


def _rows(text: str | None, otherwise: int, most: int) -> int:
    if text is None:
        return otherwise
    try:
        rows = parse_count(text, most)
    except BadParameter as error:
        error.expression = "_count"
        raise
    if rows == 0:
        raise BadParameter("_count must be at least 1 here", expression="_count")
    return rows


def _url(address: str, pairs: Sequence[tuple[str, str]], cursor: str | None = None) -> str:
    query = urlencode([*pairs, *([(CURSOR, cursor)] if cursor else [])], safe=":/,$|*")
    return f"{address}?{query}" if query else address
