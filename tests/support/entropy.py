"""Entropy that gives the same for the same seed."""

import random


class SeededEntropy:
    """Entropy from a seed."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def token(self, bits: int = 128) -> str:
        return f"{self._random.getrandbits(bits):0{bits // 4}x}"

    def jitter(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)
