"""Replay seeds: `python -m tests.simulation --seed N [--count N] [--bug NAME] [-v]`."""

import argparse
import sys
import time
from collections import Counter

from tests.simulation.bugs import BUGS
from tests.simulation.simulation import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1, help="this many seeds, from --seed on")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant this bug")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the trace")
    options = parser.parse_args()
    began, failed, faults, sums = time.monotonic(), 0, Counter(), Counter()
    for seed in range(options.seed, options.seed + options.count):
        outcome = simulate(seed, bug=options.bug, verbose=options.verbose)
        failed += bool(outcome.broken)
        faults.update(outcome.faults)
        for name in ("virtual_s", "jobs", "completed", "resumed", "links"):
            sums[name] += getattr(outcome, name)
        if options.verbose:
            print(*outcome.trace, sep="\n")
        for promise in outcome.broken[:3]:
            print(f"seed {seed}: {promise}", flush=True)
        if options.count == 1:
            print(f"seed {seed}: trace {outcome.digest}")
    took = time.monotonic() - began
    print(f"{options.count} seeds, {failed} failed, {took:.1f} s")
    print(dict(sums), dict(faults), sum(faults.values()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
