"""Reads the FHIRPath that search parameters are written in into a tree.

Only syntax: what the names mean for a resource type is `expressions`'s job. Source: FHIRPath
N1, grammar; of its operators those that choose or test elements.
"""

import re

import msgspec

from engine.errors import NotSupported

EXPRESSION_CHARACTERS_MAX = 20_000  # the longest published one has 2,100
DEPTH_MAX = 10  # of brackets and calls in each other
LINKS_MAX = 40  # of one path, or of one row of operators; unions may have any number

_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_]\w*|`[^`]+`)|(?P<variable>[%$][A-Za-z]\w*)"
    r"|'(?P<text>(?:[^'\\]|\\['\"/\\`])*)'|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<sign>!=|[.|()\[\],=]))",
    re.ASCII,
)
_ESCAPED = re.compile(r"\\(.)")


class ExpressionNotSupported(NotSupported):
    """An expression that search parameters cannot be made of here. The message says which part."""


class Name(msgspec.Struct, frozen=True):
    """The first name of a path: a type, or an element of what the path is relative to."""

    name: str


class Variable(msgspec.Struct, frozen=True):
    """`%resource` or `$this`."""

    name: str


class Literal(msgspec.Struct, frozen=True):
    """A text, boolean or number."""

    value: str | bool | int | float


class Member(msgspec.Struct, frozen=True):
    """`of.name`."""

    of: "Node"
    name: str


class Item(msgspec.Struct, frozen=True):
    """`of[index]`."""

    of: "Node"
    index: int


class Call(msgspec.Struct, frozen=True):
    """`of.function(arguments)`; `of` None: of what the path is relative to."""

    of: "Node | None"
    function: str
    arguments: "tuple[Node, ...]"


class As(msgspec.Struct, frozen=True):
    """`of as type`, `of.as(type)` and `of.ofType(type)`."""

    of: "Node"
    type: str


class Is(msgspec.Struct, frozen=True):
    """`of is type`."""

    of: "Node"
    type: str


class Binary(msgspec.Struct, frozen=True):
    """`left operator right`, of `|`, `=`, `!=`, `and` and `or`."""

    operator: str
    left: "Node"
    right: "Node"


Node = Name | Variable | Literal | Member | Item | Call | As | Is | Binary

# From the loosest to the tightest; the operators of one line are equal (N1, precedence).
_BINARY = (("or",), ("and",), ("=", "!="), ("|",))


def parse_expression(text: str) -> Node:
    """The tree of an expression. Raises ExpressionNotSupported, which names the place."""
    if len(text) > EXPRESSION_CHARACTERS_MAX:
        raise ExpressionNotSupported(
            f"longer than the limit of {EXPRESSION_CHARACTERS_MAX} characters"
        )
    return _Parser(text).whole()


class _Parser:
    """Reads from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text.rstrip()
        self._at = 0
        self._depth = 0
        self._kind = ""  # of the token ahead; "" at the end
        self._ahead = ""
        self._advance()

    def whole(self) -> Node:
        node = self._binary(0)
        if self._kind:
            raise self._refused()
        return node

    def _advance(self) -> None:
        self._start = self._at
        if self._at == len(self._text):
            self._kind = self._ahead = ""
            return
        match = _TOKEN.match(self._text, self._at)
        if match is None or match.lastgroup is None:
            raise self._refused()
        self._kind, self._ahead = match.lastgroup, match[match.lastgroup]
        self._at = match.end()

    def _refused(self) -> ExpressionNotSupported:
        return ExpressionNotSupported(
            f"what stands at character {self._start + 1} of the expression is not supported;"
            " supported: paths, |, as, ofType(), where(), extension(), exists(), empty(), not(),"
            " hasExtension(), resolve() is, =, !=, and, or"
        )

    def _take(self, sign: str) -> None:
        if self._kind != "sign" or self._ahead != sign:
            raise self._refused()
        self._advance()

    def _binary(self, level: int) -> Node:
        if level == len(_BINARY):
            return self._typed()
        left = self._binary(level + 1)
        links = 0
        while self._kind in ("name", "sign") and self._ahead in _BINARY[level]:
            operator = self._ahead
            links += operator != "|"
            self._check(links)
            self._advance()
            left = Binary(operator, left, self._binary(level + 1))
        return left

    def _typed(self) -> Node:
        node = self._path()
        while self._kind == "name" and self._ahead in ("as", "is"):
            operator = self._ahead
            self._advance()
            type = self._type()
            node = As(node, type) if operator == "as" else Is(node, type)
        return node

    def _type(self) -> str:
        name = self._name()
        while self._kind == "sign" and self._ahead == ".":  # FHIR.Patient, System.String
            self._advance()
            name = self._name()
        return name

    def _name(self) -> str:
        if self._kind != "name":
            raise self._refused()
        name = self._ahead.strip("`")
        self._advance()
        return name

    def _path(self) -> Node:
        node = self._first()
        links = 0
        while self._kind == "sign" and self._ahead in (".", "["):
            links += 1
            self._check(links)
            if self._ahead == ".":
                self._advance()
                name = self._name()
                called = self._kind == "sign" and self._ahead == "("
                node = self._call(node, name) if called else Member(node, name)
                continue
            self._advance()
            if self._kind != "number" or not self._ahead.isdecimal():
                raise self._refused()
            node = Item(node, int(self._ahead))
            self._advance()
            self._take("]")
        return node

    def _first(self) -> Node:
        kind, token = self._kind, self._ahead
        if kind == "sign":
            return self._bracket()
        if kind == "variable":
            self._advance()
            return Variable(token)
        if kind in ("text", "number") or token in ("true", "false"):
            self._advance()
            return Literal(_value(kind, token))
        name = self._name()
        if self._kind == "sign" and self._ahead == "(":
            return self._call(None, name)
        return Name(name)

    def _bracket(self) -> Node:
        self._take("(")
        self._enter()
        node = self._binary(0)
        self._depth -= 1
        self._take(")")
        return node

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise ExpressionNotSupported(f"brackets nested deeper than {DEPTH_MAX} levels")

    def _check(self, links: int) -> None:
        if links > LINKS_MAX:
            raise ExpressionNotSupported(f"a path or condition of more than {LINKS_MAX} steps")

    def _call(self, of: Node | None, function: str) -> Node:
        self._take("(")
        if function in ("as", "ofType") and of is not None:
            type = self._type()
            self._take(")")
            return As(of, type)
        self._enter()
        arguments: list[Node] = []
        while not (self._kind == "sign" and self._ahead == ")"):
            if arguments:
                self._take(",")
            arguments.append(self._binary(0))
        self._depth -= 1
        self._take(")")
        return Call(of, function, tuple(arguments))


def _value(kind: str, spelled: str) -> str | bool | int | float:
    if kind == "text":
        return _ESCAPED.sub(r"\1", spelled)
    if kind == "number":
        return float(spelled) if "." in spelled else int(spelled)
    return spelled == "true"
