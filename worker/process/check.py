"""A check: what was looked at, what was found, what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Check", "Status", "worst"]

Status = Literal["ok", "warn", "fail"]

_RANKS: Final = {"ok": 0, "warn": 1, "fail": 2}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: a line of the doctor.

    Attributes:
        name: what was looked at.
        status: `ok`; `warn` for what works but may hurt; `fail` for what does not work.
        found: what was found, without private values.
        remedy: what to do next; empty when all is well.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""


def worst(checks: Iterable[Check]) -> Check:
    """Give the first of those that are worst; there must be one."""
    return max(checks, key=lambda one: _RANKS[one.status])
