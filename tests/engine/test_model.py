"""Thousands of random moves on the Lua scripts, each checked against a model in plain Python."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import redis
from dramatiq import Message
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from rig.figures import Counts
from rig.queue_model import LEASE_S, MAX_DELIVERIES, WINDOW_S, Job, QueueModel, Site
from rig.server import RedisServer

from worker.engine.delivery import Batch
from worker.engine.keys import Keyspace
from worker.engine.scripts import Scripts

QUEUE = "calls"
SITES = (Site("free"), Site("narrow", max_in_flight=2), Site("slow", interval_s=15))
TTL_MS = 10**9
STREAM_MAX = 10**6

PICK = st.integers(0, 10**6)
#: Seconds: none, or one that ends on a 5, off the grid of the clock.
SPAN = st.sampled_from([0, 0, 0, 5, 15, 45])
RARELY = st.sampled_from([False, False, False, True])
LANE = st.sampled_from(["interactive", "bulk"])
WORKER = st.sampled_from("uvwxyz")


def after_a_delivery(machine: QueueMachine) -> bool:
    """Say whether anything was ever handed out."""
    return bool(machine.deliveries)


class QueueMachine(RuleBasedStateMachine):
    """Moves of producers, workers, operators and time."""

    #: Steps that were checked, of all runs.
    steps = 0

    client: redis.Redis

    def __init__(self) -> None:
        """Begin with an empty server and the budgets of the sites."""
        super().__init__()
        self.client.flushall()
        self.keys = Keyspace()
        self.prefix = self.keys.prefix(0)
        self.scripts = Scripts(self.client, self.keys, moved_clock=True)
        # Real time stands still: a slow machine must not change what a run does.
        self.client.set(f"{self.prefix}stopped_at", 1_800_000_000_000)
        self.model = QueueModel(Site(one.name, one.max_in_flight, one.interval_s) for one in SITES)
        #: Every delivery ever made: id and fence. The old ones are zombies.
        self.deliveries: list[tuple[str, int]] = []
        #: When a line was left with suspects alone: it is looked at again a little later.
        self.suspects_left_at: dict[str, int] = {}
        for one in SITES:
            self.run(
                "configure", "w", one.name, one.interval_s * 1000, 0, one.max_in_flight, 0, "", 0
            )

    def run(self, name: str, *args: str | int | bytes) -> Any:
        """Run a script; replies as text."""
        self.begin_call()
        return _text(self.scripts.run(name, 0, list(args)))

    def begin_call(self) -> None:
        """Let no two calls be of one millisecond: the later one comes later."""
        self.model.tick()
        self.client.incr(f"{self.prefix}clock")

    def job(self, pick: int) -> Job:
        """Some job."""
        return list(self.model.jobs.values())[pick % len(self.model.jobs)]

    def delivery(self, pick: int, *, zombie: bool) -> tuple[str, int]:
        """A delivery that holds its lease, or any that was ever made, however old."""
        held = [(job.id, job.fence) for job in self.model.in_state("running")]
        made = self.deliveries if zombie or not held else held
        return made[pick % len(made)]

    @initialize(site=st.sampled_from(SITES), lane=LANE)
    def begin(self, site: Site, lane: str) -> None:
        """Some jobs are there from the start."""
        self.enqueue_new(site, lane, 0, 0, 4)

    @rule(site=st.sampled_from(SITES), lane=LANE, delay_s=SPAN, deadline_s=SPAN,
          n=st.integers(1, 3))  # fmt: skip
    def enqueue(self, site: Site, lane: str, delay_s: int, deadline_s: int, n: int) -> None:
        """A producer enqueues new jobs."""
        self.enqueue_new(site, lane, delay_s, deadline_s, n)

    @rule(pick=PICK, other=st.booleans(), delay_s=SPAN)
    def enqueue_again(self, pick: int, other: bool, delay_s: int) -> None:
        """A producer repeats a key, with the same payload or another one."""
        job = self.job(pick)
        digest = "other" if other else "same"
        where = {"site": job.site, "lane": job.lane, "delay_s": delay_s, "deadline_s": 0}
        word = self.model.enqueue(job.id, digest, **where)
        reply = self.run("enqueue", *_entry(job.id, digest, **where))
        assert [one[:2] for one in reply] == [[word, job.state]]

    def enqueue_new(self, site: Site, lane: str, delay_s: int, deadline_s: int, n: int) -> None:
        """Enqueue so many new jobs in one call."""
        args = []
        for _ in range(n):
            job_id = f"{len(self.model.jobs):04d}"
            where = {"site": site.name, "lane": lane, "delay_s": delay_s}
            where["deadline_s"] = deadline_s
            assert self.model.enqueue(job_id, "same", **where) == "new"
            args += _entry(job_id, "same", **where)
        state = "delayed" if delay_s else "queued"
        assert self.run("enqueue", *args) == [["new", state]] * n

    @rule(worker=WORKER, wanted=st.integers(1, 5))
    def fetch(self, worker: str, wanted: int) -> None:
        """A worker fetches."""
        self.fetch_checked(worker, wanted)

    @rule(worker=WORKER, seconds=st.sampled_from([10, 20]), wanted=st.integers(1, 5))
    def fetch_later(self, worker: str, seconds: int, wanted: int) -> None:
        """Time passes and a worker fetches: a lapse is always near."""
        self.time_passes(seconds)
        self.fetch_checked(worker, wanted)

    @rule(number=st.integers(1, 4))
    def lose_others(self, number: int) -> None:
        """So many workers die that no job is to blame for: their own jobs ended well elsewhere."""
        self.begin_call()
        names = [f"other-{len(self.model.losses)}-{place}" for place in range(number)]
        now_ms = sum(
            int(self.client.get(self.prefix + key) or 0) for key in ("stopped_at", "clock")
        )
        self.client.zadd(f"{self.prefix}q:{QUEUE}:losses", dict.fromkeys(names, now_ms))
        self.model.losses.update(dict.fromkeys(names, (self.model.now, False)))

    def fetch_checked(self, worker: str, wanted: int) -> None:
        """Fetch: what comes is due, in order and within every budget, and nothing is left."""
        self.begin_call()
        self.model.sweep()
        args: list[Any] = [QUEUE, worker, wanted, LEASE_S * 1000, MAX_DELIVERIES, TTL_MS]
        reply = self.scripts.run("fetch", 0, [*args, STREAM_MAX, 1])
        batch = Batch(reply, queue=QUEUE, shard=0, lease_ms=LEASE_S * 1000)
        assert batch.broken == []
        assert len(batch.deliveries) <= wanted
        for one in batch.deliveries:
            job = self.model.lease(one.job_id, worker)
            seen = (one.fence, one.deliveries, one.attempts)
            assert seen == (job.fence, job.deliveries, job.attempts)
            self.deliveries.append((job.id, job.fence))
        self.adopt()
        if len(batch.deliveries) < wanted:
            for site in self.model.sites.values():
                first = self.model.first_of(site, worker)
                waits = self.suspects_left_at.get(site.name) == self.model.now
                may = self.model.may_serve(site) and not waits
                assert first is None or not may, f"{first} was left behind"
        for job in self.model.in_state("queued"):
            if self.model.is_suspect(job):
                self.suspects_left_at[job.site] = self.model.now

    @precondition(after_a_delivery)
    @rule(pick=PICK, zombie=RARELY)
    def renew(self, pick: int, zombie: bool) -> None:
        """A worker renews one lease; a zombie learns that it has lost it."""
        chosen = self.delivery(pick, zombie=zombie)
        lost = self.run("renew", QUEUE, LEASE_S * 1000, *chosen)
        assert lost == ([] if self.model.renew(*chosen) else [chosen[0]])

    @precondition(after_a_delivery)
    @rule(pick=PICK, zombie=RARELY, state=st.sampled_from(["succeeded", "failed"]))
    def finish(self, pick: int, zombie: bool, state: str) -> None:
        """An ending with an outcome: taken once, refused under an old fence."""
        chosen = self.delivery(pick, zombie=zombie)
        taken = self.model.holds(*chosen)
        if taken:
            self.model.finish(chosen[0], state)
        reply = self.run("finish", STREAM_MAX, *chosen, state, "{}", TTL_MS, "", 1, 0)
        assert reply == [int(taken)]

    @precondition(after_a_delivery)
    @rule(pick=PICK, zombie=RARELY, delay_s=SPAN, counted=st.booleans(),
          unsure=st.booleans(), pause_s=st.sampled_from([0, 0, 0, 15]),
          new_epoch=st.sampled_from([False, False, True]),
          trip=st.sampled_from([False, False, False, True]))  # fmt: skip
    def retry(
        self, *, pick: int, zombie: bool, delay_s: int, counted: bool, unsure: bool, pause_s: int,
        new_epoch: bool, trip: bool,
    ) -> None:  # fmt: skip
        """An ending that lets the job go on later."""
        chosen = self.delivery(pick, zombie=zombie)
        taken = self.model.holds(*chosen)
        if self.model.sites[self.model.jobs[chosen[0]].site].interval_s:
            pause_s = 0  # a 429 lowers the adaptive rate too, which is no whole number of seconds
        if taken:
            self.model.tick()
            self.model.retry(chosen[0], delay_s, counted=counted, unsure=unsure,
                             pause_s=pause_s, new_epoch=new_epoch, trip=trip)  # fmt: skip
        reply = self.run("retry", TTL_MS, STREAM_MAX, *chosen, delay_s * 1000, int(counted),
                         int(unsure), "", pause_s * 1000, int(new_epoch),
                         "401" if trip else "", 0, "")  # fmt: skip
        assert reply == [int(taken)]

    @precondition(after_a_delivery)
    @rule(pick=PICK, zombie=RARELY, state=st.sampled_from(["failed", "held"]))
    def bury(self, pick: int, zombie: bool, state: str) -> None:
        """An ending that sets the job aside."""
        chosen = self.delivery(pick, zombie=zombie)
        taken = self.model.holds(*chosen)
        if taken:
            self.model.bury(chosen[0], state)
        reply = self.run("bury", STREAM_MAX, *chosen, state, "rejected", "why", "", TTL_MS,
                         "", 1, "", 0)  # fmt: skip
        assert reply == [int(taken)]

    @precondition(after_a_delivery)
    @rule(pick=PICK, zombie=RARELY, unsure=st.booleans())
    def release(self, pick: int, zombie: bool, unsure: bool) -> None:
        """A worker that stops gives a job back."""
        chosen = self.delivery(pick, zombie=zombie)
        taken = self.model.holds(*chosen)
        if taken:
            self.model.give_back(chosen[0], unsure=unsure)
        assert self.run("release", *chosen, int(unsure)) == [int(taken)]

    @rule(worker=WORKER, pick=PICK)
    def reclaim(self, worker: str, pick: int) -> None:
        """A worker whose reply was lost gives back what it does not know of."""
        mine = [job for job in self.model.in_state("running") if job.worker == worker]
        known = {job.id for place, job in enumerate(mine) if pick >> place & 1}
        orphans = [job for job in mine if job.id not in known]
        for job in sorted(orphans, key=lambda one: (one.lease_until, one.order, one.id))[::-1]:
            self.model.give_back(job.id, unsure=False)
        given = self.run("reclaim", QUEUE, worker, *sorted(known))
        assert sorted(given) == sorted(job.id for job in orphans)

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        """An operator cancels a job."""
        job = self.job(pick)
        assert self.run("cancel", job.id, TTL_MS, STREAM_MAX) == self.model.cancel(job.id)

    @rule(pick=PICK, new_key=st.booleans())
    def replay(self, pick: int, new_key: bool) -> None:
        """An operator runs a job again."""
        job = self.job(pick)
        word = self.model.replay(job.id, new_key=new_key)
        assert self.run("replay", job.id, WINDOW_S * 1000, int(new_key)) == word

    @rule(pick=PICK)
    def discard(self, pick: int) -> None:
        """An operator drops a dead letter or ends a held job."""
        job = self.job(pick)
        assert self.run("discard", job.id, TTL_MS, STREAM_MAX) == self.model.discard(job.id)

    @rule(site=st.sampled_from(SITES), action=st.sampled_from(["pause", "resume", "resume"]))
    def hold(self, site: Site, action: str) -> None:
        """An operator pauses or resumes a site."""
        chosen = self.model.sites[site.name]
        chosen.paused = action == "pause"
        if action == "pause":
            self.run("pause", site.name, "by hand")
        else:
            chosen.throttled_until, chosen.probe_at = 0, None
            self.run("resume", site.name)

    @rule(seconds=st.sampled_from([10, 10, 20, 60, 200]))
    def wait(self, seconds: int) -> None:
        """Leases lapse, delays fall due, deadlines pass."""
        self.time_passes(seconds)

    def time_passes(self, seconds: int) -> None:
        """Move both clocks."""
        self.model.now += seconds
        self.client.incrby(f"{self.prefix}clock", seconds * 1000)

    def adopt(self) -> None:
        """Take the server's word where the model leaves room: what left a line without running."""
        for job in self.model.in_state("queued"):
            state = self.client.hget(f"{self.prefix}job:{job.id}", "state")
            if state in (b"expired", b"cancelled"):
                self.model.end_popped(job, state.decode())
        for site, lane in list(self.model.lines):
            line = self.client.lrange(f"{self.prefix}q:{QUEUE}:line:{site}:{lane}", 0, -1)
            self.model.adopt_line(site, lane, _text(line))

    @invariant()
    def records_are_as_the_model_says(self) -> None:
        """State, attempts, deliveries and the outcome of each job agree."""
        jobs = list(self.model.jobs.values())
        pipe = self.client.pipeline(transaction=False)
        fields = ("state", "attempts", "deliveries", "fence", "epoch", "unsure_since")
        for job in jobs:
            pipe.hmget(f"{self.prefix}job:{job.id}", *fields)
            pipe.exists(f"{self.prefix}out:{job.id}")
        replies = iter(_text(pipe.execute()))
        for job in jobs:
            state, attempts, deliveries, fence, epoch, unsure_since = next(replies)
            seen = (state, *(int(one or 0) for one in (attempts, deliveries, fence, epoch)))
            wanted = (job.state, job.attempts, job.deliveries, job.fence, job.epoch)
            assert seen == wanted, job
            assert (unsure_since is None) == (job.unsure_since is None), job
            # A dead letter made by a worker brings its outcome along; the machine's brings none.
            has_outcome = next(replies)
            assert not has_outcome or job.state in ("succeeded", "failed", "expired", "cancelled")

    @invariant()
    def indexes_are_as_the_model_says(self) -> None:
        """Leases, delays, slots and lists hold what the records say, and nothing else."""
        pipe = self.client.pipeline(transaction=False)
        for key in ("q:calls:leases", "q:calls:delayed", "dead", "held", "q:calls:turn"):
            pipe.zrange(f"{self.prefix}{key}", 0, -1)
        for site in SITES:
            pipe.hget(f"{self.prefix}site:{site.name}", "in_flight")
        leases, delayed, dead, held, turn, *slots = _text(pipe.execute())
        assert set(leases) == {job.id for job in self.model.in_state("running")}
        assert set(delayed) == {job.id for job in self.model.in_state("delayed")}
        assert set(dead) == self.model.dead
        assert set(held) == self.model.held
        for site, slot in zip(self.model.sites.values(), slots, strict=True):
            running = self.model.in_flight(site.name)
            assert int(slot or 0) == running
            full = site.max_in_flight and running >= site.max_in_flight
            if site.probe_at is not None:
                full = running > 0  # one call at a time is the probe
            if self.model.first_of(site) and not site.paused and not full:
                assert site.name in turn, f"{site.name} has jobs that nobody would fetch"

    @invariant()
    def each_ending_is_published_once(self) -> None:
        """The stream has one entry for each time a job ended, and no other."""
        type(self).steps += 1
        entries = self.client.xrange(f"{self.prefix}outcomes")
        seen = Counter(_text(fields[b"job_id"]) for _, fields in entries)
        assert seen == {job.id: job.endings for job in self.model.jobs.values() if job.endings}


