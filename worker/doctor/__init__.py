"""What `largesse doctor` looks at: each check says what it found and what to do about it.

settings -> Redis itself -> what is in it -> the fleet on it -> each site at the API
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from worker.errors import BrokerError, SettingsError
from worker.process.check import Check

__all__ = ["Check", "check_all"]


def check_all(environ: Mapping[str, str] | None = None, *, calls: bool = True) -> Iterator[Check]:
    """Check the settings, then Redis, the fleet and each site; yields what is known at once.

    Args:
        environ: the variables; the process's own when None.
        calls: send one harmless request to each site, which tells whether its key is valid.
    """
    from worker.doctor.api import check_sites  # noqa: PLC0415 - heavy
    from worker.doctor.fleet import check_fleet  # noqa: PLC0415
    from worker.doctor.keys import check_keys  # noqa: PLC0415
    from worker.engine.connection import PRODUCER, connect  # noqa: PLC0415
    from worker.engine.keys import Keyspace  # noqa: PLC0415
    from worker.process.redis_checks import check_redis, unreachable  # noqa: PLC0415
    from worker.settings import Settings  # noqa: PLC0415
    from worker.settings.unknown_variables import unknown_variables  # noqa: PLC0415

    settings: Settings | None = None
    try:
        settings = Settings.from_env(environ)
        count = len(settings.sites)
        yield Check("settings", "ok", f"read, with {count} site{'s' if count != 1 else ''}")
    except SettingsError as error:
        yield Check("settings", "fail", f"{error.variable} {error.problem}", error.remedy)
    given = os.environ if environ is None else environ
    for name, remedy in unknown_variables(given, settings).items():
        yield Check("variables", "warn", f"{name} is no setting of Largesse", remedy)
    if settings is None:
        return
    keyspace = Keyspace.of(settings)
    try:
        client = connect(settings.redis, PRODUCER)
    except BrokerError as error:
        yield unreachable(str(settings.redis), error)
        yield from check_sites(settings, calls=calls)
        return
    try:
        is_there = False
        for check in check_redis(client, str(settings.redis)):
            yield check
            is_there = check.name != "redis" or check.status == "ok"
        if is_there:
            yield from _as_far_as_it_goes(check_keys(client, keyspace))
            fleet = check_fleet(
                client, keyspace, frozenset(settings.sites),
                stream_max_len=settings.stream_max_len, stream_max_age_s=settings.stream_max_age_s,
            )  # fmt: skip
            yield from _as_far_as_it_goes(fleet)
    finally:
        client.close()
    yield from check_sites(settings, calls=calls)


def _as_far_as_it_goes(checks: Iterator[Check]) -> Iterator[Check]:
    """Go on with what comes after when Redis leaves, or does not let this user look."""
    try:
        yield from checks
    except BrokerError as error:
        remedy = "Try again when Redis is back, or let the user read all keys (ACL: +@read ~*)."
        yield Check("queue", "fail", str(error.args[0]), remedy)
