"""The keyed hashes of the index: signed 64-bit numbers in place of texts (DESIGN 6).

The key is the store's secret, so nobody can choose values that collide. What is hashed begins
with a letter for its kind and gives lengths, so no two different things spell the same.
"""

from collections.abc import Iterable
from hashlib import blake2b

KEY_BYTES = 8
IDENTIFIER_SUFFIX = ".identifier"  # after a reference's path: its own identifier
OF_TYPE_SUFFIX = ":of-type"  # after an identifier's path: with the identifier's type


class Keys:
    """Hashes under one secret, of at most 64 bytes. The empty one is for tests."""

    def __init__(self, secret: bytes) -> None:
        self._start = blake2b(digest_size=KEY_BYTES, key=secret)

    def _hash(self, text: str) -> int:
        hasher = self._start.copy()
        # Half a surrogate pair may stand in a body that a general JSON reader had to read.
        hasher.update(text.encode("utf-8", "surrogatepass"))
        return int.from_bytes(hasher.digest(), "big", signed=True)

    def term(self, path: int, system: str, code: str) -> int:
        """Of a token at a path. "" for a system or code that is not there."""
        return self._hash(f"t{path}:{len(system)}:{system}{code}")

    def typed_identifier(self, path: int, system: str, code: str, value: str) -> int:
        """Of `:of-type`. `path` is that of the identifier's path with OF_TYPE_SUFFIX; system
        and code are the type's."""
        return self.term(path, f"{system}|{code}", value)

    def target(self, type: str, id: str) -> int:
        """Of a local resource, live or not."""
        return self._hash(f"r{type}/{id}")

    def url(self, url: str) -> int:
        """Of what a reference names by an absolute url; a canonical one with `|version` too."""
        return self._hash(f"u{url}")

    def unit(self, path: int, system: str, code: str, unit: str) -> int:
        """Of a quantity's unit at a path, or at a composite's key."""
        return self._hash(f"q{path}:{len(system)}:{len(code)}:{system}{code}{unit}")

    def composite(self, path: int, parts: Iterable[int]) -> int:
        """Of a composite's components: keys of terms and targets, in order of definition.

        It stands in place of a path before an ordered last component, which `parts` then does
        not hold; else it is a posting of its own.
        """
        return self._hash(f"c{path}:{':'.join(map(str, parts))}")


def term_key(secret: bytes, path: int, system: str, code: str) -> int:
    """`Keys.term` for those who need one."""
    return Keys(secret).term(path, system, code)


def target_key(secret: bytes, type: str, id: str) -> int:
    """`Keys.target` for those who need one."""
    return Keys(secret).target(type, id)
