"""Validation of structure: whether a resource is made of what its type has.

Checks elements and their number, JSON types, formats of primitives, choices, and the codes of
required bindings that the definitions know; not invariants, slices, profiles, nor what a
reference points to. Source: FHIR R4 json.html, datatypes.html, and the definitions of each type.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from engine.fhir.definitions.model import Definitions, Element, TypeKind, TypeModel
from engine.fhir.ids import member_label
from engine.fhir.primitives import (
    Check,
    Problem,
    Problems,
    code_check,
    listed,
    primitive_check,
    wrong_type,
)
from engine.model import Issue

ISSUES_MAX = 50

_CODED = frozenset({"Coding", "CodeableConcept"})


class Validator:
    """Checks resources of one release. Compiled once, in some 40 ms; never changed after, so any
    number of threads may share it."""

    def __init__(self, definitions: Definitions) -> None:
        self._resources = _Compiler(definitions).resources()

    def check(self, resource: Mapping[str, Any]) -> list[Issue]:
        """What is wrong with a decoded resource: at most ISSUES_MAX issues; none if it is sound.

        Takes what `msgspec.json.decode` gives for a text nested no deeper than DEPTH_MAX of
        `engine.fhir.body`. No issue holds content.
        """
        problems = self._resources(resource)
        if problems is None:
            return []
        name = resource.get("resourceType") if type(resource) is dict else None
        root = name if type(name) is str and self._resources.knows(name) else "Resource"
        return [problem.issue(root) for problem in problems[:ISSUES_MAX]]

    def check_body(self, body: bytes) -> list[Issue]:
        """Like `check`, of a text that is known to be JSON."""
        try:
            resource = msgspec.json.decode(body)
        except (msgspec.DecodeError, ValueError):
            text = "the resource has a number that is out of the range of numbers"
            return [Issue(code="value", diagnostics=text)]
        return self.check(resource)


class _Member:
    """One name that an object may have in JSON."""

    __slots__ = ("bit", "check", "element", "primitive", "step")

    def __init__(self, element: Element, bit: int, check: Check, primitive: bool) -> None:
        self.element = element
        self.bit = bit
        self.check = check
        self.primitive = primitive
        self.step = f".{element.name}"


class _Compiler:
    """Turns the element model into checks, one for each type."""

    def __init__(self, definitions: Definitions) -> None:
        self._objects: dict[str, _Object] = {}
        self._checks: dict[str, Check] = {}
        self._models = definitions.types
        self._dispatch = Resources(self._objects)

    def resources(self) -> "Resources":
        for model in self._models.values():  # first all of them: types refer to each other
            if model.kind is TypeKind.PRIMITIVE:
                self._checks[model.name] = primitive_check(model)
            elif model.name == "Resource":
                self._checks[model.name] = self._dispatch
            else:
                checked = _Object(model)
                self._objects[model.name] = checked
                is_extension = model.name == "Extension"
                self._checks[model.name] = (
                    _extension(checked.check) if is_extension else checked.check
                )
        element = self._objects["Element"]
        for name, checked in self._objects.items():
            checked.complete(self._members(self._models[name]), element)
        self._dispatch.complete(self._models.values())
        return self._dispatch

    def _members(self, model: TypeModel) -> dict[str, _Member]:
        found = {}
        bit = 1  # of the id, which is the first element of every type but the resources
        if model.kind is TypeKind.RESOURCE:
            kind = Element(name="resourceType", types=("code",), min=1, max=1)
            found["resourceType"] = _Member(kind, 2, _nothing, False)
            bit = 4
        for element in model.elements:
            for type in element.types:
                name = (
                    element.name + type[:1].upper() + type[1:] if element.choice else element.name
                )
                check = self._element(model, element, type)
                primitive = self._models[type].kind is TypeKind.PRIMITIVE
                found[name] = _Member(element, bit, check, primitive)
            bit <<= 1
        return found

    def _element(self, model: TypeModel, element: Element, type: str) -> Check:
        check = self._checks[type]
        if element.codes and type == "code":
            check = code_check(element.codes)
        elif element.codes and type in _CODED:
            check = _bound(check, element.codes)
        elif element.name == "contained" and model.kind is TypeKind.RESOURCE:
            check = _contained(check)
        if element.single:
            return check
        return _many(check, element, self._models[type].kind is TypeKind.PRIMITIVE)


class _Object:
    """The check of one type that is an object in JSON."""

    def __init__(self, model: TypeModel) -> None:
        self._model = model
        self._members: dict[str, _Member] = {}
        self._sibling = self
        self._fast: dict[str, tuple[int, Check]] = {}
        # By the place of the bits that `complete` gives: resources begin one further.
        first = 2 if model.kind is TypeKind.RESOURCE else 0
        self._required = sum(
            1 << place for place, element in enumerate(model.elements, first) if element.min > 0
        )
        self.check = self._checker()

    def complete(self, members: dict[str, _Member], element: "_Object") -> None:
        """Once all types are there. `element` checks what stands beside a primitive."""
        self._members = members
        self._sibling = element
        self._fast.update({name: (one.bit, one.check) for name, one in members.items()})

    def _checker(self) -> Check:
        """What runs for every object, so it does without attributes and calls.

        Each member sets the bit of its element. If every name is known and no two share a bit,
        and all required ones are there, and there is more than the id, all is well.
        """
        member = self._fast.get
        required = self._required
        explained = self._explained

        def check(value: Any) -> Problems:
            if type(value) is not dict:
                return wrong_type(value, "an object")
            seen = 0
            odd = False
            found: Problems = None
            for name, item in value.items():
                known = member(name)
                if known is None:
                    odd = True
                    continue
                bit, check_item = known
                seen |= bit
                problems = check_item(item)
                if problems is not None:
                    odd = True
                    if problems:
                        found = self._collected(found, name, problems)
            if odd or seen <= 1 or seen & required != required or seen.bit_count() != len(value):
                return explained(value, seen, found)
            return None

        return check

    def _collected(self, found: Problems, name: str, problems: list[Problem]) -> Problems:
        step = self._members[name].step
        for problem in problems:
            problem.steps.append(step)
        return problems if found is None else (found + problems)[:ISSUES_MAX]

    def _explained(self, value: dict[str, Any], seen: int, found: Problems) -> Problems:
        """All that is wrong; None if the object is only uncommon."""
        problems = [] if found is None else found
        names: dict[int, set[str]] = {}
        for name, item in value.items():
            member = self._members.get(name.removeprefix("_"))
            if member is None or (name[:1] == "_" and not member.primitive):
                problems.append(Problem("structure", f"has no element {member_label(name)}"))
                continue
            seen |= member.bit
            names.setdefault(member.bit, set()).add(name.removeprefix("_"))
            if name[:1] == "_":
                problems += self._beside(value, name[1:], member, item)
            elif member.primitive and type(item) is list:
                problems += _unaccounted(item, value.get(f"_{name}"), member.step)
        for given in names.values():
            if len(given) > 1:
                step = self._members[min(given)].step
                problems.append(Problem("structure", "must have one type, and has several", step))
        problems += self._missing(seen, value)
        return problems[:ISSUES_MAX] or None

    def _missing(self, seen: int, value: dict[str, Any]) -> Iterable[Problem]:
        if not value:
            yield Problem("structure", "must not be an empty object")
            return
        if seen == 1:
            yield Problem("structure", "must have a value or an extension, not an id alone")
        told = 0
        for member in self._members.values():
            if member.bit & self._required & ~(seen | told):
                told |= member.bit
                yield Problem("required", "is required", member.step)

    def _beside(
        self, value: dict[str, Any], name: str, member: _Member, sibling: Any
    ) -> list[Problem]:
        """What is wrong with `_name`: id and extensions of the primitive `name`."""
        step = member.step
        single = member.element.single
        if not single and type(sibling) is not list:
            return [Problem("structure", "must be an array, as its values are, also in '_'", step)]
        if single:
            return _prefixed(self._one_beside(sibling, name not in value), step)
        return self._many_beside(value.get(name), sibling, step)

    def _many_beside(self, values: Any, siblings: list[Any], step: str) -> list[Problem]:
        if not siblings:
            return [Problem("structure", "must not be an empty array", step)]
        if type(values) is list and len(values) != len(siblings):
            return [Problem("structure", "must have as many values as '_' beside it", step)]
        problems: list[Problem] = []
        for place, sibling in enumerate(siblings):
            absent = type(values) is not list or values[place] is None
            if sibling is None and not absent:
                continue
            problems += _prefixed(self._one_beside(sibling, absent), f"[{place}]", step)
            if len(problems) >= ISSUES_MAX:
                break
        return problems

    def _one_beside(self, sibling: Any, absent: bool) -> list[Problem]:
        """`absent`: there is no value, so there must be an extension."""
        problems = self._sibling.check(sibling)
        only_id = type(sibling) is dict and len(sibling) == 1 and type(sibling.get("id")) is str
        if only_id and not absent:
            return []
        return problems or []


class Resources:
    """Finds the check of a resource by its resourceType. A Check itself."""

    def __init__(self, objects: dict[str, _Object]) -> None:
        self._objects = objects
        self._checks: dict[str, Check] = {}

    def complete(self, models: Iterable[TypeModel]) -> None:
        """Once all types are there."""
        for model in models:
            if model.kind is TypeKind.RESOURCE and not model.abstract:
                self._checks[model.name] = self._objects[model.name].check

    def knows(self, name: str) -> bool:
        """Whether there is such a type of resource."""
        return name in self._checks

    def __call__(self, value: Any) -> Problems:
        if type(value) is not dict:
            return wrong_type(value, "a resource: an object")
        name = value.get("resourceType")
        if name is None:
            return [Problem("required", "is required", ".resourceType")]
        check = self._checks.get(name) if type(name) is str else None
        if check is None:
            return [Problem("value", "must be a resource type of this release", ".resourceType")]
        return check(value)


# Parts of checks.


def _nothing(value: Any) -> Problems:
    """What is checked elsewhere."""
    return None


def _prefixed(problems: Problems, *steps: str) -> list[Problem]:
    for problem in problems or ():
        problem.steps.extend(steps)
    return problems or []


def _many(check: Check, element: Element, primitive: bool) -> Check:
    """The check of an array. A null among primitives makes it uncommon."""
    most = element.max

    def many(value: Any) -> Problems:
        if type(value) is not list:
            return [Problem("structure", "must be an array")]
        if not value:
            return [Problem("structure", "must not be an empty array")]
        found: Problems = None
        for place, item in enumerate(value):
            problems = check(item)
            if problems is None:
                continue
            if item is None and primitive:
                found = found or []
                continue
            found = (found or []) + _prefixed(problems, f"[{place}]")
            if len(found) >= ISSUES_MAX:
                break
        if most is not None and len(value) > most:
            return [Problem("structure", f"must have at most {most} values")]
        return found

    return many


def _unaccounted(values: list[Any], siblings: Any, step: str) -> list[Problem]:
    """The nulls of an array of primitives that have nothing beside them. What they have there is
    checked with it."""
    beside = len(siblings) if type(siblings) is list else 0
    return [
        Problem("structure", "must not be null without an extension", f"[{place}]", step)
        for place, item in enumerate(values)
        if item is None and place >= beside
    ][:ISSUES_MAX]


def _bound(check: Check, codes: tuple[str, ...]) -> Check:
    """The check of a concept that is bound to a value set; `codes` as `system|code`."""
    allowed = frozenset(codes)
    rule = f"must be coded with one of these: {listed(codes)}"

    def bound(value: Any) -> Problems:
        problems = check(value)
        if problems is not None or not ("coding" in value or "text" in value or "code" in value):
            return problems  # an extension says why there is no code
        for coding in value.get("coding", (value,)):
            if f"{coding.get('system')}|{coding.get('code')}" in allowed:
                return None
        return [Problem("value", rule)]

    return bound


def _contained(check: Check) -> Check:
    """Contained resources contain none (dom-2)."""

    def contained(value: Any) -> Problems:
        if type(value) is dict and "contained" in value:
            return [Problem("structure", "must not be in a contained resource", ".contained")]
        return check(value)

    return contained


def _extension(check: Check) -> Check:
    """An extension has a value or extensions, not both (ext-1)."""

    def extension(value: Any) -> Problems:
        problems = check(value)
        if problems is not None:
            return problems
        deep = "extension" in value
        has_value = any(name.lstrip("_").startswith("value") for name in value)
        if deep == has_value:
            return [Problem("structure", "must have either a value or extensions")]
        return None

    return extension
