"""Planted bugs: each a small change of engine or backend that the simulation must notice.

The silence of a simulation proves nothing until it has been seen to speak. Every bug here
was made by somebody, or nearly, in a system of this kind.
"""

from tests.simulation import bugs_of_leases, bugs_of_parts, bugs_of_snapshots
from tests.simulation.mutation import BUGS

__all__ = ["BUGS", "bugs_of_leases", "bugs_of_parts", "bugs_of_snapshots"]
