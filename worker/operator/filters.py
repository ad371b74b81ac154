"""Which jobs: by site, kind, code, time and any other field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker.operator.dead_letters import DeadLetter

__all__ = ["FIELDS", "JOB_FIELDS", "Condition", "Filter", "codes_of", "parse_condition"]

_SHARED: Final = (
    "job_id", "kind", "site", "state", "key", "class", "status", "api_error_code", "param",
    "reason", "attempts", "orphans", "enqueued_at", "unsure_since",
)  # fmt: skip
#: Fields that a condition on a job that was set aside may name: those of its JSON.
FIELDS: Final = (*_SHARED, "stopped_at")
#: Fields that a condition on any job may name.
JOB_FIELDS: Final = (*_SHARED, "lane", "deliveries", "due_at", "deadline_at", "finished_at")
_CONDITION: Final = re.compile(r"\s*(\w+)\s*(!=|>=|<=|=|>|<|~)(.*)", re.DOTALL)


def _compare(test: Callable[[float, float], bool]) -> Callable[[Any, str], bool]:
    return lambda found, wanted: found is not None and test(float(found), float(wanted))


_TESTS: Final[Mapping[str, Callable[[Any, str], bool]]] = {
    "=": lambda found, wanted: _text(found) == wanted,
    "!=": lambda found, wanted: _text(found) != wanted,
    "~": lambda found, wanted: wanted.lower() in _text(found).lower(),
    ">": _compare(lambda a, b: a > b),
    "<": _compare(lambda a, b: a < b),
    ">=": _compare(lambda a, b: a >= b),
    "<=": _compare(lambda a, b: a <= b),
}
_NUMBERS: Final = frozenset(
    {
        "status", "attempts", "orphans", "deliveries", "enqueued_at", "stopped_at",
        "unsure_since", "due_at", "deadline_at", "finished_at",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Condition:
    """One `--where`: a field, a sign and a value; an empty value means "not set".

    Attributes:
        field: one of `FIELDS` or `JOB_FIELDS`.
        sign: `=`, `!=`, `~` (contains), `>`, `<`, `>=` or `<=`; the last four for numbers.
        value: what to compare with.
    """

    field: str
    sign: str
    value: str

    def fits(self, entry: Mapping[str, Any]) -> bool:
        """Say whether an entry's JSON meets it."""
        return _TESTS[self.sign](entry[self.field], self.value)


def parse_condition(text: str, fields: Sequence[str] = FIELDS) -> Condition:
    """Read a condition such as `attempts>3`, `reason~timeout` or `key!=`.

    Args:
        text: field, sign and value.
        fields: those that it may name.

    Raises:
        ValueError: it cannot be read; the text of the error says what to write.
    """
    found = _CONDITION.fullmatch(text)
    if found is None or found[1] not in fields:
        names = ", ".join(fields)
        raise ValueError(
            f"is no condition: write FIELD=VALUE, !=, ~, > or <, with FIELD of {names}"
        )
    field, sign, value = found[1], found[2], found[3].strip()
    if sign[0] in "<>":
        if field not in _NUMBERS:
            raise ValueError(f"compares {field}, which is no number: use =, != or ~")
        try:
            float(value)
        except ValueError:
            raise ValueError(f"compares {field} with something that is no number") from None
    return Condition(field, sign, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs; what is None or empty lets every job through.

    Attributes:
        site, kind: exactly these.
        code: class, API error code or HTTP status.
        reason: exactly this reason.
        since_ms: set aside at this Unix ms or later.
        where: conditions, all of which must be met.
        job_ids: only these.
    """

    site: str | None = None
    kind: str | None = None
    code: str | None = None
    reason: str | None = None
    since_ms: int | None = None
    where: Sequence[Condition] = ()
    job_ids: frozenset[str] = frozenset()

    def is_empty(self) -> bool:
        """Say whether it lets everything through."""
        return self == Filter()

    def fits(self, one: DeadLetter) -> bool:
        """Say whether a job is meant."""
        if self.job_ids and one.job_id not in self.job_ids:
            return False
        if self.since_ms is not None and one.at_ms < self.since_ms:
            return False
        entry = one.as_json()
        if self.code is not None and self.code.lower() not in codes_of(entry):
            return False
        wanted = {"site": self.site, "kind": self.kind, "reason": self.reason}
        if any(value is not None and entry[name] != value for name, value in wanted.items()):
            return False
        return all(condition.fits(entry) for condition in self.where)

    def choose(self, jobs: Iterable[DeadLetter], limit: int | None) -> list[DeadLetter]:
        """Give those that are meant, at most `limit`."""
        found: list[DeadLetter] = []
        for one in jobs:
            if limit is not None and len(found) >= limit:
                break
            if self.fits(one):
                found.append(one)
        return found


def codes_of(entry: Mapping[str, Any]) -> set[str]:
    """Give what a code may be compared with: class, API error code and status, in lower case."""
    return {_text(entry[name]).lower() for name in ("class", "api_error_code", "status")} - {""}


def _text(value: Any) -> str:
    return "" if value is None else str(value)
