"""Criteria: query strings as query trees, for searches and for conditional forms."""

from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl

from engine.errors import BadRequest
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.query import ParsedSearch, SearchContext, parse_search
from engine.fhir.search.tree import Query
from engine.fhir.types import STORED_TYPES
from engine.ports import TenantStore
from web.fhir.context import FhirContext
from web.fhir.tenancy import current_tenant

PARAMETERS_MAX = 1000  # of one query string


def parse_pairs(query: str | bytes) -> list[tuple[str, str]]:
    """Names and values of a query string or form, in order. Raises BadRequest."""
    try:
        text = query.decode("ascii") if isinstance(query, bytes) else query
        return parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX
        )
    except UnicodeDecodeError:
        raise BadRequest("the parameters are not UTF-8, escaped by %") from None
    except ValueError:
        raise BadRequest(f"there are more than {PARAMETERS_MAX} parameters") from None


async def parse_query(
    context: FhirContext,
    store: TenantStore,
    pairs: Sequence[tuple[str, str]],
    *,
    type: str | None,
    lenient: bool,
    compartment: tuple[str, str] | None = None,
) -> ParsedSearch:
    """A search as the current tenant's definitions understand it. Raises BadRequest."""
    return parse_search(
        pairs,
        type=type,
        search=await store.search_definitions(),
        lenient=lenient,
        context=search_context(context, compartment),
    )


def search_context(
    context: FhirContext, compartment: tuple[str, str] | None = None
) -> SearchContext:
    """What a query of the current request depends on beside the definitions."""
    settings = context.services.settings
    return SearchContext(
        now_ms=context.now_ms,
        zone=settings.zone_of(current_tenant()),
        base_urls=(context.base,),
        compartment=compartment,
        count_max=settings.page_count_max,
    )


async def parse_criteria(
    context: FhirContext, store: TenantStore, text: str | bytes, *, type: str
) -> Query:
    """The criteria of a conditional form. Raises BadRequest."""
    text = text.lstrip(b"?") if isinstance(text, bytes) else text.rpartition("?")[2]
    return criteria_parser(context, await store.search_definitions())(type, text)


def criteria_parser(
    context: FhirContext, search: SearchDefinitions
) -> Callable[[str, str | bytes], Query]:
    """What makes queries of criteria for the current tenant, in any thread.

    What is not understood is an error there: left out, it would make others match. Raises
    BadRequest.
    """
    understood = search_context(context)

    def parse(type: str, text: str | bytes) -> Query:
        if type not in STORED_TYPES:
            raise BadRequest("criteria are of a resource type that this server does not have")
        parsed = parse_search(
            parse_pairs(text), type=type, search=search, lenient=False, context=understood
        )
        if not parsed.query.criteria:
            raise BadRequest(
                "there are no criteria: without an id in the URL, send a search such as "
                "?identifier=system|value"
            )
        return parsed.query

    return parse
