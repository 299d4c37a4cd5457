"""Which resources one file has held so far, in 16 bytes each."""

import hashlib

_PREFIX = 2
_REST = 14
DIGEST_BYTES = _PREFIX + _REST


def digest(type: str, id: str) -> bytes:
    """What stands for a resource."""
    return hashlib.blake2b(f"{type}/{id}".encode(), digest_size=DIGEST_BYTES).digest()


class SeenIds:
    """A set of `Type/id` that takes little more than its hashes.

    Python's own set takes six times as much. Two names with one hash would be taken for a
    repetition; with 128 bits that does not happen.
    """

    def __init__(self) -> None:
        self._buckets: dict[bytes, bytearray] = {}

    @staticmethod
    def split(run: bytes) -> list[bytes]:
        """Digests that follow one another, each for itself."""
        return [run[at : at + DIGEST_BYTES] for at in range(0, len(run), DIGEST_BYTES)]

    def add(self, type: str, id: str) -> bool:
        """Remember a resource. False: it was there already."""
        return self.add_digest(digest(type, id))

    def add_digest(self, digest: bytes) -> bool:
        """As `add`."""
        if self.has(digest):
            return False
        self.append(digest)
        return True

    def has(self, digest: bytes) -> bool:
        """Whether it was remembered."""
        bucket = self._buckets.get(digest[:_PREFIX])
        if bucket is None:
            return False
        rest = digest[_PREFIX:]
        at = bucket.find(rest)
        while at > 0 and at % _REST:  # across the border of two hashes
            at = bucket.find(rest, at + 1)
        return at >= 0

    def append(self, digest: bytes) -> None:
        """Remember one that is new."""
        self._buckets.setdefault(digest[:_PREFIX], bytearray()).extend(digest[_PREFIX:])
