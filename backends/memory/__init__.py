"""The memory backend: the model that the simulation and the contract tests trust."""

from backends.memory.backend import MemoryBackend, open_memory
from backends.memory.state import MemoryWorld

__all__ = ["MemoryBackend", "MemoryWorld", "open_memory"]
