"""Services: what every blueprint is given. Nothing else is shared between requests."""

from collections.abc import Callable
from dataclasses import dataclass

from engine.limits import EngineLimits
from engine.messages import Command
from engine.ports import Ports
from web.settings import Settings


@dataclass(frozen=True)
class Services:
    """The web's view of one process."""

    ports: Ports
    limits: EngineLimits
    settings: Settings
    tell: Callable[[Command], None]  # to the supervisor; never blocks, may be lost
    ready: Callable[[], bool]  # False before the engine runs and from the moment it drains
