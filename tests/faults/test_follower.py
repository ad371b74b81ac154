"""T38: a follower that was away gets every outcome, or is told how many it missed."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from rig.figures import Counts
from rig.waiting import until
from rig.world import World

from worker import OutcomesMissedError, ResultReader, Settings

#: Seconds in which some look of a worker has trimmed the stream.
TRIMMED_S = 30
#: The shortest age of the settings.
AGE_S = 60


def _follow(world: World, group: str, *, timeout_s: float = 2.0) -> tuple[list[str], list[Any]]:
    """Follow until nothing comes any more: ids, and what was missed."""
    ids: list[str] = []
    missed: list[Any] = []
    with ResultReader(Settings.from_env(world.env())) as reader:
        while True:
            try:
                ids += [one.job_id for one in reader.follow(group, timeout=timeout_s)]
            except OutcomesMissedError as error:
                missed.append((error.group, error.count))
            else:
                return ids, missed


def _first(world: World, group: str) -> str:
    """Make a group that has handled one outcome."""
    with (
        ResultReader(Settings.from_env(world.env())) as reader,
        closing(reader.follow(group, timeout=20)) as follower,
    ):
        return next(follower).job_id


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kept", [100_000, 1_000], ids=["week", "net"])
def test_follower_that_was_away_loses_no_outcome_in_silence(
    world: World, figures: Counts, kept: int
) -> None:
    """With room for all it gets all; behind the net the rest, and how many are gone."""
    n = 6_000 if world.full else 2_000
    world.api.admin.set(latency_ms=0)
    world.started(env=world.env(LARGESSE_STREAM_MAX_LEN=kept), concurrency=128)
    world.produce(1, prefix="first")
    first = _first(world, "away")
    world.produce_many(n)
    world.wait(timeout_s=200)
    if kept < n:
        until(lambda: world.published() <= kept, timeout_s=TRIMMED_S, what="the trim")
    ids, missed = _follow(world, "away")
    got, told = len(set(ids)), sum(count for _, count in missed)
    # The first outcome was in hand and not handled: it is given again, or missed as well.
    assert (got, told) == ((n + 1, 0) if kept > n else (kept, n + 1 - kept))
    assert (first in ids) == (kept > n)
    assert len(missed) == (1 if kept < n else 0)
    assert _follow(world, "away") == ([], [])
    name = f"away for {n} endings, {kept} kept"
    figures.note("T38", name, **_row(world, n + 1, got, told))


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_group_that_was_removed_is_told_when_it_returns(world: World, figures: Counts) -> None:
    """Nobody read it for the age of an entry: it holds nothing back, and is told all the same."""
    n = 2_000
    world.api.admin.set(latency_ms=0)
    world.started(
        env=world.env(LARGESSE_STREAM_MAX_AGE_S=AGE_S, LARGESSE_STREAM_MAX_LEN=100_000),
        concurrency=128,
    )
    world.produce(1, prefix="first")
    _first(world, "away")
    world.produce_many(n)
    world.wait(timeout_s=200)
    until(lambda: world.published() == 0, timeout_s=AGE_S + TRIMMED_S, what="the cut by age")
    world.produce(5, prefix="last")
    world.wait(timeout_s=60)
    ids, missed = _follow(world, "away")
    got, told = len(set(ids)), sum(count for _, count in missed)
    assert (got, told, len(missed)) == (5, n + 1, 1)
    name = f"removed after {AGE_S} s, then back"
    figures.note("T38", name, **_row(world, n + 6, got, told))


def _row(world: World, n: int, got: int, told: int) -> dict[str, Any]:
    size = "full" if world.full else "quick"
    return {"n": n, "size": size, "given": got, "told_as_missed": told, "silent": n - got - told}
