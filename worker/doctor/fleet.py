"""The fleet on a queue: workers that are there, leases nobody takes back, sites that stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import redis

from worker.engine.keys import Keyspace
from worker.engine.queue_clock import queue_now_ms
from worker.engine.redis_errors import speaking_to_redis
from worker.metrics.follower_groups import FollowerGroup, read_follower_groups
from worker.operator.durations import spell_ms
from worker.operator.queue_state import read_queues
from worker.operator.site_state import SiteState, read_sites
from worker.operator.worker_state import KeyHolder, WorkerState, key_holders, read_workers
from worker.process.check import Check
from worker.settings.environment import DEFAULT_STREAM_MAX_AGE_S, DEFAULT_STREAM_MAX_LEN
from worker.version import __version__

__all__ = ["check_fleet"]

#: Milliseconds that something due may lie around: any worker's next fetch takes it, and an idle
#: one looks every four seconds.
OVERDUE_MS: Final = 30_000
#: Seconds by which a group may be behind, and the share of the age and the length that are cut.
BEHIND_S: Final = 86_400
BEHIND_SHARE: Final = 0.5
#: Names that are told of many.
NAMES: Final = 3

_START: Final = "Start one: largesse worker. Is it on this Redis and namespace?"


def check_fleet(
    client: redis.Redis,
    keyspace: Keyspace,
    sites: AbstractSet[str],
    *,
    stream_max_len: int = DEFAULT_STREAM_MAX_LEN,
    stream_max_age_s: int = DEFAULT_STREAM_MAX_AGE_S,
) -> Iterator[Check]:
    """Check who works on the queue, and whether anything lies around that should not.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.
        sites: names of the sites that the settings know.
        stream_max_len: entries of a shard beyond which outcomes are cut.
        stream_max_age_s: seconds after which they are cut.

    Raises:
        BrokerUnavailableError: Redis is unreachable.
    """
    with speaking_to_redis():
        now_ms = queue_now_ms(client, keyspace)
    workers = read_workers(client, keyspace)
    queues = read_queues(client, keyspace)
    jobs = sum(sum(one.waiting.values()) + one.delayed + one.running for one in queues)
    yield _check_workers(workers, now_ms, jobs)
    yield _check_versions(workers, now_ms)
    if keyspace.cipher.keys or any(one.seen and one.seen.encryption_keys for one in workers):
        yield _check_encryption(workers, now_ms, keyspace.cipher.key_ids)
    yield _check_overdue(client, keyspace, [one.name for one in queues], now_ms)
    groups = read_follower_groups(client, keyspace)
    yield _check_followers(groups, stream_max_len, stream_max_age_s)
    for site in read_sites(client, keyspace):
        yield from _check_site(site, now_ms, sites)
        yield from _check_keys(site, key_holders(workers, site.name, now_ms))


def _check_workers(workers: Sequence[WorkerState], now_ms: int, jobs: int) -> Check:
    states = {one.worker: one.state(now_ms) for one in workers}
    counts = Counter(states.values())
    stuck = [one for one in workers if states[one.worker] == "stuck"]
    if stuck:
        found = f"{len(stuck)} stuck: {_names(stuck)}: {stuck[0].seen and stuck[0].seen.why}"
        remedy = "Look at its log, then restart it: the other workers take over its jobs."
        return Check("workers", "fail", found, remedy)
    if not counts["busy"] + counts["idle"]:
        if jobs:
            return Check("workers", "fail", f"no worker runs, and {_jobs(jobs)} queued", _START)
        return Check("workers", "warn", "no worker runs", _START)
    found = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    if counts["lost"]:
        lost = [one for one in workers if states[one.worker] == "lost"]
        remedy = "They were killed or cannot reach Redis: look at their logs and exit codes."
        return Check("workers", "warn", f"{found}; lost: {_names(lost)}", remedy)
    return Check("workers", "ok", found)


def _jobs(count: int) -> str:
    return "1 job is" if count == 1 else f"{count} jobs are"


def _groups(count: int) -> str:
    return "1 group" if count == 1 else f"{count} groups"


def _names(workers: Sequence[WorkerState]) -> str:
    shown = ", ".join(one.worker for one in workers[:NAMES])
    return shown + (f" and {len(workers) - NAMES} more" if len(workers) > NAMES else "")


def _check_versions(workers: Sequence[WorkerState], now_ms: int) -> Check:
    """Compare with the versions of the workers that are there."""
    there = {one.seen.version for one in workers if one.seen and not one.seen.is_lost(now_ms)}
    others = sorted(there - {__version__})
    if not others:
        return Check("versions", "ok", f"Largesse {__version__}")
    found = f"this is {__version__}, workers are {', '.join(sorted(there))}"
    return Check("versions", "warn", found, "Finish the upgrade: workers first, then producers.")


def _check_encryption(workers: Sequence[WorkerState], now_ms: int, own: Sequence[str]) -> Check:
    """Compare the keys here with those of the workers that are there: each must read the other."""
    there = [(one, one.seen) for one in workers if one.seen and not one.seen.is_lost(now_ms)]
    lacking = [one for one, seen in there if own and own[0] not in seen.encryption_keys]
    foreign = {seen.encryption_keys[0] for _, seen in there if seen.encryption_keys} - set(own)
    found = f"key {own[0]} encrypts, of {', '.join(own)}" if own else "no key here"
    if lacking:
        found += f"; {len(lacking)} of {len(there)} workers lack it: {_names(lacking)}"
        remedy = f"Add key {own[0]} to their LARGESSE_ENCRYPTION_KEYS: they hold its jobs."
        return Check("encryption", "fail", found, remedy)
    if foreign:
        found += f"; workers encrypt with {', '.join(sorted(foreign))}, which is not here"
        remedy = "Add it to LARGESSE_ENCRYPTION_KEYS, behind the first, or results stay unread."
        return Check("encryption", "warn", found, remedy)
    return Check("encryption", "ok", found)


def _check_overdue(
    client: redis.Redis, keyspace: Keyspace, queues: Sequence[str], now_ms: int
) -> Check:
    """Count leases that lapsed and jobs that were due long ago, which any fetch would take."""
    last_ms = now_ms - OVERDUE_MS
    stems = [
        f"{keyspace.prefix(shard)}q:{name}:" for shard in range(keyspace.shards) for name in queues
    ]
    with speaking_to_redis():
        pipe = client.pipeline(transaction=False)
        for stem in stems:
            pipe.zcount(f"{stem}leases", 0, last_ms)
            pipe.zrange(f"{stem}leases", 0, 0, withscores=True)
            pipe.zcount(f"{stem}delayed", 0, last_ms)
        replies: list[Any] = pipe.execute()
    lapsed, due = sum(replies[0::3]), sum(replies[2::3])
    if not lapsed and not due:
        return Check("leases", "ok", "no lapsed lease, no overdue job")
    oldest_ms = min((int(row[0][1]) for row in replies[1::3] if row), default=now_ms)
    found = f"{lapsed} lapsed, and no worker took them; {due} delayed and overdue"
    if lapsed:
        found += f", the oldest for {spell_ms(now_ms - oldest_ms)}"
    remedy = "No worker fetches from this queue: start or restart one (largesse worker)."
    return Check("leases", "fail", found, remedy)


def _check_followers(groups: Sequence[FollowerGroup], max_len: int, max_age_s: int) -> Check:
    """Name groups that are far behind: in the end their outcomes are cut."""
    behind_ms = 1000 * min(BEHIND_S, BEHIND_SHARE * max_age_s)
    behind = [
        one
        for one in groups
        if one.missed or one.age_ms > behind_ms or one.shard_lag > BEHIND_SHARE * max_len
    ]
    if not behind:
        lag = sum(one.lag for one in groups)
        return Check("followers", "ok", f"{_groups(len(groups))}, {lag} outcomes not handled yet")
    shown = "; ".join(
        f"{one.name}: {one.lag} outcomes, the oldest {spell_ms(one.age_ms)} old"
        + (f", {one.missed} cut" if one.missed else "")
        for one in behind[:NAMES]
    )
    remedy = (
        f"Start its app, or remove the group: XGROUP DESTROY. Outcomes are cut after "
        f"{spell_ms(1000 * max_age_s)} or beyond {max_len}."
    )
    return Check("followers", "warn", shown, remedy)


def _check_site(site: SiteState, now_ms: int, known: AbstractSet[str]) -> Iterator[Check]:
    name = f"site {site.name}"
    held = {
        "paused": (site.paused_reason, site.paused_at_ms, "When calls may go on"),
        "tripped": (
            site.tripped_reason,
            site.tripped_at_ms,
            "A probe tries it from time to time. To end it now",
        ),
    }
    for state, (reason, at_ms, when) in held.items():
        if reason is not None:
            since = "" if at_ms is None else f" for {spell_ms(now_ms - at_ms)}"
            found = f"{state}{since}: {reason}; {site.backlog} in line"
            yield Check(name, "warn", found, f"{when}: largesse sites resume {site.name}")
    if site.unserved_since_ms is not None and site.state(now_ms) == "unserved":
        span = spell_ms(now_ms - site.unserved_since_ms)
        found = f"no living worker has had a key for it for {span}"
        remedy = "Give a worker the site and its key (LARGESSE_SITES), or cancel the jobs."
        yield Check(name, "fail", f"{found}; {site.backlog} in line", remedy)
    # A budget of its own has the name of its site in front.
    elif site.backlog and known and site.name.partition("/")[0] not in known | {"-"}:
        found = f"{site.backlog} in line, and the settings here do not know the site"
        yield Check(name, "warn", found, "Give workers its key, or cancel the jobs.")


def _check_keys(site: SiteState, holders: Sequence[KeyHolder]) -> Iterator[Check]:
    """Name the workers whose key is missing or refused, and those with other limits."""
    bad = [one for one in holders if one.problem]
    if bad:
        shown = "; ".join(map(str, bad[:NAMES])) + ("" if len(bad) <= NAMES else "; and more")
        remedy = "Set the site's valid key on these hosts. Workers with a good key go on."
        found = f"{len(bad)} of {len(holders)} workers have no good key: {shown}"
        yield Check(f"keys {site.name}", "warn", found, remedy)
    if site.limits_differ:
        said = "; ".join(f"{worker}: {text}" for worker, text in site.limits_differ.items())
        remedy = "Give all workers the same settings. Until then the lowest limits hold."
        yield Check(f"limits {site.name}", "warn", f"workers differ: {said}", remedy)
