"""Fault rules: what is to go wrong, and when. What it looks like is in ``breakage``."""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Fault to its parameters with their defaults, and whether the request is executed by default.
PARAMETERS: Mapping[str, tuple[bool, Mapping[str, Any]]] = {
    "latency": (True, {"ms": None, "min_ms": 0, "max_ms": 0}),
    "throttle": (False, {"code": "api_request_limit_exceeded", "retry_after": 1}),
    "error": (
        False,
        {
            "status": 500,
            "code": None,
            "type": None,
            "message": "a fault was asked for",
            "param": None,
            "body": None,
            "retry_after": None,
        },
    ),
    "reset": (False, {}),
    "close": (True, {"after_bytes": None, "rst": False}),
    "drip": (True, {"bytes": 1, "every_ms": 1000, "from": "body"}),
    "stall": (True, {"at": "headers", "ms": 3_600_000}),
    "endless": (True, {"chunk_bytes": 1024, "every_ms": 10}),
    "truncated_json": (True, {}),
    "wrong_types": (True, {}),
    "null_url": (True, {}),
    "empty_object": (True, {}),
    "duplicate_keys": (True, {}),
    "wrong_charset": (True, {"charset": "utf-16"}),
    "big": (True, {"bytes": 10 * 2**20}),
    "gzip_bomb": (True, {"bytes": 20 * 2**20}),
    "no_content": (True, {}),
    "html": (False, {"status": 200}),
    "redirect": (False, {"status": 302, "location": "http://127.0.0.1:9/"}),
    "garbage": (False, {}),
    "body": (True, {"text": "", "status": 200, "content_type": "application/json"}),
}

KINDS = ("gift_checkout", "personalized_offer", "retrieve", "acknowledge")

_RANGE = re.compile(r"(\d*)(\.\.)?(\d*)\Z")
_SELECTION = {"fault", "id", "site", "kind", "requests", "every", "share", "seed", "times"}
_CHOICES = {
    ("drip", "from"): ("body", "start"),
    ("stall", "at"): ("start", "headers", "body"),
    ("error", "body"): ("json", "html", None),
    ("redirect", "status"): (301, 302, 303, 307, 308),
}


@dataclass(slots=True)
class Rule:
    """One fault and the requests that it is for.

    Attributes:
        seen: Requests of its site and kind so far.
        applied: How many of them it was applied to.
    """

    id: str
    given: Mapping[str, Any]
    fault: str
    execute: bool
    parameters: Mapping[str, Any]
    first: int
    last: int | None
    seen: int = 0
    applied: int = 0
    rng: random.Random = field(default_factory=random.Random, repr=False)

    def matches(self, *, site: str, kind: str) -> bool:
        """Count the request, and say whether the rule is for it."""
        for name, value in (("site", site), ("kind", kind)):
            if self.given.get(name, value) != value:
                return False
        if self.exhausted:
            return False
        self.seen += 1
        if self.seen < self.first or (self.last is not None and self.seen > self.last):
            return False
        if self.seen % self.given.get("every", 1):
            return False
        return "share" not in self.given or self.rng.random() < self.given["share"]

    @property
    def exhausted(self) -> bool:
        """Whether it was applied as many times as it may be."""
        return "times" in self.given and self.applied >= self.given["times"]

    def delay_s(self) -> float:
        """The wait of a ``latency``, seconds."""
        if self.parameters["ms"] is not None:
            return float(self.parameters["ms"]) / 1000
        low, high = self.parameters["min_ms"], self.parameters["max_ms"]
        return self.rng.uniform(low, high) / 1000

    def as_json(self) -> dict[str, Any]:
        """The rule as it was given, with its counts."""
        return {**self.given, "id": self.id, "seen": self.seen, "applied": self.applied}


