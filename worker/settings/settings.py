"""All settings, read once from environment variables and then frozen.

Each variable with its default, unit and reason is in `environment.py` and docs/settings.md.
Reading needs no API key: keys are references, followed when a request is made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from schemas import KINDS, did_you_mean
from worker.errors import ArgumentError, SettingsError
from worker.retry.policy import OnAmbiguous, RetryPolicy
from worker.settings import environment
from worker.settings.encryption_key import EncryptionKey, parse_keys
from worker.settings.redis_address import RedisAddress
from worker.settings.secret import Secret
from worker.settings.site import Site, check_api_url, check_site_name
from worker.settings.sites_file import load_sites

__all__ = ["Settings"]

_REDIS_VARIABLE = "LARGESSE_REDIS_URL"
_SITES_VARIABLE = "LARGESSE_SITES"
_SITE_VARIABLE = "CHARGEBEE_SITE"
_KEY_VARIABLE = "CHARGEBEE_API_KEY"
_NO_SITE = "Set CHARGEBEE_SITE, or name a file of sites in LARGESSE_SITES."


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What Largesse goes by. Its repr shows neither a key nor a password.

    Attributes:
        redis_url: URL of Redis as it was written, password included: for `redis` only.
        redis: the same, parsed; made from `redis_url`.
        namespace: prefix of every key in Redis.
        shards: number of shards that sites are spread over.
        encryption_keys: the keys as they were written: for `encryption` only.
        encryption: the same, parsed; made from `encryption_keys`. Empty = nothing is encrypted.
        sites: name to site; empty when none is configured.
        default_site: name of the site of jobs that name none, or None.
        request_context: `strict` or `relaxed`.
        shorten_context: True when a request context that is too long is shortened.
        window_minutes: minutes from the first delivery in which the key is relied upon.
        on_ambiguous: `hold` or `reissue`.
        result_ttl_s: seconds that results without a page are kept.
        result_margin_s: seconds that a result is kept after its page expired.
        stream_max_len: entries of each result stream.
        grace_s: seconds for running calls at shutdown.
        lease_ms: ms after which a silent worker's jobs go to others.
        max_deliveries: deliveries without an ending after which a job is buried.
        connect_timeout_s: seconds to a connection to the API.
        attempt_timeout_s: seconds for one whole attempt.
        max_body_bytes: bytes of an answer that are read.
        share_offers_s: seconds in which equal requests for offers are one job; 0 = never.
        offers_idempotency_key: True when offers carry the key too.
        log_format: `json` or `console`.
        log_level: `debug`, `info`, `warning` or `error`.
        metrics_port: TCP port of the first worker process for metrics and health; 0 = none.
        metrics_host: address that these ports listen on.
        traces: `off` or `otlp`.
        sentry_dsn: where errors are sent to, or None.
        retry: kind to its attempts, waits and horizon; read it through `policy`.

    Raises:
        SettingsError: a value is out of bounds.
    """

    redis_url: str = field(repr=False)
    redis: RedisAddress = field(init=False)
    namespace: str = environment.DEFAULT_NAMESPACE
    shards: int = environment.DEFAULT_SHARDS
    encryption_keys: str | None = field(default=None, repr=False)
    encryption: tuple[EncryptionKey, ...] = field(init=False)
    sites: Mapping[str, Site] = field(default_factory=dict)
    default_site: str | None = None
    request_context: Literal["strict", "relaxed"] = environment.DEFAULT_REQUEST_CONTEXT
    shorten_context: bool = environment.DEFAULT_SHORTEN_CONTEXT
    window_minutes: float = environment.DEFAULT_WINDOW_MINUTES
    on_ambiguous: OnAmbiguous = environment.DEFAULT_ON_AMBIGUOUS
    result_ttl_s: int = environment.DEFAULT_RESULT_TTL_S
    result_margin_s: int = environment.DEFAULT_RESULT_MARGIN_S
    stream_max_len: int = environment.DEFAULT_STREAM_MAX_LEN
    stream_max_age_s: int = environment.DEFAULT_STREAM_MAX_AGE_S
    grace_s: float = environment.DEFAULT_GRACE_S
    lease_ms: int = environment.DEFAULT_LEASE_MS
    max_deliveries: int = environment.DEFAULT_MAX_DELIVERIES
    connect_timeout_s: float = environment.DEFAULT_CONNECT_TIMEOUT_S
    attempt_timeout_s: float = environment.DEFAULT_ATTEMPT_TIMEOUT_S
    max_body_bytes: int = environment.DEFAULT_MAX_BODY_BYTES
    share_offers_s: float = environment.DEFAULT_SHARE_OFFERS_S
    offers_idempotency_key: bool = environment.DEFAULT_OFFERS_IDEMPOTENCY_KEY
    log_format: Literal["json", "console"] = environment.DEFAULT_LOG_FORMAT
    log_level: Literal["debug", "info", "warning", "error"] = environment.DEFAULT_LOG_LEVEL
    metrics_port: int = environment.DEFAULT_METRICS_PORT
    metrics_host: str = environment.DEFAULT_METRICS_HOST
    traces: Literal["off", "otlp"] = environment.DEFAULT_TRACES
    sentry_dsn: str | None = field(default=None, repr=False)
    retry: Mapping[str, RetryPolicy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        address = RedisAddress.parse(self.redis_url, _REDIS_VARIABLE)
        object.__setattr__(self, "redis", address)
        for variable in environment.VARIABLES:
            variable.check(getattr(self, variable.field))
        object.__setattr__(self, "encryption", parse_keys(self.encryption_keys))
        for field_name, of in (("sites", Site), ("retry", RetryPolicy)):
            table: object = getattr(self, field_name)
            if not isinstance(table, Mapping) or not all(
                isinstance(name, str) and isinstance(one, of) for name, one in table.items()
            ):
                remedy = f"Give a mapping of names to {of.__name__}."
                raise SettingsError(field_name, "is not such a mapping", remedy)
        if self.default_site is not None and self.default_site not in list(self.sites):
            remedy = f"Choose from {', '.join(self.sites) or 'none: no site is configured'}."
            remedy += did_you_mean(self.default_site, self.sites)
            raise SettingsError(_SITE_VARIABLE, "names a site that is not configured", remedy)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read all settings.

        Args:
            environ: the variables; the process's own when None. References to keys are followed
                there too.

        Raises:
            SettingsError: a variable is missing or wrong; names it and the remedy.
            ArgumentError: the variables are no mapping of texts.
        """
        given = _checked(os.environ if environ is None else environ)
        values: dict[str, Any] = {
            variable.field: variable.read(given) for variable in environment.VARIABLES
        }
        values["redis_url"] = _read_redis_url(given)
        values["sites"], values["default_site"] = _read_sites(given, environ)
        values["retry"] = {kind: _read_policy(kind, given) for kind in KINDS}
        return cls(**values)

    def site(self, name: str | None = None) -> Site:
        """Find a site.

        Args:
            name: of the site, or None for the default one.

        Raises:
            SettingsError: no such site is configured, or no default one.
        """
        if name is None and self.default_site is None:
            if not self.sites:
                raise SettingsError(_SITE_VARIABLE, "is not set", _NO_SITE)
            remedy = f"Name one with the job ({', '.join(self.sites)}), or set default_site."
            raise SettingsError(_SITES_VARIABLE, "has several sites and no default one", remedy)
        wanted = self.default_site if name is None else name
        found = self.sites.get(wanted) if isinstance(wanted, str) else None
        if found is None:
            remedy = f"Choose from {', '.join(self.sites)}." if self.sites else _NO_SITE
            remedy += did_you_mean(wanted, self.sites)
            raise SettingsError("site", "is not configured", remedy)
        return found

    def policy(self, kind: str) -> RetryPolicy:
        """Put together the retry policy of a kind.

        Args:
            kind: of the jobs.

        Returns:
            Its attempts, waits and horizon with the window and the choice that all kinds share.
        """
        own = self.retry.get(kind)
        if own is None:
            own = environment.KIND_DEFAULTS.get(kind, environment.GENERIC_DEFAULTS)
        window_ms = round(self.window_minutes * 60_000)
        return replace(own, window_ms=window_ms, on_ambiguous=self.on_ambiguous)


def _checked(environ: Any) -> Mapping[str, str]:
    if not isinstance(environ, Mapping):
        kind = type(environ).__name__
        raise ArgumentError("environ", f"must be a mapping of names to texts, not {kind}")
    if not all(isinstance(text, str) for pair in environ.items() for text in pair):
        raise ArgumentError("environ", "must hold texts only")
    return environ


def _text(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name, "").strip() or None


def _read_redis_url(environ: Mapping[str, str]) -> str:
    url = _text(environ, _REDIS_VARIABLE)
    if url is None:
        remedy = "Set it to the URL of Redis, such as redis://localhost:6379/0."
        raise SettingsError(_REDIS_VARIABLE, "is not set", remedy)
    if url.startswith("file:/"):
        return Secret(url, variable=_REDIS_VARIABLE, holds="the URL of Redis").read()
    return url


def _read_sites(
    given: Mapping[str, str], environ: Mapping[str, str] | None
) -> tuple[dict[str, Site], str | None]:
    path, name = _text(given, _SITES_VARIABLE), _text(given, _SITE_VARIABLE)
    if path is None:
        return _read_one_site(name, given, environ)
    for variable in environment.SITE_VARIABLES:
        if _text(given, variable.name) is not None:
            remedy = f"Write {variable.field} into the file, for each site it is meant for."
            raise SettingsError(variable.name, f"does not go with {_SITES_VARIABLE}", remedy)
    sites, default = load_sites(path, environ)
    return sites, name or default or (next(iter(sites)) if len(sites) == 1 else None)


def _read_one_site(
    name: str | None, given: Mapping[str, str], environ: Mapping[str, str] | None
) -> tuple[dict[str, Site], str | None]:
    if name is None:
        for stray in (_KEY_VARIABLE, *(variable.name for variable in environment.SITE_VARIABLES)):
            if _text(given, stray) is not None:
                raise SettingsError(_SITE_VARIABLE, f"is not set, but {stray} is", _NO_SITE)
        return {}, None
    check_site_name(name, _SITE_VARIABLE)
    values = {variable.field: variable.read(given) for variable in environment.SITE_VARIABLES}
    if values["api_url"] is not None:
        values["api_url"] = check_api_url(values["api_url"], "CHARGEBEE_API_URL")
    key = Secret(f"env:{_KEY_VARIABLE}", variable=_KEY_VARIABLE, environ=environ)
    try:
        return {name: Site(name=name, api_key=key, **values)}, name
    except SettingsError as error:
        variable = f"CHARGEBEE_{error.variable.upper()}"
        raise SettingsError(variable, error.problem, error.remedy) from None


def _read_policy(kind: str, environ: Mapping[str, str]) -> RetryPolicy:
    values = {row.field: row.read(environ) for row in environment.retry_variables(kind)}
    values["horizon_ms"] *= 1000
    return RetryPolicy(**values)
