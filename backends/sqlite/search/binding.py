"""Values of a statement, by name. Its text depends on its shape alone, so it stays prepared."""

from array import array
from collections.abc import Sequence
from typing import Any

import apsw

# A list up to this long is spelled out, so that each value is looked up by its full key.
SPELLED_MAX = 8


class Binder:
    """Collects the values of one statement and names its tables' aliases."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._aliases = 0

    def value(self, value: int | float | str) -> str:
        """A placeholder for one value."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f":{name}"

    def alias(self) -> str:
        """A name that no other part of the statement has."""
        self._aliases += 1
        return f"t{self._aliases}"

    def equal(self, column: str, numbers: Sequence[int]) -> str:
        """A condition: the column is one of these whole numbers."""
        if len(numbers) == 1:
            return f"{column} = {self.value(numbers[0])}"
        if len(numbers) <= SPELLED_MAX:
            return f"{column} IN ({', '.join(map(self.value, numbers))})"
        return f"{column} IN (SELECT value FROM {self.table(numbers)})"

    def table(self, numbers: Sequence[int]) -> str:
        """A table of one column `value` with these whole numbers, at least one."""
        assert numbers
        name = f"v{len(self.values)}"
        self.values[name] = apsw.carray(array("q", numbers))
        return f"carray(:{name})"
