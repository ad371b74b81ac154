"""T26: one job in ten cannot be read: it is buried with a reason, and the others run."""

from __future__ import annotations

import json

import redis
from rig.figures import Counts
from rig.world import World

PREFIX = "{largesse:0}:"


def _no_json(client: redis.Redis, job_id: str) -> None:
    client.set(f"{PREFIX}msg:{job_id}", b"\xff\xfe{not json")


def _no_fields(client: redis.Redis, job_id: str) -> None:
    client.set(f"{PREFIX}msg:{job_id}", "{}")


def _other_shape(client: redis.Redis, job_id: str) -> None:
    client.set(f"{PREFIX}msg:{job_id}", "[1, 2, 3]")


def _no_message(client: redis.Redis, job_id: str) -> None:
    client.delete(f"{PREFIX}msg:{job_id}")


def _changed(client: redis.Redis, job_id: str, **changes: object) -> None:
    message = json.loads(str(client.get(f"{PREFIX}msg:{job_id}")))
    client.set(f"{PREFIX}msg:{job_id}", json.dumps(message | changes))


def _unknown_actor(client: redis.Redis, job_id: str) -> None:
    _changed(client, job_id, actor_name="no_such_kind")


def _other_arguments(client: redis.Redis, job_id: str) -> None:
    _changed(client, job_id, kwargs={"surprise": 1})


def _other_payload(client: redis.Redis, job_id: str) -> None:
    _changed(client, job_id, kwargs={"payload": 7, "options": None})


def _next_version(client: redis.Redis, job_id: str) -> None:
    client.hset(f"{PREFIX}job:{job_id}", "v", "99")


SPOILERS = (
    _no_json,
    _no_fields,
    _other_shape,
    _no_message,
    _unknown_actor,
    _other_arguments,
    _other_payload,
    _next_version,
)


def test_one_bad_record_in_ten_strands_nobody(world: World, figures: Counts) -> None:
    """T26: the good ones all succeed, the bad ones are all dead letters with a reason."""
    n = 5_000 if world.full else 240
    world.produce_many(n)
    ids = world.log.job_ids()
    bad = ids[::10]
    for place, job_id in enumerate(bad):
        SPOILERS[place % len(SPOILERS)](world.client, job_id)
    fleet = world.started()
    world.wait(timeout_s=120)
    states = {
        job_id: world.client.hmget(f"{PREFIX}job:{job_id}", "state", "reason") for job_id in ids
    }
    assert {states[job_id][0] for job_id in ids if job_id not in bad} == {"succeeded"}
    not_buried = {
        SPOILERS[place % len(SPOILERS)].__name__: states[job_id]
        for place, job_id in enumerate(bad)
        if states[job_id][0] != "failed" or not states[job_id][1]
    }
    assert not_buried == {}
    assert set(world.client.zrange(f"{PREFIX}dead", 0, -1)) == set(bad)
    assert not fleet.deaths
    world.judge(figures, "T26", "one in ten", may_fail=True, bad=len(bad))
