"""The search definitions of a tenant of the memory backend."""

from backends.definitions import SEARCH_PARAMETER, DefinitionsMaker
from backends.memory.state import MemoryWorld, StoreState
from engine.errors import BadRequest
from engine.fhir.search.definitions import SearchDefinitions

SECRET = b"memory"  # nobody attacks a model


def definitions_of(world: MemoryWorld, store: StoreState) -> SearchDefinitions:
    """What can be searched for now. Made again when the tenant's own SearchParameters are
    others than before."""
    maker = world.makers(store.tenant)
    own = [body for body in _own(store) if is_usable(maker, body)]
    made = store.definitions
    if made is None or own != store.defined_by:
        names = maker.path_names(own)
        made = store.definitions = maker.make(
            own,
            generation=1 if made is None else made.generation + 1,
            secret=SECRET,
            path_numbers={name: number for number, name in enumerate(names, start=1)},
            made_for=maker.made_for,
        )
        store.defined_by = own
    return made


def check_usable(world: MemoryWorld, store: StoreState, body: bytes) -> None:
    """Raise BadRequest if it is a SearchParameter that cannot be one."""
    world.makers(store.tenant).path_names([body])


def is_usable(maker: DefinitionsMaker, body: bytes) -> bool:
    """Whether a SearchParameter takes part."""
    try:
        maker.path_names([body])
    except BadRequest:
        return False
    return True


def _own(store: StoreState) -> list[bytes]:
    current = [
        row.version.body
        for row in store.rows
        if row.version.type == SEARCH_PARAMETER and row.replaced_by is None
    ]
    return [body for body in current if body is not None]
