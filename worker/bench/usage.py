"""What processes use: CPU and memory, as the system counts them (Linux alone)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["cpu_s", "peak_bytes"]


def cpu_s(pids: Iterable[int]) -> float | None:
    """Give the CPU seconds that processes have used so far; None where it cannot be told."""
    total = 0.0
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
        except OSError:
            return None
        # The name in parentheses may hold spaces; user and system time are fields 14 and 15.
        fields = stat.rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def peak_bytes(pids: Iterable[int]) -> int | None:
    """Give the most memory that processes have held, summed; None where it cannot be told."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text("ascii", errors="replace").splitlines()
        except OSError:
            return None
        peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
        total += sum(peaks) * 1024
    return total
