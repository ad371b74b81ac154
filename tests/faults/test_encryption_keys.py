"""T32: the encryption key changes while jobs are enqueued, run and read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rig.figures import Counts
from rig.fleet import Fleet
from rig.invariants import records
from rig.keys import keys
from rig.producing import GIFT
from rig.waiting import until
from rig.world import World

from worker import Producer


class Shop:
    """An app that enqueues all the time, each order twice and an older one again.

    Args:
        world: takes the accepted jobs down.
        ids: ids of its keys, the one that encrypts first.
    """

    def __init__(self, world: World, *ids: str) -> None:
        self._world = world
        self.producer = self._started(*ids)
        self.orders: list[str] = []
        self.repeats = 0
        self.errors: list[Exception] = []
        self.stopped = threading.Event()

    def restart(self, *ids: str) -> None:
        """Go on with other keys."""
        self.producer = self._started(*ids)

    def run(self) -> None:
        """Enqueue until stopped."""
        while not self.stopped.wait(0.01):
            try:
                self._order(len(self.orders))
            except Exception as error:  # noqa: BLE001 - told at the end of the test
                self.errors.append(error)

    def settle(self) -> None:
        """Wait for some more orders."""
        goal = len(self.orders) + (300 if self._world.full else 15)
        until(lambda: len(self.orders) >= goal or self.errors, timeout_s=60, what="more orders")

    def _started(self, *ids: str) -> Producer:
        self._world.producer_env = _with_keys(self._world, *ids)
        return self._world.producer()

    def _order(self, number: int) -> None:
        job = self.producer.gift_checkout(GIFT, key=f"order-{number}")
        self.orders.append(job.id)
        self._world.log.note(key=job.key, job_id=job.id)
        for old in (number, number // 2):
            again = self.producer.gift_checkout(GIFT, key=f"order-{old}")
            assert (again.id, again.accepted) == (self.orders[old], "known")
            self.repeats += 1


@contextmanager
def _selling(shop: Shop) -> Iterator[Shop]:
    """Let a shop enqueue meanwhile."""
    thread = threading.Thread(target=shop.run)
    thread.start()
    try:
        yield shop
    finally:
        shop.stopped.set()
        thread.join(10)


def _with_keys(world: World, *ids: str) -> dict[str, str]:
    return world.env(LARGESSE_ENCRYPTION_KEYS=keys(*ids))


def _worker(world: World, *ids: str) -> Fleet:
    """Start a worker that has these keys, and wait until it is there."""
    fleet = world.fleet(env=_with_keys(world, *ids), size=1, concurrency=8, grace_s=5).start()
    until(lambda: "worker.started" in fleet.output(), timeout_s=30, what="the worker")
    return fleet


def _roll(world: World, workers: list[Fleet], *ids: str) -> None:
    """Replace the workers one after the other by those with other keys."""
    for place, old in enumerate(workers):
        workers[place] = _worker(world, *ids)
        assert old.stop() == [0]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("careful", [True, False], ids=["two steps", "one step"])
def test_encryption_key_rotation_fails_no_job(
    world: World, figures: Counts, careful: bool
) -> None:
    """T32: workers and app go from the old key to the new one; no job fails, waits or doubles."""
    workers = [_worker(world, "old") for _ in range(2)]
    with _selling(Shop(world, "old")) as shop:
        shop.settle()
        if careful:
            _roll(world, workers, "old", "new")
            shop.restart("old", "new")
            shop.settle()
        else:  # the app encrypts with a key that no worker has yet
            shop.restart("new", "old")
            shop.settle()
        _roll(world, workers, "new", "old")
        shop.restart("new", "old")
        shop.settle()
    assert shop.errors == []
    world.wait(timeout_s=90)
    # What was encrypted with the old key is readable as long as it is there.
    results = shop.producer.results.get_many(shop.orders)
    assert {one and (one.state, one.attempts) for one in results.values()} == {("succeeded", 1)}
    marks = [one["mark"].partition(":")[0] for one in records(world.client, shop.orders).values()]
    assert set(marks) == {"old", "new"}
    case = f"encryption key, {'two steps' if careful else 'app first, one step'}"
    world.judge(figures, "T32", case, repeats=shop.repeats, with_old_key=marks.count("old"))
