"""What `largesse doctor` looks at: each check says what it found and what to do about it."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from worker.errors import BrokerError, SettingsError

if TYPE_CHECKING:
    import redis

    from worker.settings import Settings
    from worker.sites import Site

__all__ = ["Check", "check_all", "check_redis", "check_site"]

#: The oldest server that the tests run on: Redis 6.2. Every Valkey is younger.
OLDEST_REDIS: Final = (6, 2)
#: Part of `maxmemory` from which a queue should be given more; at 1 every enqueue is refused.
MEMORY_WARNS_AT: Final = 0.75
MEMORY_FAILS_AT: Final = 0.95
#: Seconds two clocks may differ. Only times in logs depend on it: the queue uses Redis's clock.
CLOCK_WARNS_S: Final = 2.0
#: Sites that are asked at the same time.
SITES_AT_ONCE: Final = 8

_DNS_NOTE = "Check the name of the site, DNS, the firewall and CHARGEBEE_API_URL."


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor.

    Attributes:
        name: what was looked at.
        status: `ok`; `warn` for what works but may hurt; `fail` for what does not work.
        found: what was found, without private values.
        remedy: what to do next; empty when all is well.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""


def check_all(environ: Mapping[str, str] | None = None) -> Iterator[Check]:
    """Check the settings, then Redis, then each site; yields each line as soon as it is known.

    Args:
        environ: the variables; the process's own when None.
    """
    from worker.engine.connection import PRODUCER, connect  # noqa: PLC0415 - heavy
    from worker.settings import Settings  # noqa: PLC0415

    try:
        settings = Settings.from_env(environ)
    except SettingsError as error:
        yield Check("settings", "fail", f"{error.variable} {error.problem}", error.remedy)
        return
    count = len(settings.sites)
    yield Check("settings", "ok", f"read, with {count} site{'s' if count != 1 else ''}")
    client = connect(settings.redis, PRODUCER)
    try:
        yield from check_redis(client, str(settings.redis))
    finally:
        client.close()
    yield from _check_sites(settings)


def check_redis(client: redis.Redis, address: str) -> Iterator[Check]:
    """Check a server: reachable, version, role, persistence, eviction, memory, clock.

    Args:
        client: connected or not; left open.
        address: where it is, without the password.
    """
    from worker.engine.away import speaking_to_redis  # noqa: PLC0415 - brings redis

    try:
        with speaking_to_redis():
            started = time.monotonic()
            client.ping()
            took_ms = (time.monotonic() - started) * 1000
            info: dict[str, Any] = client.info()
            clock = _check_clock(client)
    except BrokerError as error:
        remedy = "Start Redis, or correct LARGESSE_REDIS_URL."
        yield Check("redis", "fail", f"{address}: {error.args[0]}", remedy)
        return
    yield Check("redis", "ok", f"{address} answers in {took_ms:.1f} ms")
    yield _check_version(info)
    yield _check_role(info)
    yield _check_persistence(info)
    yield _check_eviction(info)
    yield _check_memory(info)
    yield clock


def check_site(site: Site, *, timeout_s: float) -> list[Check]:
    """Check a site: its key can be read, its hosts take connections. Nothing is sent to the API.

    Args:
        site: the site.
        timeout_s: seconds for each connection.
    """
    checks = [_check_key(site)]
    if site.sends_key_in_clear:
        remedy = "Use https: anybody on the way can read the key."
        checks.append(Check(f"site {site.name}", "warn", "its key travels without TLS", remedy))
    from worker.operations import OPERATIONS  # noqa: PLC0415 - only where it is needed

    origins = {site.origin(operation.sub_domain): None for operation in OPERATIONS.values()}
    return checks + [_check_origin(f"api {site.name}", url, timeout_s) for url in origins]


def _check_sites(settings: Settings) -> Iterator[Check]:
    if not settings.sites:
        remedy = "Set CHARGEBEE_SITE and CHARGEBEE_API_KEY, or name a file in LARGESSE_SITES."
        yield Check("sites", "fail", "none is configured", remedy)
        return
    if settings.default_site is None:
        remedy = "Each job must name its site, or set default_site in the sites file."
        yield Check("sites", "warn", "several, and none is the default", remedy)
    with ThreadPoolExecutor(SITES_AT_ONCE) as pool:
        timeout_s = settings.connect_timeout_s
        for checks in pool.map(
            lambda site: check_site(site, timeout_s=timeout_s), settings.sites.values()
        ):
            yield from checks


def _check_version(info: Mapping[str, Any]) -> Check:
    text = str(info.get("redis_version", "0"))
    found = f"Redis {text}"
    if "valkey_version" in info:
        return Check("version", "ok", f"Valkey {info['valkey_version']}")
    if tuple(int(part) for part in text.split(".")[:2] if part.isdigit()) < OLDEST_REDIS:
        return Check("version", "warn", found, "Use Valkey, or Redis 6.2 or newer.")
    return Check("version", "ok", found)


def _check_role(info: Mapping[str, Any]) -> Check:
    if info.get("role") != "master":
        remedy = "Name the primary in LARGESSE_REDIS_URL, or use redis+sentinel://."
        return Check("role", "fail", "a replica: it takes no jobs", remedy)
    return Check("role", "ok", f"primary, {info.get('connected_slaves', 0)} replicas")


def _check_persistence(info: Mapping[str, Any]) -> Check:
    aof = bool(info.get("aof_enabled"))
    failed = [
        name
        for name in ("aof_last_write_status", "aof_last_bgrewrite_status")
        if aof and info.get(name, "ok") != "ok"
    ]
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        failed.append("rdb_last_bgsave_status")
    if failed:
        remedy = "Look into the server's log and its disk: jobs may be refused (MISCONF)."
        return Check("persistence", "fail", f"the last write failed ({failed[0]})", remedy)
    if not aof:
        remedy = "Set appendonly yes: without it a restart of Redis loses accepted jobs."
        return Check("persistence", "warn", "no append-only file", remedy)
    return Check("persistence", "ok", "append-only file")


def _check_eviction(info: Mapping[str, Any]) -> Check:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction" and info.get("maxmemory"):
        remedy = "Set maxmemory-policy noeviction: a full Redis would silently drop jobs."
        return Check("eviction", "fail", policy, remedy)
    return Check("eviction", "ok", policy if policy == "noeviction" else "no memory limit")


def _check_memory(info: Mapping[str, Any]) -> Check:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    found = f"{used / 1e6:.1f} MB used"
    if not limit:
        return Check("memory", "ok", f"{found}, no limit")
    share = used / limit
    found = f"{found} of {limit / 1e6:.1f} MB ({share:.0%})"
    if share < MEMORY_WARNS_AT:
        return Check("memory", "ok", found)
    remedy = "Give it more memory (maxmemory): when it is full every new job is refused."
    return Check("memory", "fail" if share >= MEMORY_FAILS_AT else "warn", found, remedy)


def _check_clock(client: redis.Redis) -> Check:
    before = time.time()
    seconds, microseconds = client.time()
    middle = (before + time.time()) / 2
    ahead_s = seconds + microseconds / 1e6 - middle
    found = f"Redis is {abs(ahead_s) * 1000:.0f} ms {'ahead' if ahead_s > 0 else 'behind'}"
    if abs(ahead_s) > CLOCK_WARNS_S:
        return Check("clock", "warn", found, "Set both clocks by NTP: times in logs would lie.")
    return Check("clock", "ok", found)


def _check_key(site: Site) -> Check:
    name = f"key {site.name}"
    try:
        key = site.api_key.read()
    except SettingsError as error:
        return Check(name, "fail", f"{error.variable} {error.problem}", error.remedy)
    other = "live_" if site.is_test else "test_"
    if key.startswith(other):
        remedy = "Test and live sites have keys of their own: take the site's."
        found = f"a {other[:-1]} key for a {'test' if site.is_test else 'live'} site"
        return Check(name, "warn", found, remedy)
    return Check(name, "ok", f"can be read ({site.api_key.reference})")


def _check_origin(name: str, origin: str, timeout_s: float) -> Check:
    parts = urlsplit(origin)
    host = parts.hostname or ""
    tls = parts.scheme == "https"
    started = time.monotonic()
    try:
        with socket.create_connection(
            (host, parts.port or (443 if tls else 80)), timeout=timeout_s
        ) as connection:
            if tls:
                context = ssl.create_default_context()
                context.wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLCertVerificationError:
        remedy = "Check the clock, the trusted certificates, and who answers on this host."
        return Check(name, "fail", f"{origin}: its certificate is not trusted", remedy)
    except OSError as error:
        return Check(name, "fail", f"{origin}: {_reason(error)}", _DNS_NOTE)
    took_ms = (time.monotonic() - started) * 1000
    return Check(name, "ok", f"{origin} takes connections ({took_ms:.0f} ms)")


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    return (error.strerror or type(error).__name__).lower()
