"""This project beside what a user would pick instead, taking turns on one machine.

python -m benchmarks.side_by_side --only largesse --latency-ms 0 --jobs 5000
"""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks.run import Shape, throughput
from benchmarks.server import serving
from benchmarks.setups import SETUPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only")
    parser.add_argument("--latency-ms", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    setup = next(one for one in SETUPS if one.name.startswith(given.only))
    with serving() as server:
        shape = Shape(given.latency_ms, given.processes, given.in_flight)
        for _ in range(given.rounds):
            found = throughput(server, setup, shape, jobs=given.jobs)
            sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
