"""Replay seeds: `python -m tests.simulation --seed N [--count N] [--bug NAME] [-v]`."""

import argparse
import sys
import time

from tests.simulation.bugs import BUGS
from tests.simulation.campaign import Campaign, run_campaign
from tests.simulation.simulation import simulate


def main() -> int:
    """Exit status 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1, help="this many seeds, from --seed on")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant this bug")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the trace")
    options = parser.parse_args()
    seeds, began = range(options.seed, options.seed + options.count), time.monotonic()
    if options.processes > 1:
        campaign = run_campaign(seeds, processes=options.processes)
    else:
        campaign = _run_here(seeds, options)
    print(campaign.report(options.bug))
    print(f"{time.monotonic() - began:.1f} s")
    return 1 if campaign.failures else 0


def _run_here(seeds: range, options: argparse.Namespace) -> Campaign:
    campaign = Campaign()
    for seed in seeds:
        outcome = simulate(seed, bug=options.bug, verbose=options.verbose)
        campaign.add(outcome)
        for line in outcome.trace:
            print(line)
        for promise in outcome.broken:
            print(f"seed {seed}: {promise}", flush=True)
        if len(seeds) == 1:
            print(f"seed {seed}: trace {outcome.digest}")
    return campaign


if __name__ == "__main__":
    sys.exit(main())
