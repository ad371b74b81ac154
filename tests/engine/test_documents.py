"""docs/redis_keys.md and docs/job_states.md, held against what a run through every script does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import redis
from rig.tour import WatchedQueue, tour

from worker.engine.record import TERMINAL, JobState
from worker.engine.scripts import SCRIPT_NAMES

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(text: str, heading: str | None = None) -> dict[str, list[str]]:
    """First column, without its backticks, to the other columns of a table under a heading."""
    part = text if heading is None else text.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    cells = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| `")]
    return {row[0].strip().strip("`"): [cell.strip() for cell in row[1:]] for row in cells}


@pytest.fixture(scope="module")
def keys_text() -> str:
    """docs/redis_keys.md."""
    return (DOCS / "redis_keys.md").read_text(encoding="utf-8")


@pytest.fixture
def toured(client: redis.Redis) -> WatchedQueue:
    """A queue after the run."""
    queue = WatchedQueue(client)
    tour(queue)
    return queue


def test_tour_runs_every_script(toured: WatchedQueue) -> None:
    """The run that the documents are checked against leaves no script out."""
    assert toured.names == set(SCRIPT_NAMES)


def test_keys_are_documented(toured: WatchedQueue, keys_text: str) -> None:
    """Every key in Redis is of a documented name and type, and every documented one is there."""
    table = rows(keys_text.split("## Channels", 1)[0])
    patterns = {
        name: re.compile(re.sub(r"<\w+>", "[^:]+", re.escape(name).replace(r"\<", "<")))
        for name in table
    }
    seen = set()
    for raw in toured.client.scan_iter(count=1000):
        key = raw.decode()
        assert key.startswith(toured.prefix), key
        found = [
            name
            for name, pattern in patterns.items()
            if pattern.fullmatch(key.removeprefix(toured.prefix))
        ]
        assert len(found) == 1, f"{key} is documented {len(found)} times"
        kind = toured.client.type(raw).decode().replace("zset", "sorted set")  # type: ignore[union-attr]
        assert kind == table[found[0]][0], key
        seen.add(found[0])
    assert seen == set(table)


@pytest.mark.parametrize("kind", ["job", "site"])
def test_fields_are_documented(toured: WatchedQueue, keys_text: str, kind: str) -> None:
    """Every field of a record and of a site is documented, and every documented one turns up."""
    table = rows(keys_text, f"Fields of `{kind}:<{'id' if kind == 'job' else 'site'}>`")
    seen: set[str] = set()
    for key in toured.client.scan_iter(f"{toured.key(kind)}:*", count=1000):
        seen |= {name.decode() for name in toured.client.hkeys(key)}  # type: ignore[union-attr]
    # Set between two scripts alone in this run.
    assert seen == set(table)


def test_lifetimes_are_as_documented(toured: WatchedQueue) -> None:
    """What has ended goes by age; what waits, runs or is held, and the site's keys, stay."""
    for raw in toured.client.scan_iter(count=1000):
        rest = raw.decode().removeprefix(toured.prefix)
        kind, _, job_id = rest.partition(":")
        mortal = kind in {"job", "msg", "out", "hist"} and toured.state(job_id) in TERMINAL
        mortal |= rest.endswith((":suspects", ":losses", ":choosy")) or kind == "counts"
        assert (toured.client.pttl(raw) > 0) == mortal, rest


@pytest.fixture(scope="module")
def arrows() -> dict[tuple[str | None, str | None], set[str]]:
    """Arrows of the diagram: states to scripts; None stands for the dot."""
    text = (DOCS / "job_states.md").read_text(encoding="utf-8")
    diagram = text.split("```mermaid", 1)[1].split("```", 1)[0]
    drawn: dict[tuple[str | None, str | None], set[str]] = {}
    for source, target, label in re.findall(r"(\S+) --> (\S+): (.+)", diagram):
        ends = tuple(None if end == "[*]" else str(end) for end in (source, target))
        drawn[ends[0], ends[1]] = set(label.split(", "))
    return drawn


Arrows = dict[tuple[str | None, str | None], set[str]]


def reachable(arrows: Arrows, source: str | None, name: str) -> set[str | None]:
    """States that one call of a script may bring a record to: over one arrow or several."""
    found: set[str | None] = set()
    front: list[str | None] = [source]
    while front:
        here = front.pop()
        for (start, end), names in arrows.items():
            if start == here and name in names and end not in found:
                found.add(end)
                front.append(end)
    return found


def test_every_transition_is_drawn(toured: WatchedQueue, arrows: Arrows) -> None:
    """Whatever a script did to a state, the diagram has its arrow under the script's name."""
    for source, target, name in toured.moves:
        assert target in reachable(arrows, source, name), f"{source} to {target} by {name}"


def test_every_arrow_is_walked(toured: WatchedQueue, arrows: Arrows) -> None:
    """Every arrow under every name was seen in the run; those of age are Redis' own."""
    drawn = {(*ends, name) for ends, names in arrows.items() for name in names if name != "age"}
    # fetch promotes and hands out in one call: its first step is not seen by itself.
    walked = toured.moves | {("delayed", "queued", "fetch")}
    assert drawn - walked == set()


def test_diagram_has_every_state(arrows: Arrows) -> None:
    """The states drawn are the states there are, and only the terminal ones go by age."""
    assert {end for ends in arrows for end in ends} - {None} == {one.value for one in JobState}
    aged = {source for (source, _), names in arrows.items() if "age" in names}
    assert aged == {one.value for one in TERMINAL}


def test_script_list_is_complete() -> None:
    """The text of the states names every script."""
    text = (DOCS / "job_states.md").read_text(encoding="utf-8")
    assert {name for name in SCRIPT_NAMES if f"**{name}**" not in text} == set()
