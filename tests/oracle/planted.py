"""Planted bugs: each a small change of how the engine reads queries, ranges and resources.

The function's own source is changed by one snippet and compiled again, so that whoever imported
it runs the change. Files are never touched.
"""

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from engine.fhir.search import (
    criteria,
    escaping,
    keys,
    modifiers,
    parse_values,
    readers,
    results,
    values,
)


@dataclass(frozen=True)
class Bug:
    """One change, and what goes wrong with it."""

    what: str
    place: Callable[..., Any]
    old: str
    new: str

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The bug is there within this block."""
        function = self.place
        assert isinstance(function, FunctionType)
        code = function.__code__
        function.__code__ = self._changed(function).__code__
        try:
            yield
        finally:
            function.__code__ = code

    def _changed(self, function: FunctionType) -> FunctionType:
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.old) == 1, f"{function.__qualname__} has no longer: {self.old}"
        room = dict(function.__globals__)
        exec(compile(source.replace(self.old, self.new), "<planted>", "exec"), room)
        changed = room[function.__name__]
        assert isinstance(changed, FunctionType)
        return changed


PARSER = (
    Bug("escaped separators separate", escaping.split, 'if "\\\\" not in text', "if text"),
    Bug("an escape stays in the value", escaping.unescape, 'if "\\\\" not in text', "if text"),
    Bug(
        "|code is found in any system",
        parse_values.token,
        "pieces[0], pieces[1]",
        "pieces[0] or None, pieces[1]",
    ),
    Bug(
        "a value without a prefix is approximate", parse_values._prefixed, "Prefix.EQ", "Prefix.AP"
    ),
    Bug(
        "a query with the server's own address asks elsewhere",
        parse_values._without_base,
        "if below != text",
        "if below == text",
    ),
    Bug(
        "an id alone belongs to the first type",
        parse_values._reference,
        "else parameter.targets or",
        "else parameter.targets[:1] or",
    ),
    Bug(
        "n||unit asks for units without a system",
        parse_values._quantity,
        "pieces[1] or None",
        "pieces[1]",
    ),
    Bug(":missing is the wrong way round", modifiers.parse_missing, '== "true"', '!= "true"'),
    Bug(
        ":not is forgotten",
        criteria.Criteria._compare,
        "by = Modifier(modifier)",
        'by = Modifier(modifier.replace("not", ""))',
    ),
    Bug(
        "a chain without a type goes on in one type",
        criteria.Criteria._chain,
        "for target in targets:",
        "for target in targets[:1]:",
    ),
    Bug(
        "a minus sorts upwards",
        results.parse_sort,
        "descending=code != rule",
        "descending=code == rule",
    ),
    Bug("only the first key sorts", results.parse_sort, 'value.split(",")', 'value.split(",")[:1]'),
)

RANGES = (
    Bug(
        "a number is a whole digit wide on either side",
        values.implied_range,
        "scaleb(place - 1)",
        "scaleb(place)",
    ),
    Bug("1e2 is 50 up to 150", values.implied_range, "place -= 1", "place -= 0"),
    Bug(
        "zones count the wrong way",
        values._offset,
        '-1 if text[0] == "-" else 1',
        '1 if text[0] == "-" else -1',
    ),
    Bug("a month has 28 days", values._day_after, "day[1] + 1, 1", "day[1], 28"),
    Bug("a minute is a second", values._range, "lo + 60_000", "lo + 1000"),
    Bug(
        "a second is a millisecond",
        values._instant,
        "lo + (1000 if size == _SECONDS else 1)",
        "lo + 1",
    ),
    Bug(
        "a period without an end has ended",
        values.period_range,
        "TIME_MAX if end is None",
        "lo + 1 if end is None",
    ),
    Bug("approximately is within 1 %", parse_values._number, "abs(exact) / 10", "abs(exact) / 100"),
    Bug("approximately a date is that date", parse_values.instant, "// 10", "// 10**9"),
    Bug("accents count", values.normalize, "if not unicodedata.combining(sign)", ""),
    Bug("white space counts", values.normalize, '" ".join(text.split())', "text"),
)

EXTRACTION = (
    Bug(
        "only a concept's first coding is found",
        readers.read_concept,
        "for coding in codings for",
        "for coding in codings[:1] for",
    ),
    Bug("codes lose their systems", readers.read_coding, "[(system, code)]", '[("", code)]'),
    Bug(
        "only the first given name is found",
        readers.StringReader._of_parts,
        "for text in part:",
        "for text in part[:1]:",
    ),
    Bug(
        "an identifier is of any type",
        readers.typed_identifiers,
        "(*coding, code)",
        "(coding[0], 'MR', code)",
    ),
    Bug(
        "a reference to a version leads nowhere",
        readers.ReferenceReader.pointer,
        '_HISTORY.sub("", text)',
        "text",
    ),
    Bug(
        "references below the server's address lead elsewhere",
        readers.ReferenceReader.pointer,
        "current[len(base) :]",
        "current",
    ),
    Bug(
        "references elsewhere lead here",
        readers.ReferenceReader.pointer,
        "relative = current\n",
        'relative = "/".join(current.split("/")[-2:])\n',
    ),
    Bug(
        "a canonical is found with its version alone",
        readers.urls_of,
        "(text, url) if bar and url",
        "(text,) if bar and url",
    ),
    Bug(
        "a period ends when its last day begins",
        readers.DateReader._period,
        "ends[0][1]",
        "ends[0][0]",
    ),
    Bug(
        "of a timing the first event counts",
        readers.DateReader._timing,
        "for event in (events if",
        "for event in (events[:1] if",
    ),
    Bug(
        "a systolic code meets a diastolic value",
        keys.Keys.composite,
        "':'.join(map(str, parts))",
        "''",
    ),
)

BUGS = (*PARSER, *RANGES, *EXTRACTION)
