"""The bulk lane goes on while interactive jobs use the whole rate of a site."""

from __future__ import annotations

import pytest
from rig.queue import Queue


def fill(queue: Queue, n: int) -> None:
    """Enqueue so many jobs in each lane."""
    queue.add(*(f"quick-{number:03d}" for number in range(n)))
    queue.add(*(f"bulk-{number:03d}" for number in range(n)), lane="bulk")


def run(queue: Queue, n: int, at_once: int = 1) -> list[str]:
    """Run so many jobs; their lanes."""
    lanes: list[str] = []
    while len(lanes) < n:
        leases = queue.fetch(min(at_once, n - len(lanes))).leases
        assert leases
        lanes += [lease.id.partition("-")[0] for lease in leases]
        for lease in leases:
            queue.finish(lease)
    return lanes


@pytest.mark.parametrize("at_once", [1, 4, 64])
def test_bulk_gets_one_call_in_ten_while_both_lanes_wait(queue: Queue, at_once: int) -> None:
    """For fetches of any size, and in the order of each lane."""
    queue.configure()
    fill(queue, 100)
    lanes = run(queue, 100, at_once)
    assert lanes.count("bulk") == 10
    assert [place for place, lane in enumerate(lanes) if lane == "bulk"] == list(range(9, 100, 10))


def test_bulk_share_is_a_setting(queue: Queue) -> None:
    """One call in two."""
    queue.configure(bulk_every=2)
    fill(queue, 20)
    assert run(queue, 20, 7).count("bulk") == 10


def test_bulk_share_of_none_is_a_strict_order(queue: Queue) -> None:
    """All interactive jobs come first."""
    queue.configure(bulk_every=0)
    fill(queue, 30)
    assert run(queue, 60, 8) == ["quick"] * 30 + ["bulk"] * 30


def test_lane_alone_gets_every_call(queue: Queue) -> None:
    """A lane that waits alone shares with nobody."""
    queue.configure()
    fill(queue, 10)
    assert run(queue, 20, 5).count("bulk") == 10
    queue.add(*(f"quick-{number}" for number in range(200, 215)))
    assert run(queue, 15) == ["quick"] * 15
