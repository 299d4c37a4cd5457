r"""Separators in values of search parameters, and the backslash that takes their meaning away.

Source: FHIR R4 search.html, "Escaping Search Parameters": `,` `$` `|` and `\` itself are written
as `\,` `\$` `\|` `\\` where they belong to a value; any other backslash is an error.
"""

from collections.abc import Iterator

from engine.errors import BadParameter

_SPECIAL = frozenset(",$|\\")


def split(text: str, separator: str) -> list[str]:
    """The pieces between separators that are not escaped, their escapes kept. Raises
    BadParameter for an escape that is none."""
    if "\\" not in text:
        return text.split(separator)
    pieces: list[str] = []
    start = 0
    for at, character, escaped in _characters(text):
        if character == separator and not escaped:
            pieces.append(text[start:at])
            start = at + 1
    pieces.append(text[start:])
    return pieces


def unescape(text: str) -> str:
    """The value that was meant. Raises BadParameter for an escape that is none."""
    if "\\" not in text:
        return text
    return "".join(character for _, character, _ in _characters(text))


def escape(text: str) -> str:
    """The reverse of `unescape`."""
    return "".join("\\" + character if character in _SPECIAL else character for character in text)


def _characters(text: str) -> Iterator[tuple[int, str, bool]]:
    """Each character that is meant, where it begins, and whether it was escaped."""
    at = 0
    while at < len(text):
        if text[at] != "\\":
            yield at, text[at], False
            at += 1
            continue
        if text[at + 1 : at + 2] not in _SPECIAL:
            raise BadParameter(
                r"a backslash stands only before ',', '$', '|' or another backslash: "
                r"write a backslash of the value as '\\'"
            )
        yield at, text[at + 1], True
        at += 2
