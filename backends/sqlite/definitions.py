"""The search definitions of one tenant's store, kept in step with its file.

The file says which generation holds (`meta.defs`), which paths have which number, and how far
the index is complete. What is made from that is never changed, and shared by all threads.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import apsw
import msgspec

from backends.definitions import SEARCH_PARAMETER, DefinitionsMaker, Recipe
from backends.sqlite.queries import load_queries
from backends.sqlite.types import find_type
from engine.errors import BadRequest, NotIndexed
from engine.fhir.search.definitions import SearchDefinitions
from engine.fhir.search.keys import Keys
from engine.fhir.search.tree import Parameter, Path, Query

_SQL: Final = load_queries("index")

SECRET_BYTES = 32


class TenantDefinitions:
    """Makes the definitions when they are first needed, and again when they have changed."""

    def __init__(self, maker: DefinitionsMaker) -> None:
        self._maker = maker
        self._secret = b""
        self._newest: SearchDefinitions | None = None  # committed

    @property
    def secret(self) -> bytes:
        """The store's own. Known once `prepare` has run."""
        assert self._secret
        return self._secret

    @property
    def newest(self) -> SearchDefinitions:
        """What held when this process last looked: good enough for what a write checks again."""
        assert self._newest is not None
        return self._newest

    @property
    def keys(self) -> Keys:
        """The store's hashes."""
        return Keys(self.secret)

    def prepare(self, connection: apsw.Connection, new_secret: bytes) -> None:
        """When the file is opened, inside a write transaction: its secret, and numbers for all
        paths of a program that may be newer than the file."""
        connection.execute(_SQL["give_secret"], (new_secret, self._maker.made_for))
        secret: Any = connection.execute("SELECT secret FROM meta").get
        self._secret = bytes(secret)
        generation = _generation(connection)
        names = self._maker.path_names(self._usable(own_parameters(connection)))
        if connection.execute("SELECT 1 FROM path LIMIT 1").get is None:
            _number_paths(connection, names, generation)
        elif _number_paths(connection, names, generation + 1):
            connection.execute(_SQL["set_generation"], (generation + 1,))
        connection.execute(_SQL["complete_if_empty"])
        self.current(connection)

    def current(self, connection: apsw.Connection) -> SearchDefinitions:
        """What holds in the state that this connection sees, by what was committed. In any
        thread; on a connection that writes, see WriteTransaction.definitions."""
        generation = _generation(connection)
        newest = self._newest
        if newest is None or newest.generation != generation:
            made = self._make(connection, self._usable(own_parameters(connection)), generation)
            self.publish(made)
            return made
        return newest

    def publish(self, definitions: SearchDefinitions) -> None:
        """These were committed. An older state that somebody still reads changes nothing."""
        if self._newest is None or self._newest.generation < definitions.generation:
            self._newest = definitions

    def change(
        self,
        connection: apsw.Connection,
        generation: int,
        *,
        written: Sequence[bytes] = (),
    ) -> SearchDefinitions:
        """Inside a write transaction that wrote or deleted SearchParameters: those of the next
        generation. Raises BadRequest if one of `written` can be no parameter; others that cannot
        stay out of use."""
        self._maker.path_names(written)
        own = self._usable(own_parameters(connection))
        _number_paths(connection, self._maker.path_names(own), generation)
        connection.execute(_SQL["set_generation"], (generation,))
        return self._make(connection, own, generation)

    def renew(self, connection: apsw.Connection, generation: int) -> SearchDefinitions:
        """Inside a write transaction that has emptied the index: the next generation, for the
        settings of now."""
        connection.execute(_SQL["set_made_for"], (self._maker.made_for,))
        return self.change(connection, generation)

    def recipe(self, connection: apsw.Connection) -> Recipe:
        """What the definitions are made of in the state that this connection sees."""
        with connection:  # all statements see one state
            own = self._usable(own_parameters(connection))
            recipe = self._recipe(connection, own, _generation(connection))
        return recipe  # noqa: RET504 - mypy takes a `with` for one that may swallow errors

    def _make(
        self, connection: apsw.Connection, own: Sequence[bytes], generation: int
    ) -> SearchDefinitions:
        return self._recipe(connection, own, generation).make()

    def _recipe(self, connection: apsw.Connection, own: Sequence[bytes], generation: int) -> Recipe:
        numbers: Any = connection.execute("SELECT name, p FROM path").fetchall()
        made_for: Any = connection.execute("SELECT made_for FROM meta").get
        return Recipe(
            maker=self._maker,
            own=own,
            generation=generation,
            secret=self.secret,
            path_numbers=dict(numbers),
            made_for=made_for,
        )

    def _usable(self, own: Sequence[bytes]) -> Sequence[bytes]:
        """Without those that a load or a newer program left here and this one cannot use."""
        try:
            self._maker.path_names(own)
        except BadRequest:
            return [body for body in own if self._is_usable(body)]
        return own

    def _is_usable(self, body: bytes) -> bool:
        try:
            self._maker.path_names([body])
        except BadRequest:
            return False
        return True


def own_parameters(connection: apsw.Connection) -> list[bytes]:
    """Bodies of the tenant's live SearchParameters, in the order they were first created."""
    type_id = find_type(connection, SEARCH_PARAMETER)
    if type_id is None:
        return []
    rows: Any = connection.execute(_SQL["own_parameters"], (type_id,)).fetchall()
    return [bytes(body) for (body,) in rows]


def require_indexed(connection: apsw.Connection, query: Query) -> None:
    """Raise NotIndexed if the index does not hold all that this query looks at."""
    complete, incomplete = connection.execute(_SQL["completeness"]).get
    if not complete:
        raise NotIndexed("this tenant's search index is not made yet: run `penstock reindex`")
    if not incomplete:
        return
    rows: Any = connection.execute(_SQL["incomplete_paths"]).fetchall()
    names = {name for (name,) in rows}
    for parameter in _parameters(query):
        if any(path.name in names for path in parameter.paths):
            raise NotIndexed(
                f"the search index does not hold '{parameter.code}' yet: run `penstock reindex`"
            )


def _parameters(part: object) -> Iterator[Parameter]:
    """All parameters anywhere in a query."""
    if isinstance(part, Parameter):
        yield part
    if isinstance(part, msgspec.Struct) and not isinstance(part, Path):
        for name in part.__struct_fields__:
            yield from _parameters(getattr(part, name))
    elif isinstance(part, tuple):
        for item in part:
            yield from _parameters(item)


def _generation(connection: apsw.Connection) -> int:
    generation: Any = connection.execute("SELECT defs FROM meta").get
    return int(generation)


def _number_paths(connection: apsw.Connection, names: Sequence[str], generation: int) -> bool:
    """Numbers for new paths; the numbers of those that are gone are never given again. Returns
    whether there were new ones."""
    rows: Any = connection.execute("SELECT name FROM path").fetchall()
    known = {name for (name,) in rows}
    wanted = set(names)
    connection.executemany(_SQL["forget_path"], [(name,) for name in known - wanted])
    new = [name for name in names if name not in known]
    connection.executemany(_SQL["add_path"], [(name, generation) for name in new])
    return bool(new)