def _entry(
    job_id: str, digest: str, *, site: str, lane: str, delay_s: int, deadline_s: int
) -> list[str | int | bytes]:
    return [job_id, "job", digest, QUEUE, "actor", site, lane, "", delay_s * 1000,
            deadline_s * 1000, _message(job_id)]  # fmt: skip


def _message(job_id: str) -> bytes:
    return Message(
        queue_name=QUEUE, actor_name="actor", args=(), kwargs={}, options={}, message_id=job_id
    ).encode()


def _text(reply: Any) -> Any:
    if isinstance(reply, bytes):
        return reply.decode()
    return [_text(one) for one in reply] if isinstance(reply, list) else reply


@pytest.fixture
def machine(shared_redis: RedisServer) -> Iterator[type[QueueMachine]]:
    """The machine on the session's server."""
    with redis.Redis(port=shared_redis.port) as client:
        yield type("Machine", (QueueMachine,), {"client": client})


@pytest.mark.timeout(1800)
def test_scripts_keep_to_the_model(
    machine: type[QueueMachine], shared_redis: RedisServer, pytestconfig: pytest.Config
) -> None:
    """T35: 2,000 random moves (50,000 in the full set) leave records and indexes as modelled."""
    full = pytestconfig.getoption("--faults") == "full"
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=600 if full else 40,
            stateful_step_count=100 if full else 50,
            derandomize=not full,
            # Shrinking takes minutes on a real server: the quick set says what it found as it is.
            phases=[Phase.reuse, Phase.generate, *([Phase.shrink] if full else [])],
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    versions = {name: version(name) for name in ("dramatiq", "redis", "httpx")}
    Counts(Path(pytestconfig.rootpath) / "build" / "faults.jsonl").note(
        "T35", "model", steps_checked=machine.steps, size="full" if full else "quick",
        server=shared_redis.version(), python=platform.python_version(), **versions,
    )  # fmt: skip
    assert machine.steps >= (50_000 if full else 1_000)
