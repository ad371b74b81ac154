"""One run through every script and every state, for tests of what is documented."""

from __future__ import annotations

from typing import Any

from rig.queue import LEASE_MS, MAX_DELIVERIES, STREAM_MAX, TTL_MS, Queue, entry
from worker.engine.scripts import Argument

#: A state before, a state after, and the script between; None stands for "no record".
Move = tuple[str | None, str | None, str]


class WatchedQueue(Queue):
    """Notes which script moved a record from which state to which."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.moves: set[Move] = set()
        self.names: set[str] = set()

    def run(self, name: str, *args: Argument) -> Any:
        """Run a script and note what it moved."""
        before = self._states()
        reply = super().run(name, *args)
        after = self._states()
        self.names.add(name)
        for job_id in before.keys() | after.keys():
            move = (before.get(job_id), after.get(job_id), name)
            if move[0] != move[1]:
                self.moves.add(move)
        return reply

    def _states(self) -> dict[str, str | None]:
        start = self.key("job:")
        keys = [key.decode() for key in self.client.scan_iter(f"{start}*", count=1000)]
        return {key: self.state(key.removeprefix(start)) for key in keys}


def tour(queue: Queue) -> None:
    """Bring jobs through every transition; leaves some in each state."""
    queue.configure("paced", interval_ms=400, burst_ms=1_200, cap=5, key_mark="1f0c2a9e")
    queue.run("rate", "paced", "600", 100, 200)
    _good_days(queue)
    _worker_troubles(queue)
    _setting_aside(queue)
    _persons(queue)
    _messages(queue)
    _rest(queue)
    _refused_key(queue)
    _left_out_site(queue)
    _followed(queue)


def _left_out_site(queue: Queue) -> None:
    queue.run("layout", 1, 1, 0)
    args = ("calls", "w", 0, LEASE_MS, MAX_DELIVERIES, TTL_MS, STREAM_MAX, 1, "")
    queue.run("fetch", *args, "hung", 0)
    queue.add("rung")


def _followed(queue: Queue) -> None:
    queue.run("join", "away", "0")
    queue.run("trim", 10, 60_000, 10, 100)
    queue.client.hset(queue.key("missed"), "count told", "1")
    queue.run("missed", "told", 1)
    queue.run("behind", "0-0", 10)


def _refused_key(queue: Queue) -> None:
    queue.configure("locked", key_mark="9e2a0c1f")
    queue.add("locked-out", site="locked")
    lease = queue.take("locked-out")
    queue.retry(lease, counted=False, trip_reason="api_authentication_failed", key_mark="9e2a0c1f")


def _good_days(queue: Queue) -> None:
    queue.add("ok", site="paced", key="order-1", deadline_ms=3_600_000, parts=b"\x09")
    queue.add("later", delay_ms=1_000)
    lease = queue.take("ok")
    queue.renew(lease)
    queue.finish(lease, attempt='{"status":200}')
    queue.passes(1_000)
    queue.finish(queue.take("later"))
    queue.add("quick", site="both")
    queue.add("bulk", site="both", lane="bulk")
    for job_id in ("quick", "bulk"):
        queue.finish(queue.take(job_id))
    queue.add("past", "past-2")
    first, second = queue.fetch(2).leases
    queue.finish(first, state="expired")
    queue.finish(second, state="failed")


def _worker_troubles(queue: Queue) -> None:
    queue.add("back")
    queue.release(queue.take("back"), unsure=True)
    queue.take("back")
    queue.run("reclaim", "calls", "w")
    lease = queue.take("back")
    queue.retry(lease, delay_ms=1_000, attempt='{"status":503}', throttle_site_ms=500)
    queue.passes(1_000)
    queue.retry(queue.take("back"), unsure=True, new_epoch=True)
    queue.finish(queue.take("back"))
    queue.add("poison", site="other")
    for _ in range(MAX_DELIVERIES):
        queue.take("poison")
        queue.passes(LEASE_MS)
        queue.fetch(0)
    queue.add("bare", "newer")
    queue.client.delete(queue.key("msg:bare"))
    queue.client.hset(queue.key("job:newer"), "v", "3")
    queue.fetch()


def _setting_aside(queue: Queue) -> None:
    queue.add("dead", "held", "held-2", "held-3")
    dead, *held = queue.fetch().leases
    queue.bury(dead, attempt="{}")
    for lease in held:
        queue.bury(lease, state="held")
    queue.replay("held-2", new_key=True)
    queue.finish(queue.take("held-2"))
    queue.discard("held-3")
    queue.add("late", deadline_ms=1_000)
    queue.add("later-late", deadline_ms=1_000, delay_ms=50_000)
    queue.passes(1_000)
    queue.fetch(0)


def _persons(queue: Queue) -> None:
    queue.add("off")
    queue.cancel("off")
    queue.add("off-delayed", delay_ms=50_000)
    queue.cancel("off-delayed")
    queue.add("off-held")
    queue.bury(queue.take("off-held"), state="held")
    queue.cancel("off-held")
    for job_id in ("off-running", "off-lapsed", "off-given"):
        queue.add(job_id)
        lease = queue.take(job_id)
        queue.cancel(job_id)
        if job_id == "off-running":
            queue.retry(lease)
        elif job_id == "off-lapsed":
            queue.passes(LEASE_MS)
            queue.fetch(0)
        else:
            queue.release(lease)
            queue.fetch()
    for job_id in ("dead", "late", "off"):
        queue.replay(job_id)
        queue.finish(queue.take(job_id))


def _messages(queue: Queue) -> None:
    def message(job_id: str, mark: str = "1", **options: Any) -> Any:
        return entry(job_id, mode="message", mark=mark, site="-", **options)

    queue.enqueue(message("m"))
    follow = [message("m-next"), message("m-late", delay_ms=90_000)]
    queue.finish(queue.take("m"), outcome='{"result":1}', follow=follow)
    queue.bury(queue.take("m-next"), follow=[message("n"), message("n-late", delay_ms=90_000)])
    queue.enqueue(message("m-next", "2"))
    leases = queue.fetch().leases
    for lease in leases:
        queue.finish(lease, follow=[message(lease.id, "3", delay_ms=1_000)])
    queue.passes(1_000)
    first, second = queue.fetch().leases
    queue.enqueue(message(first.id, "4"), message(second.id, "4"))
    queue.bury(first)
    queue.finish(second)
    first, second = queue.fetch().leases
    queue.bury(first)
    queue.finish(second)
    queue.enqueue(message(first.id, "5", delay_ms=90_000), message(second.id, "5"))
    queue.finish(queue.take(second.id))
    queue.enqueue(message(second.id, "6", delay_ms=90_000))


def _rest(queue: Queue) -> None:
    queue.add("suspect", site="other")
    for _ in range(MAX_DELIVERIES - 1):
        queue.take("suspect")
        queue.passes(LEASE_MS)
        queue.fetch(0)
    queue.take("suspect")
    queue.add("next", site="next")
    queue.client.hset(queue.key("job:next"), "v", "2")
    queue.fetch()
    queue.add("down", site="down")
    for _ in range(10):
        queue.retry(queue.take("down"), failing=True)
    queue.cancel("down")
    queue.add("flushed", queue="scrap")
    queue.add("flushed-late", queue="scrap", delay_ms=90_000)
    queue.run("flush", "scrap", 10)
    queue.run("pause", "closed", "401")
    queue.run("resume", "closed")
    queue.run("pause", "closed", "401")
    queue.add("waits", "runs", "delayed", delay_ms=90_000, deadline_ms=900_000)
    queue.add("waiting", site="closed")
    queue.add("again", mode="message", site="-")
    queue.take("again")
    queue.enqueue(entry("again", mode="message", mark="2", site="-", delay_ms=5))
    queue.add("asked")
    queue.take("asked")
    queue.cancel("asked")
    queue.add("doubt")
    queue.retry(queue.take("doubt"), unsure=True, throttle_site_ms=90_000, delay_ms=90_000)
    queue.add("rings", queue="bells")
    queue.run("depth", "calls")
    queue.run("explain", "waits")
