"""What a value of a query is in the index: keys of tokens, hashes of targets, numbers."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from backends.sqlite.search.ordered import prefix_range
from backends.sqlite.search.references import Pointers
from backends.sqlite.search.sets import NOTHING, Dictionary, Postings, Set, any_of
from backends.sqlite.search.view import View
from engine.fhir.search.tree import Modifier, Parameter, Reference, Token, Value

ANY: Final = Token(None, None)


def value_set(view: View, paths: tuple[int, ...], value: Token) -> Set:
    """Those with this token at one of the paths."""
    if value.code is not None and value.system is not None:
        return Postings(tuple(view.keys.term(path, value.system, value.code) for path in paths))
    keys = term_keys(view, paths, value)
    if keys is None:
        if value.code is None:
            return Dictionary(paths, system=value.system)
        return Dictionary(paths, codes=(value.code, value.code + "\0"))
    return Postings(keys) if keys else NOTHING


def term_keys(
    view: View, paths: tuple[int, ...], value: Token = ANY, *, keys_max: int = 0
) -> tuple[int, ...] | None:
    """The keys of all tokens that the dictionary has at these paths, those with this code or
    this system alone. None: there are more than `keys_max`, or than can be asked one by one."""
    keys_max = keys_max or view.limits.probed
    b = view.binder()
    conditions = [b.equal("p", paths)]
    if value.code is not None:
        conditions.append(f"code = {b.value(value.code)}")
    if value.system is not None:
        conditions.append(f"system = {b.value(value.system)}")
    rows = view.run(f"SELECT k FROM term WHERE {' AND '.join(conditions)} LIMIT {keys_max + 1}", b)
    return None if len(rows) > keys_max else tuple(k for (k,) in rows)


def uri_keys(view: View, paths: tuple[int, ...], text: str, modifier: Modifier) -> Set:
    """Those with this uri, one below it or one above it, by the steps of their paths."""
    if not paths:
        return NOTHING
    texts = [text, *_above(text)] if modifier is Modifier.ABOVE else [text]
    keys = tuple(view.keys.term(path, "", one) for path in paths for one in texts)
    if modifier is not Modifier.BELOW:
        return Postings(keys)
    step = text if text.endswith("/") else f"{text}/"
    return any_of([Postings(keys), Dictionary(paths, codes=prefix_range(step))])


def _above(text: str) -> list[str]:
    """Urls that a url lies below: each shorter by a step, with and without the last slash."""
    host = len(text) - len(text.partition("://")[2])
    stem = text.rstrip("/")
    shorter = [] if stem == text else [stem]
    while (cut := stem.rfind("/")) >= host:
        stem = stem[:cut]
        shorter += [f"{stem}/", stem]
    return shorter


def reference_sets(view: View, parameter: Parameter, values: Iterable[Value]) -> Set:
    """Those that point by the parameter to what the values name: each type at its paths."""
    places: dict[tuple[int, ...], list[int]] = {}
    for value in values:
        assert isinstance(value, Reference)
        if value.url:
            places.setdefault(view.paths(parameter), []).extend(reference_targets(view, [value]))
        for type in value.types:
            target = view.keys.target(type, value.id)
            places.setdefault(view.reference_paths(parameter, type), []).append(target)
    return any_of([pointers(paths, targets) for paths, targets in places.items()])


def pointers(paths: tuple[int, ...], targets: Sequence[int]) -> Set:
    """Those that point by one of the paths to one of the targets."""
    return Pointers(paths, tuple(dict.fromkeys(targets))) if paths and targets else NOTHING


def reference_targets(view: View, values: Iterable[Value]) -> list[int]:
    """Hashes of what references may point to."""
    targets: dict[int, None] = {}
    for value in values:
        assert isinstance(value, Reference)
        if value.url:
            whole = f"{value.url}|{value.version}" if value.version else value.url
            targets[view.keys.url(whole)] = None
        for type in value.types:
            targets[view.keys.target(type, value.id)] = None
    return list(targets)


def resource_numbers(view: View, types: Sequence[str], ids: Sequence[str]) -> tuple[int, ...]:
    """Numbers of the live resources with these ids, of these types or of all, ascending."""
    names = [type for type in types if type in view.type_ids] if types else list(view.type_ids)
    targets = [view.keys.target(type, id) for type in names for id in ids]
    if not targets:
        return ()
    b = view.binder()
    rows: list[Any] = view.run(f"SELECT res FROM live WHERE {b.equal('tkey', targets)}", b)
    return tuple(sorted({res for (res,) in rows}))
