"""The environment variables that Largesse reads: name, bounds, default, unit and reason of each.

`worker.settings` reads them in this order and docs/settings.md lists them; a test compares all
three. Wrong values are refused with a text that names the variable and never the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.retry import policy
from worker.settings import site
from worker.settings.variable import Variable

__all__ = ["DASHBOARD_NAMES", "SITE_VARIABLES", "VARIABLES", "retry_variables"]

#: Prefix of every key in Redis. One word is enough until two fleets share one Redis.
DEFAULT_NAMESPACE: Final = "largesse"
#: Shards. One is one small Redis; more spread the sites over a Cluster and can never be changed
#: while jobs are queued.
DEFAULT_SHARDS: Final = 1
#: As the documentation has it: a request that meets the strict rule is always legal.
DEFAULT_REQUEST_CONTEXT: Final = "strict"
#: Real shop addresses are longer than the API takes; what matters stands at their beginning.
DEFAULT_SHORTEN_CONTEXT: Final = True
#: Minutes of the API's 30 in which a repeat is sent while an outcome is unknown.
DEFAULT_WINDOW_MINUTES: Final = policy.DEFAULT_WINDOW_MS / 60_000
#: A person decides, as a second hosted page may otherwise exist without anybody knowing.
DEFAULT_ON_AMBIGUOUS: Final = "hold"
#: Seconds that results without a page are kept: a week, so that a Friday's failure is still
#: there on Monday.
DEFAULT_RESULT_TTL_S: Final = 604_800
#: Seconds that a result is kept after its page or offers expired: lets an app tell "expired"
#: from "never known".
DEFAULT_RESULT_MARGIN_S: Final = 3_600
#: Entries of each result stream: at about 1 KiB each, 100 MiB at most.
DEFAULT_STREAM_MAX_LEN: Final = 100_000
DEFAULT_STREAM_MAX_AGE_S: Final = 7 * 86_400
#: Seconds a worker may use to finish its calls at shutdown: below the 30 s after which most
#: supervisors kill.
DEFAULT_GRACE_S: Final = 25.0
#: ms a worker may be silent before its jobs are given to others: renewed three times in it.
DEFAULT_LEASE_MS: Final = 15_000
#: Deliveries without an ending after which a job is buried: it killed its worker each time.
DEFAULT_MAX_DELIVERIES: Final = 3
#: Seconds to a connection: past this the address is wrong or unreachable.
DEFAULT_CONNECT_TIMEOUT_S: Final = 5.0
#: Seconds for one whole attempt, also against an answer that drips.
DEFAULT_ATTEMPT_TIMEOUT_S: Final = 30.0
#: Bytes of an answer that are read: real ones have some kB.
DEFAULT_MAX_BODY_BYTES: Final = 1 << 20
#: Offers are a read, and the API documents no key for them.
DEFAULT_OFFERS_IDEMPOTENCY_KEY: Final = False
#: Machines read a worker's log first.
DEFAULT_LOG_FORMAT: Final = "json"
#: One line or two for a job, none for each step of a library.
DEFAULT_LOG_LEVEL: Final = "info"

#: Nothing listens that was not asked for.
DEFAULT_METRICS_PORT: Final = 0
#: Figures are for this machine until somebody says otherwise.
DEFAULT_METRICS_HOST: Final = "127.0.0.1"
#: s. Sharing shows one customer's request the answer to an equal one: only who wants it has it.
DEFAULT_SHARE_OFFERS_S: Final = 0.0
#: Traces need a place to go to.
DEFAULT_TRACES: Final = "off"

#: First waits, caps and horizons of a kind that has no row of its own in `KIND_DEFAULTS`.
GENERIC_DEFAULTS: Final = policy.RetryPolicy()
#: Offers are shown while a customer waits at a cancel page: short waits, and after a quarter of
#: an hour nobody looks any more.
OFFER_DEFAULTS: Final = policy.RetryPolicy(
    max_attempts=6, base_ms=250, cap_ms=15_000, horizon_ms=900_000
)
KIND_DEFAULTS: Final[Mapping[str, policy.RetryPolicy]] = {"personalized_offer": OFFER_DEFAULTS}

_REFERENCE_WINDOW_MINUTES = 29


VARIABLES: Final[tuple[Variable, ...]] = (
    Variable(
        name="LARGESSE_NAMESPACE",
        field="namespace",
        default=DEFAULT_NAMESPACE,
        pattern=r"[A-Za-z0-9_.-]{1,64}",
        reason="prefix of every key in Redis; one is enough until two fleets share one Redis",
    ),
    Variable(
        name="LARGESSE_SHARDS",
        field="shards",
        kind="int",
        default=DEFAULT_SHARDS,
        unit="shards",
        low=1,
        high=1024,
        reason="number of parts that a Cluster may place on different nodes; keep it the same "
        "in every "
        "process, and do not change it while jobs are queued",
    ),
    Variable(
        name="LARGESSE_ENCRYPTION_KEYS",
        field="encryption_keys",
        reason="keys that encrypt what is private in Redis: ID:BASE64 or ID:file:/path, separated "
        "by commas, or file:/path of the list; the first one encrypts, all decrypt; needs the "
        "extra encryption",
    ),
    Variable(
        name="LARGESSE_REQUEST_CONTEXT",
        field="request_context",
        kind="choice",
        default=DEFAULT_REQUEST_CONTEXT,
        choices=("strict", "relaxed"),
        reason="strict requires all four members of a request context, as the API's "
        "documentation does; "
        "relaxed requires none",
    ),
    Variable(
        name="LARGESSE_SHORTEN_CONTEXT",
        field="shorten_context",
        kind="bool",
        default=DEFAULT_SHORTEN_CONTEXT,
        reason="true shortens addresses and user agents of a request context that are longer than "
        "the API takes; false refuses them",
    ),
    Variable(
        name="LARGESSE_WINDOW_MINUTES",
        field="window_minutes",
        kind="float",
        default=DEFAULT_WINDOW_MINUTES,
        unit="minutes",
        low=0.01,
        high=_REFERENCE_WINDOW_MINUTES,
        reason="how long a key may be sent again; the API honours it for 30 minutes, and 5 "
        "minutes "
        "are left for clock differences, connections and the attempt itself",
    ),
    Variable(
        name="LARGESSE_ON_AMBIGUOUS",
        field="on_ambiguous",
        kind="choice",
        default=DEFAULT_ON_AMBIGUOUS,
        choices=("hold", "reissue"),
        reason="what happens to a gift whose outcome is unknown after the window: hold = a person "
        "decides; reissue = it is sent with a new key, and an orphan page may exist",
    ),
    Variable(
        name="LARGESSE_RESULT_TTL_S",
        field="result_ttl_s",
        kind="int",
        default=DEFAULT_RESULT_TTL_S,
        unit="s",
        low=60,
        reason="how long results without a page are kept: a week, so Friday's failures are "
        "there on Monday",
    ),
    Variable(
        name="LARGESSE_RESULT_MARGIN_S",
        field="result_margin_s",
        kind="int",
        default=DEFAULT_RESULT_MARGIN_S,
        unit="s",
        reason="how long a result is kept after its page expires, so that an app can tell an "
        "expired "
        "page from an unknown job",
    ),
    Variable(
        name="LARGESSE_STREAM_MAX_LEN",
        field="stream_max_len",
        kind="int",
        default=DEFAULT_STREAM_MAX_LEN,
        unit="entries",
        low=100,
        high=1_000_000,
        reason="most entries of each result stream, while a group has not handled them; an entry "
        "has about 1 KiB, so 100 MiB at most",
    ),
    Variable(
        name="LARGESSE_STREAM_MAX_AGE_S",
        field="stream_max_age_s",
        kind="int",
        default=DEFAULT_STREAM_MAX_AGE_S,
        unit="s",
        low=60,
        reason="how long an entry waits for a group that has not handled it, and how long a group "
        "that nobody reads is kept",
    ),
    Variable(
        name="LARGESSE_GRACE_S",
        field="grace_s",
        kind="float",
        default=DEFAULT_GRACE_S,
        unit="s",
        high=3600,
        reason="how long running calls may take to end at shutdown; most supervisors kill after "
        "30 s",
    ),
    Variable(
        name="LARGESSE_LEASE_MS",
        field="lease_ms",
        kind="int",
        default=DEFAULT_LEASE_MS,
        unit="ms",
        low=300,
        high=600_000,
        reason="a worker that is silent for this long loses its jobs to other workers; a lease is "
        "renewed three times in this time",
    ),
    Variable(
        name="LARGESSE_MAX_DELIVERIES",
        field="max_deliveries",
        kind="int",
        default=DEFAULT_MAX_DELIVERIES,
        unit="deliveries",
        low=1,
        high=100,
        reason="a job whose worker died this many times becomes a dead letter; the number is "
        "doubled "
        "while workers also die without it",
    ),
    Variable(
        name="LARGESSE_CONNECT_TIMEOUT_S",
        field="connect_timeout_s",
        kind="float",
        default=DEFAULT_CONNECT_TIMEOUT_S,
        unit="s",
        low=0.01,
        high=300,
        reason="time to open a connection; after that the address is wrong or unreachable, and "
        "nothing "
        "was sent",
    ),
    Variable(
        name="LARGESSE_ATTEMPT_TIMEOUT_S",
        field="attempt_timeout_s",
        kind="float",
        default=DEFAULT_ATTEMPT_TIMEOUT_S,
        unit="s",
        low=0.01,
        high=300,
        reason="time for one whole attempt, also when the answer arrives byte by byte",
    ),
    Variable(
        name="LARGESSE_MAX_BODY_BYTES",
        field="max_body_bytes",
        kind="int",
        default=DEFAULT_MAX_BODY_BYTES,
        unit="bytes",
        low=1024,
        high=1 << 30,
        reason="most bytes of an answer, after decompression; real answers have a few kB",
    ),
    Variable(
        name="LARGESSE_OFFERS_IDEMPOTENCY_KEY",
        field="offers_idempotency_key",
        kind="bool",
        default=DEFAULT_OFFERS_IDEMPOTENCY_KEY,
        reason="true sends the key with offers too; offers are a read, and the API documents no "
        "key "
        "for them",
    ),
    Variable(
        name="LARGESSE_SHARE_OFFERS_S",
        field="share_offers_s",
        kind="float",
        default=DEFAULT_SHARE_OFFERS_S,
        unit="s",
        low=0,
        high=3600,
        reason="time in which equal requests for offers without a key become one job and one "
        "call; "
        "0 = never",
    ),
    Variable(
        name="LARGESSE_LOG_FORMAT",
        field="log_format",
        kind="choice",
        default=DEFAULT_LOG_FORMAT,
        choices=("json", "console"),
        reason="json for log collectors, console for a terminal",
    ),
    Variable(
        name="LARGESSE_LOG_LEVEL",
        field="log_level",
        kind="choice",
        default=DEFAULT_LOG_LEVEL,
        choices=("debug", "info", "warning", "error"),
        reason="info writes one or two lines for a job and none for the steps of libraries",
    ),
    Variable(
        name="LARGESSE_METRICS_PORT",
        field="metrics_port",
        kind="int",
        default=DEFAULT_METRICS_PORT,
        unit="port",
        high=65_535,
        reason="TCP port for metrics and health of the first worker process; the other "
        "processes use "
        "the next ports; 0 = none",
    ),
    Variable(
        name="LARGESSE_METRICS_HOST",
        field="metrics_host",
        default=DEFAULT_METRICS_HOST,
        pattern=r"[A-Za-z0-9_.:-]{1,255}",
        reason="address on which these ports listen; 0.0.0.0 lets another machine scrape them",
    ),
    Variable(
        name="LARGESSE_TRACES",
        field="traces",
        kind="choice",
        default=DEFAULT_TRACES,
        choices=("off", "otlp"),
        reason="otlp sends the spans of workers over OTLP/HTTP, as the OTEL_EXPORTER_OTLP "
        "variables "
        "configure it; needs the extra otel",
    ),
    Variable(
        name="LARGESSE_SENTRY_DSN",
        field="sentry_dsn",
        pattern=r"[\x21-\x7e]{1,500}",
        reason="where workers send their errors, without private values; needs the extra sentry",
    ),
)

SITE_VARIABLES: Final[tuple[Variable, ...]] = (
    Variable(
        name="CHARGEBEE_API_URL",
        field="api_url",
        reason="scheme, host and port for every operation, for a stand-in; not set = the site's "
        "own address",
    ),
    Variable(
        name="CHARGEBEE_DOMAIN",
        field="domain",
        default=site.DEFAULT_DOMAIN,
        reason="end of the site's host name; the API's description lists only this one",
    ),
    Variable(
        name="CHARGEBEE_RATE_PER_MINUTE",
        field="rate_per_minute",
        kind="int",
        default=site.DEFAULT_RATE_PER_MINUTE,
        unit="calls per minute",
        reason="test sites and the smallest plan allow 150; calls above the limit get a live site "
        "flagged; 0 = no limit",
    ),
    Variable(
        name="CHARGEBEE_MAX_IN_FLIGHT",
        field="max_in_flight",
        kind="int",
        default=site.DEFAULT_MAX_IN_FLIGHT,
        unit="calls",
        reason="calls at the same moment; half of what the API allows on test sites; 0 = no limit",
    ),
)

#: What the dashboard reads besides; `worker.dashboard.options` says what each is for.
DASHBOARD_NAMES: Final = (
    "LARGESSE_DASHBOARD_PASSWORD",
    "LARGESSE_DASHBOARD_TOKEN",
    "LARGESSE_DASHBOARD_READ_ONLY",
    "LARGESSE_DASHBOARD_REVEAL",
    "LARGESSE_DASHBOARD_HTTPS",
)

_RETRY_COLUMNS: Final = (
    (
        "MAX_ATTEMPTS",
        "max_attempts",
        "attempts",
        1,
        100,
        "most attempts that count, the first included",
    ),
    ("BASE_MS", "base_ms", "ms", 1, 3_600_000, "longest first wait; doubles each time"),
    ("CAP_MS", "cap_ms", "ms", 1, 86_400_000, "longest wait"),
    (
        "HORIZON_S",
        "horizon_ms",
        "s",
        1,
        2_592_000,
        "time from the due time to the start of the last attempt",
    ),
)


def retry_variables(kind: str) -> tuple[Variable, ...]:
    """List the variables of a kind's retry policy.

    Args:
        kind: of the jobs, such as `gift_checkout`.

    Returns:
        Four variables; the horizon is in seconds though its field is in ms.
    """
    defaults = KIND_DEFAULTS.get(kind, GENERIC_DEFAULTS)
    rows = []
    for suffix, field, unit, low, high, reason in _RETRY_COLUMNS:
        default = getattr(defaults, field)
        rows.append(
            Variable(
                name=f"LARGESSE_{kind.upper()}_{suffix}",
                field=field,
                kind="int",
                default=default // 1000 if unit == "s" else default,
                unit=unit,
                low=low,
                high=high,
                reason=reason,
            )
        )
    return tuple(rows)
