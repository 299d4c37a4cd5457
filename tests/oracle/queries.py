"""Makes queries over the resources of a world, the same for the same seed.

Values are taken from the resources, and changed a little: a query that finds nothing says less.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from random import Random
from urllib.parse import quote

from tests.oracle import matching
from tests.oracle.fhirpath import Node, union, values
from tests.oracle.matching import PREFIXES, Surroundings
from tests.oracle.oracle import HIERARCHIES
from tests.oracle.published import Published, specification
from tests.oracle.world import Resource, World
from tests.support import fhir_data

# Left out: what has rules of its own that no expression holds.
LEFT_OUT = frozenset({"phonetic", "near", "_text", "_content", "_filter", "_query"})
# Published with a second target, which no such element may hold.
MEANT = {"patient": "Patient", "encounter": "Encounter"}
EVERYWHERE = ("_id", "_tag", "_security", "_profile", "_source", "_lastUpdated", "_list")
SORTED = frozenset({"string", "date", "token", "number", "quantity", "uri"})
DEPTH_MAX = 3


def escaped(text: str) -> str:
    """As one value of a query."""
    return "".join("\\" + sign if sign in "\\,|$" else sign for sign in text)


class Queries:
    """All choices come from one seed."""

    def __init__(self, seed: int, world: World, base: str) -> None:
        self._random = Random(seed)
        self._world = world
        self._around = Surroundings(base, matching.Fraction(0))
        self._specification = specification()

    def make(self) -> str:
        """One query, as the text after the base URL."""
        form = self._random.random()
        if form < 0.06:
            return self._of_system()
        type = self._one(self._world.types)
        path = type
        if form < 0.12:
            path, type = self._of_compartment()
        pairs = [self._criterion(type, 0) for _ in range(self._one((1, 1, 1, 2, 2, 3)))]
        if self._maybe(0.3):
            pairs.append(("_sort", self._order(type)))
        if self._maybe(0.1):
            pairs.append(self._include(type))
        return f"{path}?{joined(pairs)}"

    # Where.

    def _of_system(self) -> str:
        shared = ("_tag", "_lastUpdated", "_profile", "_security", "_id", "_source")
        pairs = [self._plain(self._one(self._world.types), self._one(shared))]
        if self._maybe(0.7):
            types = self._random.sample(self._world.types, self._one((1, 2, 3)))
            pairs.append(("_type", ",".join(types)))
            if self._maybe() and (codes := self._shared(types)):
                pairs.append(self._plain(types[0], self._one(codes)))
        return f"?{joined(pairs)}"

    def _shared(self, types: list[str]) -> list[str]:
        """Codes of parameters that all of these types have, of one kind."""
        kinds = [
            {(code, self._parameter_of(type)(code).kind) for code in self._codes(type)}
            for type in types
        ]
        both = set.intersection(*kinds)
        return sorted(code for code, kind in both if kind != "composite")

    def _of_compartment(self) -> tuple[str, str]:
        named = ("Patient", "Patient", "Encounter", "Practitioner", "Device", "RelatedPerson")
        compartment = self._one([one for one in named if self._world.of_type(one)] or ["Patient"])
        holder = self._one(self._world.of_type(compartment))
        members = self._specification.compartment(compartment)
        types = [one for one in self._world.types if members.get(one)]
        type = self._one(types)
        return f"{compartment}/{holder.id}/{type}", type

    # What.

    def _criterion(self, type: str, depth: int) -> tuple[str, str]:
        form = self._random.random()
        if depth < DEPTH_MAX and form < 0.14:
            return self._chain(type, depth)
        if depth < DEPTH_MAX and form < 0.2:
            return self._reverse(type, depth)
        if form < 0.27:
            return self._plain(type, self._one(EVERYWHERE))
        return self._plain(type, self._one(self._used_codes(type) or ("_id",)))

    def _chain(self, type: str, depth: int) -> tuple[str, str]:
        parameter = self._reference(type)
        if parameter is None:
            return self._plain(type, "_id")
        targets = sorted(self._targets(type, parameter))
        if not targets:
            return self._plain(type, parameter.code)
        target = self._one(targets)
        name, value = self._criterion(target, depth + 1)
        typed = len(targets) > 1 and self._maybe(0.7)
        return f"{parameter.code}{f':{target}' if typed else ''}.{name}", value

    def _reverse(self, type: str, depth: int) -> tuple[str, str]:
        sources = [
            (source, parameter)
            for source in self._world.types
            for parameter in map(self._parameter_of(source), self._used_codes(source))
            if parameter.kind == "reference" and type in self._targets(source, parameter)
        ]
        if not sources:
            return self._plain(type, "_id")
        source, parameter = self._one(sources)
        name, value = self._criterion(source, depth + 1)
        return f"_has:{source}:{parameter.code}:{name}", value

    def _parameter_of(self, type: str) -> Callable[[str], Published]:
        def parameter(code: str) -> Published:
            found = self._specification.parameter(type, code)
            assert found is not None
            return found

        return parameter

    def _reference(self, type: str) -> Published | None:
        found = [
            one
            for one in map(self._parameter_of(type), self._used_codes(type))
            if one.kind == "reference"
        ]
        return self._one(found) if found else None

    def _order(self, type: str) -> str:
        codes = [
            code for code in self._used_codes(type) if self._parameter_of(type)(code).kind in SORTED
        ]
        keys = self._random.sample([*codes, "_id", "_lastUpdated"], min(len(codes), 2) or 1)
        return ",".join(("-" if self._maybe() else "") + key for key in keys)

    def _include(self, type: str) -> tuple[str, str]:
        parameter = self._reference(type)
        iterate = ":iterate" if self._maybe(0.3) else ""
        if parameter is not None and self._maybe(0.6):
            code = "*" if self._maybe(0.2) else parameter.code
            return f"_include{iterate}", f"{type}:{code}"
        source = self._one(self._world.types)
        codes = [
            one.code
            for one in map(self._parameter_of(source), self._used_codes(source))
            if one.kind == "reference" and type in self._targets(source, one)
        ]
        if not codes:
            return "_count", "10"
        return f"_revinclude{iterate}", f"{source}:{self._one(codes)}"

    # One name with its values.

    def _plain(self, type: str, code: str) -> tuple[str, str]:
        if code in ("_id", "_lastUpdated", "_list"):
            return self._special(code)
        parameter = self._parameter_of(type)(code)
        if parameter.kind != "composite" and self._maybe(0.08):
            return f"{code}:missing", self._one(("true", "false"))
        modifier = self._modifier(type, parameter)
        count = self._one((1, 1, 1, 1, 2, 3))
        values = [self._value(type, parameter, modifier) for _ in range(count)]
        return f"{code}{f':{modifier}' if modifier else ''}", ",".join(values)

    def _special(self, code: str) -> tuple[str, str]:
        if code == "_list":
            lists = self._world.of_type("List")
            return code, self._one(lists).id if lists else "nothing"
        some = [self._one(list(self._world.of_types(()))) for _ in range(self._one((1, 2, 3)))]
        if code == "_id":
            name = "_id:not" if self._maybe(0.2) else "_id"
            return name, ",".join(one.id for one in some)
        moment = matching.Fraction(some[0].updated_ms, 1000)
        return code, self._one(PREFIXES) + instant_text(moment, self._one((0, 3)))

    def _modifier(self, type: str, parameter: Published) -> str:
        if self._maybe(0.6):
            return ""
        match parameter.kind:
            case "string":
                return self._one(("exact", "contains"))
            case "token":
                identifier = any(
                    node.type == "Identifier" for node in self._some_nodes(type, parameter)
                )
                return self._one(("not", "of-type") if identifier else ("not",))
            case "uri":
                return self._one(("above", "below"))
            case "reference":
                return self._reference_modifier(type, parameter)
        return ""

    def _reference_modifier(self, type: str, parameter: Published) -> str:
        nodes = self._some_nodes(type, parameter)
        if any(isinstance(node.value, str) for node in nodes):
            return ""  # a canonical
        targets = self._targets(type, parameter)
        choices = ["identifier"]
        if targets:
            choices += [self._one(sorted(targets)), "above", "below"]
        choice = self._one(choices)
        if choice in ("above", "below") and not self._hierarchical(targets):
            return ""
        return choice

    def _hierarchical(self, types: set[str]) -> list[str]:
        return sorted(
            type
            for type in types
            for code in HIERARCHIES & set(self._codes(type))
            if type in self._targets(type, self._parameter_of(type)(code))
        )

    def _targets(self, type: str, parameter: Published) -> set[str]:
        """The types that there are of those that a reference of this type may lead to; one if
        its expression demands one, as `patient` does."""
        types = self._specification.targets(parameter) & set(self._world.types)
        if parameter.code in MEANT:
            return types & {MEANT[parameter.code]}
        for part in union(parameter.expression):
            demanded = re.search(r"resolve\(\) is ([A-Za-z]+)", part)
            if demanded and part.startswith(f"{type}."):
                return types & {demanded[1]}
        return types

    def _value(self, type: str, parameter: Published, modifier: str) -> str:
        if parameter.kind == "composite":
            return self._composite(type, parameter)
        nodes = self._some_nodes(type, parameter)
        node = self._one(nodes) if nodes else None
        return self._value_of(type, parameter, node, modifier)

    def _value_of(self, type: str, parameter: Published, node: Node | None, modifier: str) -> str:
        match parameter.kind:
            case "string":
                return self._string(node, modifier)
            case "token":
                return self._typed(node) if modifier == "of-type" else self._token(node)
            case "number":
                return self._one(PREFIXES) + self._number(node.value if node else None)
            case "quantity":
                return self._quantity(node)
            case "date":
                return self._date(node)
            case "uri":
                return self._uri(node, modifier)
            case "reference":
                return self._target(self._targets(type, parameter), node, modifier)
        raise AssertionError(parameter.kind)

    def _composite(self, type: str, parameter: Published) -> str:
        """Mostly of one element, so that it is found."""
        nodes = self._some_nodes(type, parameter)
        node = self._one(nodes) if nodes else None
        pieces = []
        for component in parameter.components:
            meant = self._specification.component(parameter, component)
            found = values(type, component.expression, node.node) if node else []
            one = self._one(found) if found else None
            pieces.append(self._value_of(type, meant, one, ""))
        return "$".join(pieces)

    # Values of one kind.

    def _string(self, node: Node | None, modifier: str) -> str:
        pool = (*fhir_data.GIVENS, *fhir_data.FAMILIES, *fhir_data.CITIES)
        text = self._one((list(matching.strings(node)) if node else []) or pool)
        if modifier == "exact":
            return escaped(text if self._maybe(0.8) else text.swapcase())
        begin = self._random.randrange(len(text)) if modifier == "contains" else 0
        text = text[begin : begin + self._random.randint(1, len(text))].strip() or text
        if self._maybe(0.3):
            text = text.swapcase()
        if self._maybe(0.2):
            text = unicodedata.normalize("NFD", text)
        if not matching.normalized(text):
            text = "e"
        return escaped(text)

    def _token(self, node: Node | None) -> str:
        coded = list(matching.tokens(node)) if node else []
        one = self._one(coded) if coded and self._maybe(0.9) else None
        system = one.system if one else self._one(fhir_data.SYSTEMS)
        code = (one.code if one else None) or self._one(fhir_data.CODES)
        form = self._random.randrange(6)
        if form == 0 and system:
            return f"{escaped(system)}|"
        if form == 1:
            return f"|{escaped(code)}"
        if form in (2, 3) and system:
            return f"{escaped(system)}|{escaped(code)}"
        return escaped(code)

    def _typed(self, node: Node | None) -> str:
        value = node.value.get("value", "123") if node else "123"
        return f"{fhir_data.TYPES}|{self._one(('MR', 'MR', 'SS'))}|{escaped(value)}"

    def _number(self, near: object) -> str:
        if isinstance(near, (int, Decimal)) and self._maybe(0.8):
            number = Decimal(near)
            change = self._one(("0", "0", "0", "0.05", "-0.5", "5", "-0.0001"))
            text = str(number + Decimal(change))
        else:
            text = self._one(fhir_data.DECIMALS)
        if self._maybe(0.1):
            text = self._one(("1e2", "1.0e2", "5.40e-3", "1e0", "-2", "0.0", "100.00"))
        return text.replace("E+", "e")

    def _quantity(self, node: Node | None) -> str:
        value = node.value if node and isinstance(node.value, dict) else {}
        text = self._one((*PREFIXES, "", "", "")) + self._number(value.get("value"))
        form = self._random.randrange(5)
        unit, system, code = self._one(fhir_data.UNITS)
        if self._maybe(0.7):
            unit, system, code = value.get("unit"), value.get("system"), value.get("code")
        if form < 2:
            return text
        if form == 2 or not system or not code:
            return f"{text}||{escaped(self._one((unit, code)) or 'mg')}"
        return f"{text}|{escaped(system)}|{escaped(code)}"

    def _date(self, node: Node | None) -> str:
        texts = [*fhir_data.DATE_TIMES, *fhir_data.DATES]
        if node is not None and self._maybe(0.7):
            value = node.value
            own = strings_in(value)
            texts = own or texts
        text = self._one(texts)
        if self._maybe(0.3):
            text = text[: self._one((4, 7, 10))]
        if self._maybe(0.1) and len(text) == 10:
            text += "T10:00"
        return self._one((*PREFIXES, "", "")) + text

    def _uri(self, node: Node | None, modifier: str) -> str:
        value = str(node.value) if node and self._maybe(0.8) else self._one(fhir_data.URLS)
        if not modifier:
            return escaped(value if self._maybe(0.8) else value.partition("|")[0])
        value = value.partition("|")[0]
        if "://" not in value:
            value = self._one(fhir_data.URLS[:5])
        if modifier == "below":
            return escaped(value if self._maybe() else value.rpartition("/")[0])
        return escaped(value if self._maybe() else f"{value}/more")

    def _target(self, types: set[str], node: Node | None, modifier: str) -> str:
        if modifier == "identifier":
            own = node.value.get("identifier") if node and isinstance(node.value, dict) else None
            return self._token(Node("Identifier", own, None) if own else None)
        if node is not None and isinstance(node.value, str):  # a canonical
            url, bar, version = node.value.partition("|")
            return escaped(url) + (bar + version if self._maybe() else "")
        if modifier in ("above", "below"):
            type = self._one(self._hierarchical(types))
            return f"{type}/{self._one(self._world.of_type(type)).id}"
        found = matching.target(node, self._around) if node else None
        if found is None or (modifier and found.type != modifier):
            type = modifier or (self._one(sorted(types)) if types else "Patient")
            some = self._world.of_type(type)
            found = matching.Target(type, self._one(some).id if some else "x1")
        if found.url:
            return escaped(found.url)
        forms = (
            found.id,
            f"{found.type}/{found.id}",
            f"{self._around.base}/{found.type}/{found.id}",
        )
        return self._one(forms)

    # From the world.

    def _codes(self, type: str) -> list[str]:
        return [
            code
            for code in self._specification.codes(type)
            if code not in LEFT_OUT
            and self._parameter_of(type)(code).kind != "special"
            and not self._has_two_ordered(self._parameter_of(type)(code))
            and "xtension(" not in self._parameter_of(type)(code).expression
        ]

    def _has_two_ordered(self, parameter: Published) -> bool:
        """Composites of a start and an end, which docs/search.md leaves out."""
        kinds = [self._specification.component(parameter, one).kind for one in parameter.components]
        return any(kind in ("number", "date", "quantity", "string") for kind in kinds[:-1])

    def _used_codes(self, type: str) -> list[str]:
        """Of parameters for which some resource has a value; seldom of others, too."""
        if self._maybe(0.05):
            return self._codes(type)
        return _used(self, type)

    def _has_nodes(self, type: str, code: str) -> bool:
        parameter = self._parameter_of(type)(code)
        return any(one.values(parameter) for one in self._world.of_type(type))

    def _some_nodes(self, type: str, parameter: Published) -> list[Node]:
        resources: list[Resource] = self._world.of_type(type)
        nodes = [node for one in resources for node in one.values(parameter)]
        return self._random.sample(nodes, min(len(nodes), 5))

    def _one(self, choices):
        return self._random.choice(choices)

    def _maybe(self, chance: float = 0.5) -> bool:
        return self._random.random() < chance


@cache
def _used(queries: Queries, type: str) -> list[str]:
    return [code for code in queries._codes(type) if queries._has_nodes(type, code)]


def strings_in(value: object) -> list[str]:
    """All texts of an element that begin as a date does."""
    if isinstance(value, str):
        return [value] if value[:4].isdigit() else []
    if isinstance(value, dict):
        return [text for part in value.values() for text in strings_in(part)]
    if isinstance(value, list):
        return [text for part in value for text in strings_in(part)]
    return []


def instant_text(moment: matching.Fraction, digits: int) -> str:
    """A time in UTC with so many digits of a second's fraction."""
    whole, rest = divmod(moment, 1)
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(whole))).strftime(
        "%Y-%m-%dT%H:%M:%S"
    )
    return f"{text}.{int(rest * 1000):03}Z" if digits else f"{text}Z"


def joined(pairs: list[tuple[str, str]]) -> str:
    """As a query string."""
    return "&".join(f"{quote(name, safe=':')}={quote(value, safe='')}" for name, value in pairs)