class Faults:
    """The rules, in the order in which they are asked."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}
        self._last_id = 0

    def add(self, given: Any) -> list[Rule]:
        """Add one rule, a list of them, or ``{"faults": [...]}``: all or none.

        Raises:
            ValueError: for a rule that is not right; the text names the member.
        """
        if isinstance(given, dict) and set(given) == {"faults"}:
            given = given["faults"]
        entries = given if isinstance(given, list) else [given]
        rules = [self._read(entry) for entry in entries]
        ids = [rule.id for rule in rules]
        if len(set(ids)) < len(ids) or set(ids) & set(self._rules):
            raise ValueError("id is taken")
        self._rules.update((rule.id, rule) for rule in rules)
        return rules

    def load(self, path: Path) -> list[Rule]:
        """Add the rules of a JSON or TOML file.

        Raises:
            ValueError: when it cannot be read as such, or a rule is not right.
            OSError: when there is no such file.
        """
        text = path.read_text(encoding="utf-8")
        return self.add(tomllib.loads(text) if path.suffix == ".toml" else json.loads(text))

    def remove(self, rule_id: str | None = None) -> int:
        """Remove a rule, or all; returns how many there were."""
        if rule_id is not None:
            return int(self._rules.pop(rule_id, None) is not None)
        count = len(self._rules)
        self._rules.clear()
        return count

    def choose(self, *, site: str, kind: str) -> tuple[float, Rule | None]:
        """Find what is to go wrong with a request.

        Returns:
            Seconds of latency, all rules of it added up, and the first other rule that matches.
        """
        delay_s = 0.0
        for rule in self._rules.values():
            if not rule.matches(site=site, kind=kind):
                continue
            rule.applied += 1
            if rule.fault != "latency":
                return delay_s, rule
            delay_s += rule.delay_s()
        return delay_s, None

    def as_json(self) -> list[dict[str, Any]]:
        """All rules with their counts."""
        return [rule.as_json() for rule in self._rules.values()]

    def _read(self, given: Any) -> Rule:
        name = str(given.get("fault")) if isinstance(given, dict) else ""
        if name not in PARAMETERS:
            raise ValueError(f"fault should be one of {', '.join(PARAMETERS)}")
        execute, defaults = PARAMETERS[name]
        for member, value in given.items():
            if member not in _SELECTION | {"execute"} | set(defaults):
                raise ValueError(f"{name} has no member {member}")
            _check(name, member, value, defaults)
        first, last = _range(given.get("requests", "1.."))
        return Rule(
            id=str(given.get("id") or self._next_id()),
            given=given,
            fault=name,
            execute=bool(given.get("execute", execute)),
            parameters={**defaults, **{k: v for k, v in given.items() if k in defaults}},
            first=first,
            last=last,
            rng=random.Random(given.get("seed", 0)),
        )

    def _next_id(self) -> str:
        self._last_id += 1
        return f"f{self._last_id}"


def _range(text: Any) -> tuple[int, int | None]:
    match = _RANGE.match(str(text))
    if match is None or not (match[1] or match[3]):
        raise ValueError('requests should read "3..7", "5", "3.." or "..7"')
    first = int(match[1] or 1)
    if match[2] is None:
        return first, first
    return first, int(match[3]) if match[3] else None


def _check(fault: str, member: str, value: Any, defaults: Mapping[str, Any]) -> None:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if member == "kind" and value not in KINDS:
        raise ValueError(f"kind should be one of {', '.join(KINDS)}")
    if member in ("every", "times") and not (numeric and value >= 1):
        raise ValueError(f"{member} should be a number from 1")
    if member == "share" and not (numeric and 0 <= value <= 1):
        raise ValueError("share should be between 0 and 1")
    allowed = _CHOICES.get((fault, member))
    if allowed is not None and value not in allowed:
        raise ValueError(f"{member} should be one of {', '.join(map(str, allowed))}")
    number_wanted = isinstance(defaults.get(member), int) and member not in ("rst", "retry_after")
    if (number_wanted or member in ("ms", "after_bytes")) and not (numeric and value >= 0):
        raise ValueError(f"{member} should be a number from 0")
