"""The engine keeps its promises whatever happens to its workers, in a world that a seed makes."""

import os
import subprocess
import sys

import pytest

from tests.simulation.campaign import run_campaign
from tests.simulation.simulation import simulate

SEEDS = int(os.environ.get("PENSTOCK_SIM_SEEDS", "1000"))
FIRST = int(os.environ.get("PENSTOCK_SIM_FIRST", "1"))


def test_a_thousand_seeds_hold_every_promise(capsys):
    campaign = run_campaign(range(FIRST, FIRST + SEEDS))
    with capsys.disabled():
        print(f"\n  simulation: {campaign.summary()}")
    assert not campaign.failures, campaign.report()
    assert campaign.seeds == SEEDS


def test_the_simulation_does_what_it_is_for():
    """Silence means nothing if no job was ever resumed, or no worker ever killed."""
    campaign = run_campaign(range(FIRST, FIRST + 40), processes=1)
    kinds = {"kill", "pause", "stall", "refuse", "lose", "slow", "cut", "power", "drain", "step"}
    assert set(campaign.faults) == kinds
    assert campaign.sums["resumed"] > 5
    assert campaign.sums["links"] > 40
    assert campaign.sums["completed"] > campaign.sums["jobs"] / 2


@pytest.mark.parametrize("seed", [3, 4, 18])
def test_a_seed_gives_the_same_trace_again(seed):
    assert simulate(seed).digest == simulate(seed).digest


def test_a_seed_gives_the_same_trace_in_another_process():
    command = [sys.executable, "-m", "tests.simulation", "--seed", "18"]
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert f"seed 18: trace {simulate(18).digest}" in done.stdout
