"""docs/guarantees.md on what Redis keeps, each row of its tables made to happen."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rig.producing import GIFT
from rig.server import RedisServer
from rig.waiting import until

from worker import Producer, QueueFullError, Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guarantees.md").read_text(encoding="utf-8")
#: Jobs before a snapshot, and jobs after it.
EARLY, LATE = 20, 10


def rows(heading: str) -> list[list[str]]:
    """Cells of the table under a heading, its head left out."""
    section = PAGE.split(f"\n### {heading}\n")[1].split("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def config_of(cell: str) -> dict[str, str]:
    """Read directives such as `appendonly yes` out of a cell."""
    return dict(words.split() for words in re.findall(r"`(\w+ \w+)`", cell))


def enqueue(producer: Producer, first: int, n: int) -> list[str]:
    """Enqueue n jobs; gives their ids."""
    specs = [
        {"kind": "gift_checkout", "payload": GIFT, "key": f"order-{number}"}
        for number in range(first, first + n)
    ]
    return [job.id for job in producer.enqueue_many(specs)]


def kept(server: RedisServer, ids: list[str]) -> int:
    """Count the jobs that are still there."""
    with server.client() as client:
        return sum(bool(client.exists(f"{{largesse:0}}:job:{job_id}")) for job_id in ids)


def pending_bytes(server: RedisServer) -> int:
    """How much the server has still to write to its AOF."""
    with server.client() as client:
        about: dict[str, int] = client.info("persistence")  # type: ignore[assignment]
    return about["aof_buffer_length"]


def producer_on(server: RedisServer) -> Producer:
    """A producer on a server of the test's own."""
    return Producer(Settings.from_env({"LARGESSE_REDIS_URL": server.url, "CHARGEBEE_SITE": "a"}))


@pytest.mark.parametrize(
    ("configuration", "killed"), [row[:2] for row in rows("On one server")], ids=lambda one: one
)
def test_killed_server_keeps_what_the_row_says(
    redis_server_factory: Callable[..., RedisServer], configuration: str, killed: str
) -> None:
    """Accepted, killed, started again: all, those of the last snapshot, or none are there."""
    server = redis_server_factory(config=config_of(configuration))
    with producer_on(server) as producer:
        ids = enqueue(producer, 0, EARLY)
        if "snapshots" in configuration:
            with server.client() as client:
                client.save()
        ids += enqueue(producer, EARLY, LATE)
    if "when the disk is slow" in killed:  # of a disk that keeps up nothing waits to be written
        until(lambda: pending_bytes(server) == 0, what="an empty buffer of the AOF")
    server.restart(kill=True)
    left = {
        "nothing is lost": EARLY + LATE,
        "everything since the last one": EARLY,
        "everything": 0,
    }
    assert kept(server, ids) == left[killed.split(";", maxsplit=1)[0]]


@pytest.mark.parametrize("row", rows("When memory is full"), ids=lambda row: row[0])
def test_full_server_does_what_the_row_says(
    redis_server_factory: Callable[..., RedisServer], row: list[str]
) -> None:
    """Filled to the brim: refused with all kept, results gone, or jobs gone in silence."""
    policy = row[0].strip("`").replace("*", "lru")
    server = redis_server_factory(config={"maxmemory-policy": policy})
    with server.client() as client:
        for number in range(50):
            client.set(f"{{largesse:0}}:out:{number}", "x" * 1000, px=3_600_000)
        used: int = client.info("memory")["used_memory"]  # type: ignore[index,assignment]
        client.config_set("maxmemory", used + 1_000_000)
        ids: list[str] = []
        refused = False
        with producer_on(server) as producer:
            while len(ids) < 3_000 and not refused:
                try:
                    ids += enqueue(producer, len(ids), 100)
                except QueueFullError:
                    refused = True
        results = len(list(client.scan_iter("{largesse:0}:out:*", count=1000)))
    lost = kept(server, ids) < len(ids)
    found = {"noeviction": (True, 50, False), "volatile-lru": (True, 0, False)}
    if policy == "allkeys-lru":
        assert (refused, lost) == (False, True)
    else:
        assert (refused, results, lost) == found[policy]
