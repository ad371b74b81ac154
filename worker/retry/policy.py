"""The numbers that repeats go by, each with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["OnAmbiguous", "RetryPolicy"]

OnAmbiguous = Literal["hold", "reissue"]

#: Attempts. With base and cap below, twelve of them and their 30 s time-outs (at most 811 s of
#: waiting and 360 s of calls) end well inside the 25 minutes of the idempotency window.
DEFAULT_MAX_ATTEMPTS: Final = 12
#: ms, ceiling of the first wait: a shopper may be waiting, so the first repeat comes soon.
DEFAULT_BASE_MS: Final = 500
#: ms, ceiling of every wait: five minutes, so that a long outage is noticed to be over soon.
DEFAULT_CAP_MS: Final = 300_000
#: ms since the job was due: a day. Not-sent and throttled burn no attempt; this is their bound.
DEFAULT_HORIZON_MS: Final = 86_400_000
#: ms since the first delivery: 25 of the API's 30 minutes, so that clocks that differ, a slow
#: connection and the attempt's own time-out never carry a repeat over the edge.
DEFAULT_WINDOW_MS: Final = 1_500_000
#: ms, least wait of a backoff: lets a reset connection or a restarting proxy go first.
FLOOR_MS: Final = 50
#: ms, least wait after an unknown outcome: the attempt we gave up on may still be running there,
#: and its own repeat would meet it.
AMBIGUOUS_FLOOR_MS: Final = 1_000
#: ms, ceiling of a wait when nothing was sent: probing an address costs the API nothing.
NOT_SENT_CAP_MS: Final = 30_000
#: ms, bounds of Retry-After on a 429; the limit resets in about a minute, so a longer wish is a
#: mistake of a proxy and a shorter one than a second spares nothing.
RETRY_AFTER_MIN_MS: Final = 1_000
RETRY_AFTER_MAX_MS: Final = 120_000
#: ms, pause of the site when a 429 names none. Source: "until the limit resets (in approximately
#: a minute)".
THROTTLE_PAUSE_MS: Final = 60_000
#: ms, wait after `lock_timeout`: two calls met at one record; the other ends in a moment.
LOCK_TIMEOUT_MS: Final = (1_000, 5_000)
#: ms, wait after `third_party_api_request_limit_exceeded`: a gateway's limit, not the site's.
THIRD_PARTY_MS: Final = (15_000, 60_000)
#: ms, upper bound of Retry-After on a 503: maintenance may be announced in minutes, not hours.
UNAVAILABLE_RETRY_AFTER_MAX_MS: Final = 600_000
#: Part of a told wait that is added at random, and its least in ms: a fleet that was told the
#: same moment must not come back in the same moment.
SPREAD: Final = 0.1
SPREAD_MIN_MS: Final = 1_000
#: Attempts after a 500: the API calls it a bug of its own, and most bugs do not pass.
SERVER_ERROR_ATTEMPTS: Final = 5
#: Attempts after a 2xx that cannot be read: a captive page or a proxy passes or does not.
UNREADABLE_ATTEMPTS: Final = 3
#: Attempts after an exception that is no error of ours: a bug; once more may meet another state.
INTERNAL_ATTEMPTS: Final = 3
#: ms that a clock may step back (a failover to another Redis) and still be believed.
CLOCK_STEP_MS: Final = 5_000

#: Codes of a 503 that hold for every call of the site, until its maintenance is over.
MAINTENANCE_CODES: Final = frozenset({"site_not_ready", "site_read_only_mode"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How one kind of job is repeated.

    Attributes:
        max_attempts: attempts that may burn, the first included; at least 1.
        base_ms: ceiling of the first wait, ms; it doubles with every attempt.
        cap_ms: ceiling of every wait, ms.
        horizon_ms: ms from when the job was due to the start of its last attempt.
        window_ms: ms from the first delivery in which the idempotency key is relied upon.
        on_ambiguous: what becomes of a job whose outcome is unknown when it may not be repeated
            any more: `hold` it for a person, or `reissue` it with a new key.
    """

    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    base_ms: int = DEFAULT_BASE_MS
    cap_ms: int = DEFAULT_CAP_MS
    horizon_ms: int = DEFAULT_HORIZON_MS
    window_ms: int = DEFAULT_WINDOW_MS
    on_ambiguous: OnAmbiguous = "hold"
