"""Which resources one file has held so far, in 16 bytes each."""

import hashlib

_PREFIX = 2
_REST = 14


class SeenIds:
    """A set of `Type/id` that takes little more than its hashes.

    Python's own set takes six times as much. Two names with one hash would be taken for a
    repetition; with 128 bits that does not happen.
    """

    def __init__(self) -> None:
        self._buckets: dict[bytes, bytearray] = {}

    def add(self, type: str, id: str) -> bool:
        """Remember a resource. False: it was there already."""
        digest = hashlib.blake2b(f"{type}/{id}".encode(), digest_size=_PREFIX + _REST).digest()
        rest = digest[_PREFIX:]
        bucket = self._buckets.setdefault(digest[:_PREFIX], bytearray())
        at = bucket.find(rest)
        while at > 0 and at % _REST:  # across the border of two hashes
            at = bucket.find(rest, at + 1)
        if at >= 0:
            return False
        bucket += rest
        return True
