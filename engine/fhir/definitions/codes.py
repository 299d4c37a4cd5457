"""Which codes a value set has, as far as the package at hand can tell."""

from collections.abc import Iterable, Mapping
from typing import Any

Resource = Mapping[str, Any]
Code = tuple[str, str]  # system and code


class CodeSets:
    """The value sets of one package, expanded from its code systems."""

    def __init__(self, systems: Iterable[Resource], sets: Iterable[Resource]) -> None:
        # An incomplete code system cannot say which codes there are.
        self._systems = {
            str(one["url"]): one for one in systems if one.get("content") == "complete"
        }
        self._sets = {str(one["url"]): one for one in sets if "url" in one}

    def members(self, url: str) -> tuple[Code, ...] | None:
        """The codes of a value set, in order; None if they cannot be enumerated."""
        return self._members(url.partition("|")[0], ())

    def _members(self, url: str, within: tuple[str, ...]) -> tuple[Code, ...] | None:
        found = self._sets.get(url)
        if found is None or url in within:
            return None
        compose = found.get("compose", {})
        included: dict[Code, None] = {}
        for part in compose.get("include", ()):
            codes = self._part(part, (*within, url))
            if codes is None:
                return None
            included.update(dict.fromkeys(codes))
        for part in compose.get("exclude", ()):
            codes = self._part(part, (*within, url))
            if codes is None:
                return None
            for code in codes:
                included.pop(code, None)
        return tuple(included)

    def _part(self, part: Resource, within: tuple[str, ...]) -> tuple[Code, ...] | None:
        """One include or exclude: what its system and all its value sets have in common."""
        sides = [self._members(str(url), within) for url in part.get("valueSet", ())]
        if "system" in part:
            sides.insert(0, self._of_system(part))
        if not sides or any(side is None for side in sides):
            return None
        first, *others = (side for side in sides if side is not None)
        return tuple(code for code in first if all(code in other for other in others))

    def _of_system(self, part: Resource) -> tuple[Code, ...] | None:
        url = str(part["system"])
        if "concept" in part:
            return tuple((url, str(one["code"])) for one in part["concept"])
        system = self._systems.get(url)
        if system is None:
            return None
        parents = _parents(system.get("concept", ()), None)
        codes: Iterable[str] = parents
        for one in part.get("filter", ()):
            if (one["op"], one["property"]) not in _FILTERS:
                return None
            itself = one["op"] == "is-a"
            codes = [code for code in codes if _is_below(code, one["value"], parents, itself)]
        return tuple((url, code) for code in codes)


_FILTERS = frozenset({("is-a", "concept"), ("descendent-of", "concept")})


def _parents(concepts: Iterable[Resource], parent: str | None) -> dict[str, str | None]:
    """Every code of a tree of concepts with the one above it, in order."""
    found: dict[str, str | None] = {}
    for concept in concepts:
        code = str(concept["code"])
        found[code] = parent
        found.update(_parents(concept.get("concept", ()), code))
    return found


def _is_below(code: str, top: str, parents: Mapping[str, str | None], itself: bool) -> bool:
    above: str | None = code if itself else parents[code]
    while above is not None:
        if above == top:
            return True
        above = parents[above]
    return False
