"""What the overview reads: the whole, one site, and how deep the queue was."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig.shelf import Shelf

from worker.dashboard.snapshot import Snapshot, take


@pytest.fixture
def seen(shelf: Shelf) -> Snapshot:
    """Three jobs of two sites wait, one runs, and the minute was noted."""
    shelf.queue.configure("acme-test", cap=5)
    shelf.queue.configure("globex", cap=5)
    shelf.run(shelf.gift())
    for site in ("acme-test", "globex", "globex"):
        shelf.gift(site=site)
    with shelf.operator() as operator:
        operator.record_depth()
        return take(operator)


def last(chart_rows: list[tuple[str, list[float | None]]]) -> list[float | None]:
    """Give the numbers of the newest minute that has any."""
    return next(values for _, values in reversed(chart_rows) if any(v is not None for v in values))


def test_snapshot_counts_all_sites(seen: Snapshot) -> None:
    """Without a choice everything is counted, and drawn as it was noted."""
    assert (seen.waiting, seen.running, seen.delayed) == (3, 1, 0)
    assert last(seen.depth.rows) == [3, 1]
    assert seen.unhealthy[0].state(seen.now_ms) == "silent"  # a lease of somebody who never spoke


def test_snapshot_of_one_site(seen: Snapshot, shelf: Shelf) -> None:
    """What waits, runs and is oldest are those of the site that was chosen."""
    with shelf.operator() as operator:
        one, other = take(operator, "globex"), take(operator, "acme-test")
        nothing = take(operator, "no-such-site")
    assert (one.waiting, one.running) == (2, 0)
    assert (other.waiting, other.running) == (1, 1)
    assert last(one.depth.rows) == [2, 0]
    assert last(other.depth.rows) == [1, 1]
    assert (nothing.waiting, nothing.oldest_ms) == (0, 0)


def test_depth_is_noted_without_workers(shelf: Shelf) -> None:
    """A dashboard notes the minutes of a queue that nobody works on: once each."""
    shelf.gift()
    with shelf.operator() as operator:
        operator.record_depth()
        operator.record_depth()
        (depth,) = operator.gauge_minutes(2)
    assert depth.total("waiting", "acme-test") == 1


def test_every_drawn_name_has_its_colour() -> None:
    """The style sheet knows each bar and line that the templates may draw."""
    folder = Path(take.__code__.co_filename).parent / "static"
    css = (folder / "dashboard.css").read_text("utf-8")
    for name in ("succeeded", "failed", "expired", "cancelled", "held", "429s", "other-retries"):
        assert f"rect.bar-{name} {{" in css
    for name in ("p50", "p99", "waiting", "in-flight", "oldest"):
        assert f"polyline.line-{name}" in css
        assert f"circle.line-{name}" in css
