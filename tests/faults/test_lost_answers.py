"""T17 and T18: the page was made and the answer lost, inside and outside the API's window."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rig.figures import Counts
from rig.invariants import PREFIX, QUEUE
from rig.moved import MovedOperator, pass_time
from rig.waiting import until
from rig.world import World

from worker.errors import ReplayRefusedError
from worker.settings import Settings

#: Ways to lose an answer after the request was executed.
LOSSES: list[dict[str, Any]] = [
    {"fault": "reset", "execute": True},
    {"fault": "close", "after_bytes": 0},
    {"fault": "close"},
    {"fault": "close", "rst": True},
    {"fault": "error", "status": 502, "execute": True},
    {"fault": "truncated_json"},
]
#: Minutes at which a lost answer is asked for again, and whether the window is still open then.
MINUTES = {24: True, 29: False, 31: False, 60: False}
SITE = "acme-test"


def test_lost_answers_are_replayed(world: World, figures: Counts) -> None:
    """T17: every call's first answer is lost; each page is made once and found again."""
    n = 1_000 if world.full else 60
    size = n // len(LOSSES)
    for place, loss in enumerate(LOSSES):
        last = n if place == len(LOSSES) - 1 else (place + 1) * size
        world.api.admin.add_fault(times=last - place * size, **loss)
    world.started(concurrency=n)
    world.produce_many(n)
    _keep_open(world, enough=n)
    world.wait(timeout_s=60)
    history = _histories(world)
    lost = sum("error" in one for rows in history for one in rows)
    counts = world.api.admin.counts()
    world.judge(
        figures,
        "T17",
        "answer lost after the page was made",
        ambiguous=lost,
        replayed=counts["replayed"],
        pages=counts["pages"],
    )
    assert counts["pages"] == n
    assert counts["replayed"] == lost == n


def _histories(world: World) -> list[list[dict[str, Any]]]:
    rows = [world.client.lrange(f"{PREFIX}hist:{one}", 0, -1) for one in world.log.job_ids()]
    return [[json.loads(one) for one in row] for row in rows]


def _keep_open(world: World, *, enough: int) -> None:
    """Resume the site when the failures in a row tripped it, as a person would."""
    with MovedOperator(Settings.from_env(world.env())) as operator:

        def go_on() -> bool:
            if world.client.hexists(f"{PREFIX}site:{SITE}", "tripped"):
                operator.resume(SITE)
            return world.published() >= enough

        until(go_on, timeout_s=120, every_s=0.1, what="the results")


def _lose(world: World, operator: MovedOperator, n: int, *, prefix: str) -> list[str]:
    """Lose the answers of n jobs, with the site paused before any is repeated; their ids."""
    site = world.api.site
    known = len(world.log.rows)
    world.api.admin.add_fault("reset", execute=True, times=n, site=site)
    made = world.api.admin.counts()["pages"]
    world.produce(n, prefix=prefix)
    until(lambda: world.api.admin.counts()["pages"] >= made + n, what="the lost pages")
    operator.pause(site)
    ids = world.log.job_ids()[known:]
    until(
        lambda: all(world.client.hget(f"{PREFIX}job:{one}", "unsure_since") for one in ids),
        what="the unknown outcomes",
    )
    until(
        lambda: world.client.zcard(f"{PREFIX}q:{QUEUE}:delayed") == 0,
        what="the jobs back in their line",
    )
    return ids


@pytest.mark.parametrize("choice", ["hold", "reissue"])
def test_window_edge_makes_no_second_page_in_silence(
    world: World, figures: Counts, choice: str
) -> None:
    """T18: at 24 minutes the page is found again; later a person, or a new key, and it is said."""
    n = 9 if world.full else 4  # ten failures in a row would trip the site
    # No lease lapses when the clock moves: nothing is in flight then but what was lost.
    env = world.env(LARGESSE_ON_AMBIGUOUS=choice, LARGESSE_LEASE_MS=600_000)
    world.started(env=env, moved=True, size=1)
    with MovedOperator(Settings.from_env(env)) as operator:
        rows = {}
        for minutes in MINUTES:
            ids = _lose(world, operator, n, prefix=f"at-{minutes}")
            pass_time(world.client, minutes * 60, api=world.api.admin)
            operator.resume(world.api.site)
            world.wait(timeout_s=20)
            rows[minutes] = _states_and_orphans(world, ids)
        replays = _replay_held(operator)
    world.wait(timeout_s=30)
    pages = world.api.admin.counts()["pages"]
    orphans = sum(
        int(world.client.hget(f"{PREFIX}job:{one}", "orphans") or 0) for one in world.log.job_ids()
    )
    verdict = world.judge(
        figures,
        "T18",
        choice,
        minutes={str(minutes): row for minutes, row in rows.items()},
        pages=pages,
        orphans_recorded=orphans,
        replays=replays,
    )
    assert pages == verdict.n + orphans, "a page that nobody knows of"
    late = sum(not open_ for open_ in MINUTES.values()) * n
    assert orphans == late
    for minutes, is_open in MINUTES.items():
        if is_open:
            assert rows[minutes] == {"succeeded": n, "orphans": 0}
        elif choice == "hold":
            assert rows[minutes] == {"held": n, "orphans": 0}
        else:
            assert rows[minutes] == {"succeeded": n, "orphans": n}
    if choice == "hold":
        assert replays == {"refused": late, "new_key": late}


def _states_and_orphans(world: World, ids: list[str]) -> dict[str, int]:
    found: dict[str, int] = {"orphans": 0}
    for one in ids:
        state, orphans = world.client.hmget(f"{PREFIX}job:{one}", "state", "orphans")
        found[state] = found.get(state, 0) + 1
        found["orphans"] += int(orphans or 0)
    return found


def _replay_held(operator: MovedOperator) -> dict[str, int]:
    """Replay every held job, first with its own key: refused; then with a new one."""
    ids = [one.job_id for one in operator.held()]
    counted = {"refused": 0, "new_key": 0}
    for one in ids:
        try:
            operator.replay(one)
        except ReplayRefusedError:
            counted["refused"] += 1
            operator.replay(one, new_key=True)
            counted["new_key"] += 1
    return counted
