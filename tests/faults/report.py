"""Writes docs/faults.md from the figures of the last run: `python tests/faults/report.py`.

The last row of each test and case counts, a full one before a quick one.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "build" / "faults.jsonl"
PAGE = ROOT / "docs" / "faults.md"

#: Columns of their own, or the same in every row.
COMMON = (
    "row", "case", "n", "lost", "duplicate_pages", "duplicate_results", "recovery_p50_ms",
    "recovery_p99_ms", "seed", "size", "states", "server", "python", "dramatiq", "redis", "httpx",
)  # fmt: skip

HEAD = """# The fault matrix, measured

Written by `tests/faults/report.py` from the figures of a run. `make faults` runs the full size,
`make test` the quick size; the column *size* says which. The quick size has a lease of 2 s instead
of the default 15 s, so its recovery times are 13 s shorter.

The tests use real worker processes, a real server and the sandbox over TCP, with a chaos proxy
between them. They count lost and doubled jobs from the producer's log, the stream of outcomes and
the sandbox's counts, never from what a worker reports. *lost*: accepted jobs without an ending.
*pages*: idempotency keys that the API served more than once. *results*: jobs with more than one
published outcome, or with different ones.

- T2: [job_states.md](job_states.md#poison-or-chance) says how poison differs from chance.
- T8: replication is asynchronous, and no setting makes a producer wait for it. *accepted but not
  replicated* counts jobs that the new master did not know; they were sent again under their keys.
  Jobs that the test confirmed with its own `WAIT 1` were never lost.
- T9: the rows *packets* lose, delay and drop real packets between two network namespaces: 30 %
  lost, up to 500 ms late and out of order, or all lost in one direction. The others use a proxy.
- T27: *allocate* asks for 2 GiB in a cgroup of 300 MiB.
- T31: the next version is a copy of this one with the record version raised and a field added.
- T33: *all at once* are jobs that end in one call. *threads alone* is the time in which the
  interpreter wakes so many threads without any other work: about 100 ms for a thousand.
- T34: with `appendfsync always` a server that cannot write ends itself, and the test starts it
  again as a supervisor would. No worker is restarted.
- T38: *silent* are outcomes that a group neither got nor was told of.

"""

#: Why a row has a figure that its bound in the matrix does not allow, and what figures stand for.
NOTES = """
- T29, key refused: five calls are the bound for a key that has not worked yet. In full flow at
  3,500 calls a minute the calls in flight at the first refusal are refused too: 58 a second, for
  the time of an answer and until Redis knows of it. No call is made after that.
- Tails of another site: in the full size the lowest p99 of five times 200 jobs, in the quick size
  a p90. Other programs shared the two cores.
"""


def newest(lines: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """The row to show for each test and case of the matrix."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines:
        row = json.loads(line)
        key = (row["row"], row["case"])
        older = found.get(key)
        if not row["row"].startswith("T"):
            continue
        if older is None or row.get("size") == "full" or older.get("size") != "full":
            found[key] = row
    return found


def page(rows: dict[tuple[str, str], dict[str, Any]]) -> str:
    """The whole page as Markdown."""
    lines = ["| test | case | size | N | lost | pages | results | p50 / p99 ms | seed | more |"]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    for (name, case), row in sorted(rows.items(), key=lambda one: (int(one[0][0][1:]), one[0][1])):
        more = ", ".join(f"{k} {v}" for k, v in row.items() if k not in COMMON)
        recovery = ""
        if "recovery_p99_ms" in row:
            recovery = f"{row['recovery_p50_ms']} / {row['recovery_p99_ms']}"
        names = ("n", "lost", "duplicate_pages", "duplicate_results")
        cells = [
            name, case, row.get("size", ""), *(row.get(one, "") for one in names), recovery,
            row.get("seed", ""), more.replace("_", " "),
        ]  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    last = next(row for row in reversed(rows.values()) if "server" in row)
    versions = ", ".join(f"{k} {last[k]}" for k in ("python", "dramatiq", "redis", "httpx"))
    lines += [NOTES, f"Versions: {last['server']}, {versions}."]
    return HEAD + "\n".join(lines) + "\n"


def main() -> int:
    """Write the page; exit code 1 when there are no figures."""
    path = Path(os.environ.get("LARGESSE_FAULTS_FIGURES") or FIGURES)
    rows = newest(path.read_text(encoding="utf-8").splitlines() if path.exists() else [])
    if not rows:
        print(f"no figures in {path.name}: run the fault tests first", file=sys.stderr)
        return 1
    PAGE.write_text(page(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
