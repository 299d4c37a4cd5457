"""Mutation: plants a bug into engine or backend for the length of a block.

The only place that changes product code, and never in its files.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

Plant = Callable[["Simulation", "Garden"], None]


class Garden:
    """Replaces attributes, and puts back what was there."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Put `value` in the place of what a class or module defines itself."""
        old = owner.__dict__[name]
        setattr(owner, name, value)
        self._stack.callback(setattr, owner, name, old)

    def add(self, owner: Any, name: str, value: Any) -> None:
        """As replace, where the owner inherits the name."""
        setattr(owner, name, value)
        self._stack.callback(delattr, owner, name)

    def clear(self) -> None:
        """Put everything back."""
        self._stack.close()


@dataclass(frozen=True)
class Bug:
    """One mutation. Its docstring says what goes wrong."""

    name: str
    plant: Plant

    @property
    def what(self) -> str:
        """For people."""
        return (self.plant.__doc__ or "").strip()

    @contextmanager
    def _planted(self, sim: "Simulation") -> Iterator[None]:
        garden = Garden()
        try:
            self.plant(sim, garden)
            yield
        finally:
            garden.clear()

    def planted(self, sim: "Simulation") -> AbstractContextManager[None]:
        """The bug is there within this block."""
        return self._planted(sim)


BUGS: dict[str, Bug] = {}


def bug(plant: Plant) -> Plant:
    """Register a mutation under its function's name."""
    name = plant.__name__
    BUGS[name] = Bug(name, plant)
    return plant
