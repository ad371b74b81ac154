"""What an answer of the API means: one success, or one error of the tree.

The HTTP status decides first, then the API's own code, never the API's `type`: the same code comes
under different types. A body is never trusted: whatever is in it, the outcome is an `ApiAnswer` or
a leaf of `ApiError`, and of its texts only a code and a parameter's name ever get into an error.

    2xx, a JSON object            ApiAnswer
    2xx, anything else            ambiguous: something happened, and we cannot read what
    3xx                           misconfigured: the API never redirects, so this is another host
    401, 403, 407                 misconfigured
    404                           site_not_found, or no code at all: misconfigured; else rejected
    408                           ambiguous: a proxy's word only
    429                           throttled
    other 4xx                     rejected
    503                           unavailable
    other 5xx and any other       ambiguous

Source: Chargebee's API documentation, "Error handling"; docs/errors.md has every code.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn

from worker.api.headers import IDEMPOTENCY_REPLAYED
from worker.errors import (
    AmbiguousError,
    ApiError,
    MisconfiguredError,
    RejectedError,
    ThrottledError,
    UnavailableError,
)

_STATUS_ERRORS: Final[Mapping[int, type[ApiError]]] = {
    401: MisconfiguredError,
    403: MisconfiguredError,
    407: MisconfiguredError,
    408: AmbiguousError,
    429: ThrottledError,
    503: UnavailableError,
}

# What is shown of an answer must look like a name of the API's.
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII)
_PARAM: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{1,100}", re.ASCII)

#: The headers that are looked at here, in lower case.
TELLING_HEADERS: Final = frozenset(
    {IDEMPOTENCY_REPLAYED, "content-encoding", "date", "retry-after"}
)

#: Digits of a Retry-After in seconds; more is no number of seconds.
_DELAY: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """A 2xx answer with a JSON object in it.

    Args:
        status: HTTP status.
        body: the object.
        replayed: the API says that this is the answer to an earlier request of the same key.
        elapsed_ms: from the call to the end of the body.
    """

    status: int
    body: dict[str, Any] = field(repr=False)
    replayed: bool
    elapsed_ms: int


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer as it came.

    Args:
        status: HTTP status.
        headers: those of `TELLING_HEADERS` that came, and any others.
        body: the bytes as sent, or None when they could not be read to the end.
        problem: why not, as a short fixed phrase.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    problem: str = "unreadable_answer"


def read_answer(raw: RawAnswer, *, elapsed_ms: int, max_body_bytes: int) -> ApiAnswer:
    """Make an answer out of what came, or raise what it means.

    Args:
        raw: the answer as it came.
        elapsed_ms: how long it took.
        max_body_bytes: the most that a body may hold once it is unpacked.

    Raises:
        ApiError: one of its leaves.
    """
    replayed = raw.headers.get(IDEMPOTENCY_REPLAYED) == "true"
    problem = raw.problem
    body: dict[str, Any] | None = None
    if raw.body is not None:
        try:
            body = _json_object(_unpacked(raw.body, raw.headers, max_body_bytes))
        except _UnreadableError as error:
            problem = error.problem
    if 200 <= raw.status < 300:
        if body is None:
            raise AmbiguousError(problem, status=raw.status, replayed=replayed)
        return ApiAnswer(raw.status, body, replayed, elapsed_ms)
    raise _status_error(raw, body or {}, replayed=replayed)


def _status_error(raw: RawAnswer, body: Mapping[str, Any], *, replayed: bool) -> ApiError:
    code = _matching(_CODE, body.get("api_error_code"))
    reason, kind = "http_status", _STATUS_ERRORS.get(raw.status, AmbiguousError)
    if 300 <= raw.status < 400:
        reason, kind = "redirected", MisconfiguredError
    elif raw.status == 404 and code is None:
        reason, kind = "not_the_api", MisconfiguredError
    elif raw.status == 404 and code == "site_not_found":
        kind = MisconfiguredError
    elif 400 <= raw.status < 500 and raw.status not in _STATUS_ERRORS:
        kind = RejectedError
    return kind(
        reason,
        status=raw.status,
        api_error_code=code,
        param=_matching(_PARAM, body.get("param")),
        retry_after_s=parse_retry_after(raw.headers.get("retry-after"), _now(raw.headers)),
        replayed=replayed,
    )


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Read a Retry-After header.

    Args:
        text: seconds, or an HTTP date; None when there is no header.
        now: Unix seconds, by the clock of whoever wrote the date.

    Returns:
        Seconds to wait, 0 or more and unclamped; None when the text is neither.
    """
    if text is None:
        return None
    if _DELAY.fullmatch(text.strip()):
        return float(text)
    moment = _http_date(text)
    return None if moment is None else max(0.0, moment - now)


def _now(headers: Mapping[str, str]) -> float:
    # The sender's clock, if it tells: a date is meant by that clock, not by ours.
    told = headers.get("date")
    moment = None if told is None else _http_date(told)
    return time.time() if moment is None else moment


def _http_date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        # "-0000" gives a time without a zone; HTTP dates are in GMT.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


class _UnreadableError(Exception):
    """A body that says nothing; `problem` is a short fixed phrase."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def _unpacked(body: bytes, headers: Mapping[str, str], max_bytes: int) -> bytes:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise _UnreadableError("unknown_encoding")
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, by its first bytes
    try:
        unpacked = unpacking.decompress(body, max_bytes + 1)
    except zlib.error:
        raise _UnreadableError("unreadable_answer") from None
    if len(unpacked) > max_bytes:
        raise _UnreadableError("answer_too_large")
    if not unpacking.eof:
        raise _UnreadableError("unreadable_answer")
    return unpacked


def _json_object(body: bytes) -> dict[str, Any]:
    if not body:
        raise _UnreadableError("empty_answer")
    try:
        text = body.removeprefix(codecs.BOM_UTF8).decode()
        value = _DECODER.decode(text)
        if "\\u" in text:
            # Half of a surrogate pair can be written in JSON, but not be stored or passed on.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # not UTF-8, not JSON, too deep, or numbers too long
        raise _UnreadableError("unreadable_answer") from None
    if not isinstance(value, dict):
        raise _UnreadableError("unreadable_answer")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name comes twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant
)


def _matching(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None
