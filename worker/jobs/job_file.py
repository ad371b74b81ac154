"""Files of jobs: one JSON object a line, checked before any of them is enqueued.

    {"kind": "gift_checkout" | "personalized_offer", "site": ..., "key": ..., "payload": {...},
     "options": {...}}

Only `kind` is required. Empty lines are passed over and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from schemas import did_you_mean
from worker.errors import InvalidJobError, SettingsError
from worker.jobs.job import Job
from worker.settings import Settings

__all__ = ["BadLine", "JobLine", "JsonError", "parse_json", "read_jobs"]

_MEMBERS = ("kind", "site", "key", "payload", "options")


class JsonError(ValueError):
    """A text is no JSON that can be used; says where, never what stands there."""


@dataclass(frozen=True, slots=True)
class JobLine:
    """A line that can be enqueued.

    Attributes:
        line: its number, from 1.
        job: the job it stands for, valid.
    """

    line: int
    job: Job


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be enqueued.

    Attributes:
        line: its number, from 1.
        messages: field path to what is wrong there, without values.
    """

    line: int
    messages: Mapping[str, list[str]]

    def texts(self) -> list[str]:
        """Give one sentence for each field: `line 7: coupon_id: Unknown`."""
        return [
            f"line {self.line}: {path}: {' '.join(texts)}" for path, texts in self.messages.items()
        ]


def read_jobs(
    lines: Iterable[str], settings: Settings, *, default_site: str | None = None
) -> Iterator[JobLine | BadLine]:
    """Read and check lines, in order.

    Args:
        lines: the text of each line.
        settings: sites and how strict to be.
        default_site: site of the lines that name none; None leaves that to the settings.

    Yields:
        A JobLine or a BadLine for each line that is not empty. A key that an earlier line gave
        to another request makes a line bad, too.
    """
    seen: dict[str, tuple[int, str, bytes]] = {}
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            spec = _spec_of(text)
            spec.setdefault("site", default_site)
            job = Job.prepare(settings, spec.pop("kind"), spec.pop("payload", {}), **spec)
            first, digest, parts = seen.setdefault(job.id, (number, job.digest, job.parts))
            if digest != job.digest:
                differs = ", ".join(job.differs_from(parts)) or "the request"
                problem = (
                    f"Belongs to another request since line {first}, which differs in: {differs}."
                )
                raise InvalidJobError({"key": [problem]})
            yield JobLine(number, job)
        except JsonError as error:
            yield BadLine(number, {"json": [f"{error}."]})
        except InvalidJobError as error:
            yield BadLine(number, error.messages)
        except SettingsError as error:
            yield BadLine(number, {"site": [f"{error.problem}. {error.remedy}"]})


def parse_json(text: str) -> Any:
    """Parse JSON strictly: no NaN, no member twice.

    Raises:
        JsonError: with line and column, without the text.
    """
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        reason = error.msg.lower()
        raise JsonError(f"is no JSON at {line}column {error.colno} ({reason})") from None
    except RecursionError:
        raise JsonError("is nested too deeply") from None


def _spec_of(text: str) -> dict[str, Any]:
    spec = parse_json(text)
    if not isinstance(spec, dict):
        raise JsonError("is no JSON object")
    faults = {
        name: [f"Unknown field.{did_you_mean(name, _MEMBERS)}"]
        for name in spec
        if name not in _MEMBERS
    }
    for name in ("kind", "site", "key"):
        if not isinstance(spec.get(name), str | None):
            faults[name] = ["Must be a string."]
    for name in ("payload", "options"):
        if not isinstance(spec.get(name), dict | None):
            faults[name] = ["Not an object."]
    if spec.get("kind") is None:
        faults["kind"] = ["Missing."]
    if faults:
        raise InvalidJobError(faults)
    return {name: value for name, value in spec.items() if value is not None}


def _refuse(_: str) -> NoReturn:
    raise JsonError("has a number that JSON does not know (NaN or Infinity)")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise JsonError("names a member twice in one object")
    return members
