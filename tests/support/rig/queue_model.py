"""What the queue must do, in plain Python: the model that the Lua scripts are checked against.

Time stands on a grid: the clock moves by multiples of 10 s and every span ends on a 5 s, so the
milliseconds that really pass between two calls never decide anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

LEASE_S = 15
MAX_DELIVERIES = 3
WINDOW_S = 105
PROBE_S = 60
#: Lost workers that no job can be blamed for, and for how long they count.
LOSSES = 4
LOSS_S = 10 * LEASE_S

TERMINAL = ("succeeded", "failed", "expired", "cancelled")


@dataclass
class Site:
    """Budget of one site; 0 means no limit."""

    name: str
    max_in_flight: int = 0
    interval_s: int = 0
    paused: bool = False
    probe_at: int | None = None
    throttled_until: int = 0
    tat: int = 0


@dataclass
class Job:
    """One record, and where it stands."""

    id: str
    digest: str
    site: str
    lane: str
    state: str = "queued"
    due_at: int = 0
    deadline_at: int | None = None
    fence: int = 0
    deliveries: int = 0
    attempts: int = 0
    worker: str = ""
    lease_until: int = 0
    delivered_at: int = 0
    unsure_since: int | None = None
    cancel: bool = False
    epoch: int = 0
    order: int = 0
    endings: int = 0
    reasons: list[str] = field(default_factory=list)


class QueueModel:
    """The queue as one object; every method is one script.

    Args:
        sites: the sites and their budgets.
    """

    def __init__(self, sites: Iterable[Site]) -> None:
        self.now = 0
        self.sites = {site.name: site for site in sites}
        self.jobs: dict[str, Job] = {}
        self.dead: set[str] = set()
        self.held: set[str] = set()
        #: Ids as they stand, per site and lane; one that moved on stays as a stale id.
        self.lines: dict[tuple[str, str], list[str]] = {}
        #: Ids whose deadline a sweep has yet to see; a job that ran then is seen when popped.
        self.deadlines: set[str] = set()
        #: Workers that left jobs behind: when, and whether one of these had been left before.
        self.losses: dict[str, tuple[int, bool]] = {}
        self._order = 0

    # -- coming in

    def enqueue(
        self, job_id: str, digest: str, *, site: str, lane: str, delay_s: int, deadline_s: int
    ) -> str:
        """Take a job in; gives the script's word."""
        known = self.jobs.get(job_id)
        if known is not None:
            return "known" if known.digest == digest else "conflict"
        job = self.jobs[job_id] = Job(job_id, digest, site, lane)
        if deadline_s:
            job.deadline_at = self.now + deadline_s
            self.deadlines.add(job_id)
        if delay_s:
            self._delay(job, delay_s)
        else:
            self._line_up(job)
        return "new"

    # -- going out

    def sweep(self) -> None:
        """Do what a fetch does first: due delays, lapsed leases, deadlines."""
        due = [job for job in self.in_state("delayed") if job.due_at <= self.now]
        for job in sorted(due, key=lambda one: (one.due_at, one.order, one.id)):
            self._line_up(job)
        lapsed = [job for job in self.in_state("running") if job.lease_until <= self.now]
        self._note_losses(lapsed)
        for job in sorted(lapsed, key=lambda one: (one.lease_until, one.order, one.id))[::-1]:
            self._note_unsure(job)
            if job.deliveries >= self._too_many():
                self.dead.add(job.id)
                self._conclude(job, "failed")
            elif job.cancel:
                self._conclude(job, "cancelled")
            else:
                self._line_up(job, head=True)
        for job in [self.jobs[job_id] for job_id in self.deadlines]:
            if self.is_late(job):
                self.deadlines.discard(job.id)
                if job.state in ("queued", "delayed"):
                    self._conclude(job, "expired")

    def is_late(self, job: Job) -> bool:
        """Say whether the job is past its deadline."""
        return job.deadline_at is not None and job.deadline_at <= self.now

    def end_popped(self, job: Job, state: str) -> None:
        """A job that may not run any more left its line: late, or cancelled while it ran."""
        assert job.state == "queued"
        assert self.is_late(job) if state == "expired" else job.cancel, f"{job} ended as {state}"
        self._conclude(job, state)

    def adopt_line(self, site: str, lane: str, actual: list[str]) -> None:
        """Take the queue's word on which stale ids have left a line, and no more than that."""
        rest = iter(actual)
        head = next(rest, None)
        for job_id in self.lines.get((site, lane), []):
            if job_id == head:
                head = next(rest, None)
            else:
                assert self.jobs[job_id].state != "queued", f"{job_id} has left its line"
        assert head is None, f"{head} stands in a line out of order"
        self.lines[site, lane] = actual

    def lease(self, job_id: str, worker: str) -> Job:
        """Hand one job out; raises AssertionError when it may not be handed out now."""
        job = self.jobs[job_id]
        site = self.sites[job.site]
        assert job.state == "queued", f"{job.id} was handed out while {job.state}"
        assert not job.cancel, f"{job.id} was handed out after it was cancelled"
        assert self.may_serve(site), f"{site.name} was served beyond its budget"
        assert self.first_of(site, worker) is job, f"{job.id} was handed out of turn"
        self._pop(job)
        if site.interval_s:
            site.tat = max(site.tat, self.now) + site.interval_s
        job.state, job.worker = "running", worker
        job.fence += 1
        job.deliveries += 1
        job.delivered_at = self.now
        job.lease_until = self.now + LEASE_S
        job.order = self._order
        return job

    def may_serve(self, site: Site) -> bool:
        """Say whether the site may be called now."""
        if site.throttled_until > self.now:
            return False
        if site.paused:
            return False
        if site.probe_at is not None and (site.probe_at > self.now or self.in_flight(site.name)):
            return False
        if site.max_in_flight and self.in_flight(site.name) >= site.max_in_flight:
            return False
        return not site.interval_s or site.tat <= self.now

    def is_suspect(self, job: Job) -> bool:
        """Say whether this delivery would be the last one: a worker holds one such job at most."""
        return job.deliveries >= MAX_DELIVERIES - 1 > 0

    def holds_suspect(self, worker: str) -> bool:
        """Say whether the worker runs a job on its last delivery."""
        return any(
            job.worker == worker and job.deliveries >= MAX_DELIVERIES
            for job in self.in_state("running")
        )

    def first_of(self, site: Site, worker: str | None = None) -> Job | None:
        """The job that stands first, interactive before bulk, and that this worker may have."""
        barred = worker is not None and self.holds_suspect(worker)
        for lane in ("interactive", "bulk"):
            for job_id in self.lines.get((site.name, lane), []):
                job = self.jobs[job_id]
                if job.state != "queued" or self.is_late(job) or job.cancel:
                    continue
                if not (barred and self.is_suspect(job)):
                    return job
        return None

    def tick(self) -> None:
        """A new call begins: what it schedules comes after what earlier calls did."""
        self._order += 1

    # -- under a lease

    def renew(self, job_id: str, fence: int) -> bool:
        """Extend a lease; False when it is not this one any more."""
        job = self.jobs[job_id]
        if not self.holds(job_id, fence):
            return False
        job.lease_until = self.now + LEASE_S
        job.order = self._order
        return True

    def holds(self, job_id: str, fence: int) -> bool:
        """Say whether an ending under this fence is taken."""
        job = self.jobs[job_id]
        return job.state == "running" and job.fence == fence

    def finish(self, job_id: str, state: str) -> None:
        """End a job with an outcome."""
        job = self.jobs[job_id]
        job.attempts += 1
        if state == "succeeded":
            self._note_success(job)
        self._conclude(job, state)

    def retry(
        self,
        job_id: str,
        delay_s: int,
        *,
        counted: bool,
        unsure: bool,
        pause_s: int,
        new_epoch: bool,
        trip: bool,
    ) -> None:
        """Let a job go on later, or end it when it was cancelled meanwhile."""
        job = self.jobs[job_id]
        site = self.sites[job.site]
        job.attempts += counted
        if unsure:
            self._note_unsure(job)
        if pause_s and not trip:
            site.throttled_until = max(site.throttled_until, self.now + pause_s)
        if trip:
            site.probe_at = self.now + PROBE_S
        if new_epoch:
            job.epoch += 1
            job.unsure_since = None
        if job.cancel:
            self._conclude(job, "cancelled")
        else:
            self._delay(job, delay_s)

    def bury(self, job_id: str, state: str) -> None:
        """End a job as a dead letter or hold it; the API has rejected it, so the site works."""
        job = self.jobs[job_id]
        self._note_success(job)
        job.attempts += 1
        if state == "held":
            self._note_unsure(job)
            job.state, job.cancel, job.deliveries, job.worker = "held", False, 0, ""
            self.held.add(job_id)
        else:
            self.dead.add(job_id)
            self._conclude(job, "failed")

    def give_back(self, job_id: str, *, unsure: bool) -> None:
        """Release a job, or reclaim one whose delivery was lost."""
        job = self.jobs[job_id]
        if unsure:
            self._note_unsure(job)
        job.deliveries = max(0, job.deliveries - 1)
        self._line_up(job, head=True)

    # -- the operator's moves

    def cancel(self, job_id: str) -> str:
        """Cancel a job; gives the script's word."""
        job = self.jobs[job_id]
        if job.state == "running":
            job.cancel = True
            return "cancelling"
        if job.state in TERMINAL:
            return job.state
        self.held.discard(job_id)
        self._conclude(job, "cancelled")
        return "cancelled"

    def replay(self, job_id: str, *, new_key: bool) -> str:
        """Run a job again; gives the script's word."""
        job = self.jobs[job_id]
        if job.state not in ("failed", "expired", "cancelled", "held"):
            return job.state
        if "discarded" in job.reasons:
            return "gone"
        if job.unsure_since is not None and self.now - job.unsure_since > WINDOW_S and not new_key:
            return "needs_new_key"
        job.attempts = job.deliveries = 0
        job.cancel = False
        job.deadline_at = None
        self.deadlines.discard(job_id)
        if new_key:
            job.epoch += 1
            job.unsure_since = None
        self.dead.discard(job_id)
        self.held.discard(job_id)
        self._line_up(job)
        return "queued"

    def discard(self, job_id: str) -> str:
        """Drop a dead letter, or end a held job; gives the script's word."""
        job = self.jobs[job_id]
        if job.state == "held":
            self.held.discard(job_id)
            self._conclude(job, "failed")
        elif job.state in ("failed", "expired", "cancelled"):
            self.dead.discard(job_id)
        else:
            return job.state
        job.reasons.append("discarded")
        return "discarded"

    # -- looking

    def in_state(self, state: str) -> list[Job]:
        """Jobs in one state."""
        return [job for job in self.jobs.values() if job.state == state]

    def in_flight(self, site: str) -> int:
        """Running jobs of a site."""
        return sum(job.site == site for job in self.in_state("running"))

    # -- inside

    def _note_losses(self, lapsed: list[Job]) -> None:
        recent = {
            worker: loss for worker, loss in self.losses.items() if self.now - loss[0] < LOSS_S
        }
        for job in lapsed:
            if job.deliveries > 1:
                recent[job.worker] = (self.now, True)
        for job in lapsed:
            recent.setdefault(job.worker, (self.now, False))
        if lapsed:
            self.losses = recent

    def _too_many(self) -> int:
        """Deliveries that make a job poison: twice as many while workers die anyway."""
        unexplained = sum(not blamed for _, blamed in self.losses.values())
        return MAX_DELIVERIES if unexplained < LOSSES else 2 * MAX_DELIVERIES

    def _line_up(self, job: Job, *, head: bool = False) -> None:
        job.state, job.worker = "queued", ""
        line = self.lines.setdefault((job.site, job.lane), [])
        line.insert(0 if head else len(line), job.id)

    def _pop(self, job: Job) -> None:
        """Take out this id; the stale ones before it are dropped, suspects stay."""
        if job.lane == "bulk":
            before = self.lines.get((job.site, "interactive"), [])
            self.lines[job.site, "interactive"] = self._waiting(before)
        line = self.lines[job.site, job.lane]
        place = line.index(job.id)
        self.lines[job.site, job.lane] = self._waiting(line[:place]) + line[place + 1 :]

    def _waiting(self, ids: list[str]) -> list[str]:
        return [one for one in ids if self.jobs[one].state == "queued"]

    def _note_success(self, job: Job) -> None:
        self.sites[job.site].probe_at = None

    def _delay(self, job: Job, delay_s: int) -> None:
        job.state, job.worker, job.deliveries = "delayed", "", 0
        job.due_at = self.now + delay_s
        job.order = self._order

    def _conclude(self, job: Job, state: str) -> None:
        job.state, job.worker, job.cancel = state, "", False
        job.endings += 1
        self.deadlines.discard(job.id)

    def _note_unsure(self, job: Job) -> None:
        if job.unsure_since is None:
            job.unsure_since = job.delivered_at
