"""T16 and T29: a site that is away, or whose key is refused, is asked now and then and no more."""

from __future__ import annotations

import time
from typing import Any

import pytest
from rig.figures import Figures, percentile
from rig.invariants import PREFIX
from rig.moved import MovedOperator, pass_time
from rig.tenants import Tenants
from rig.waiting import until
from rig.world import World

from worker.settings import Settings

#: Failures in a row that shut the gate, and the s to the first probe and between probes.
FAILING_MAX, FIRST_PROBE_S, PROBE_MAX_S = 10, 15, 60
#: Calls that may be refused before a site is parked.
REFUSED_MAX = 5
#: ms: no lease lapses when a test moves the clock.
LEASE_MS = 600_000
#: ms by which two tails may differ besides the tenth: the noise of timers and of two shared cores.
FLOOR_MS = 15.0


def _tail_ms(tenants: Tenants, n: int, *, prefix: str) -> float:
    """The tail of the well site's jobs, from enqueue to result: p99 of many, p90 of fifty."""
    tenants.produce("well", n, prefix=prefix, every_s=0.02)
    ids = tenants.ids("well", prefix)
    until(lambda: all(tenants.world.client.exists(f"{PREFIX}out:{one}") for one in ids))
    return percentile(tenants.took_ms(ids), 0.99 if n >= 300 else 0.9)


def _in_flight(tenants: Tenants, site: str) -> int:
    return int(tenants.field(site, "in_flight") or 0)


def _probe_due(tenants: Tenants, site: str) -> float:
    """Seconds until the next probe, by the moved clock."""
    client = tenants.world.client
    seconds, micros = client.time()
    now_ms = seconds * 1000 + micros // 1000 + int(client.get(f"{PREFIX}clock") or 0)
    return (float(tenants.field(site, "probe_at") or 0) - now_ms) / 1000


@pytest.mark.timeout(1200)
def test_storm_of_500s_shuts_the_gate(world: World, figures: Figures) -> None:
    """T16: 100 % 503, then 50 % 500: ten failures, then probes alone; drains after, none lost."""
    n = 5_000 if world.full else 60
    minutes = 5
    tenants = Tenants(world, {"well": {}, "sick": {"rate_per_minute": 3_500}})
    world.started(env=tenants.env(LARGESSE_LEASE_MS=LEASE_MS), moved=True, concurrency=1, size=1)
    _tail_ms(tenants, 20, prefix="warm")
    alone_ms = _tail_ms(tenants, 300 if world.full else 50, prefix="alone")
    world.api.admin.add_fault("error", status=503, site="sick", id="away")
    tenants.produce("sick", n)
    until(lambda: tenants.field("sick", "parked") == "failing", what="the gate to shut")
    until(lambda: _in_flight(tenants, "sick") == 0, what="the calls under way")
    shut_after = len(tenants.requests("sick"))
    beside_ms = _tail_ms(tenants, 300 if world.full else 50, prefix="beside")
    probes = 0
    passed_s = 0.0
    while passed_s < minutes * 60:
        seen = len(tenants.requests("sick"))
        assert seen == shut_after + probes, "a call that was no probe"
        wait_s = _probe_due(tenants, "sick")
        pass_time(world.client, wait_s + 0.01)
        passed_s += wait_s
        probes += 1
        until(
            lambda seen=seen: len(tenants.requests("sick")) > seen,
            what="the probe",
        )
        until(lambda: _probe_due(tenants, "sick") > 1, what="the end of the probe")
    world.api.admin.clear_faults()
    world.api.admin.add_fault("error", status=500, site="sick", share=0.5, seed=16)
    _push_on(world, tenants, len(world.log.job_ids()) - n // 2)
    world.api.admin.clear_faults()
    _push_on(world, tenants, len(world.log.job_ids()))
    held = _replay_held(tenants)
    _push_on(world, tenants, len(world.log.job_ids()))
    world.judge(
        figures,
        "T16",
        "503, then half 500",
        failures_until_the_gate_shut=shut_after,
        probes=probes,
        probed_for_s=round(passed_s),
        held_and_replayed=held,
        other_site_tail_alone_ms=alone_ms,
        other_site_tail_beside_ms=beside_ms,
    )
    assert shut_after <= FAILING_MAX
    assert probes <= minutes + 3
    assert beside_ms <= alone_ms * 1.1 + FLOOR_MS


def _replay_held(tenants: Tenants) -> int:
    """Replay the jobs that met a 500 five times, as a person would; gives how many there were."""
    with MovedOperator(Settings.from_env(tenants.env())) as operator:
        ids = [one.job_id for one in operator.held()]
        for one in ids:
            plan = operator.plan([one])[one]
            operator.replay(one, new_key=not plan.is_accepted)
    return len(ids)


def _push_on(world: World, tenants: Tenants, enough: int) -> None:
    """Let time pass by probes and waits, until so many jobs have a result or are held."""
    deadline = time.monotonic() + 400
    while (done := world.published() + world.client.zcard(f"{PREFIX}held")) < enough:
        assert time.monotonic() < deadline, f"{done} of {enough} results"
        if not _in_flight(tenants, "sick"):
            pass_time(world.client, 10)
        time.sleep(0.05)


#: Sites by how they are refused: a fault of the sandbox, or a key that it does not know any more.
REFUSALS: dict[str, dict[str, Any] | None] = {
    "http-401": {"status": 401},
    "http-403": {"status": 403},
    "not-found": {"status": 404},
    "other-key": None,
}
#: Sites that a person resumes; the others are left to the probe.
BY_HAND = {"http-403", "other-key"}


@pytest.mark.timeout(600)
def test_refused_keys_park_their_sites_alone(world: World, figures: Figures) -> None:
    """T29: parked after five calls at most, no dead letter; resumes by hand or by a probe."""
    rate, n, well = (1_000, 750, 2_000) if world.full else (600, 40, 200)
    tenants = Tenants(world, {"well": {}, **{one: {"rate_per_minute": rate} for one in REFUSALS}})
    world.api.admin.set(latency_ms=50)
    world.started(env=tenants.env(LARGESSE_LEASE_MS=LEASE_MS), moved=True)
    _tail_ms(tenants, 20, prefix="warm")
    alone_ms = _tail_ms(tenants, 300 if world.full else 50, prefix="alone")
    for name in REFUSALS:
        tenants.produce(name, n)
    # Once the burst of an idle site is used up, calls go out one by one.
    for name in REFUSALS:
        until(lambda name=name: len(tenants.requests(name)) >= rate // 50 + 6, what="calls")
    for name, fault in REFUSALS.items():
        if fault is None:
            tenants.let_in(name, key="key_new")
        else:
            world.api.admin.add_fault("error", site=name, **fault)
    for name in REFUSALS:
        until(lambda name=name: tenants.field(name, "parked"), what="the site to be parked")
    beside_ms = _tail_ms(tenants, 300 if world.full else 50, prefix="beside")
    tenants.produce("well", well, prefix="many")
    well_ids = tenants.ids("well")
    until(
        lambda: all(world.client.exists(f"{PREFIX}out:{one}") for one in well_ids),
        timeout_s=120,
        what="the well site's jobs",
    )
    refused = {name: _refused(tenants, name) for name in REFUSALS}
    reasons = {name: tenants.field(name, "parked") for name in REFUSALS}
    dead = world.client.zcard(f"{PREFIX}dead")
    pass_time(world.client, PROBE_MAX_S + 1)
    for name in REFUSALS:
        until(lambda name=name: _refused(tenants, name) > refused[name], what="the probe")
        until(lambda name=name: _probe_due(tenants, name) > 1, what="the end of the probe")
    probes = {name: _refused(tenants, name) - refused[name] for name in REFUSALS}
    world.api.admin.clear_faults()
    tenants.let_in("other-key")
    with MovedOperator(Settings.from_env(tenants.env())) as operator:
        for name in BY_HAND:
            operator.resume(name)
    until(lambda: tenants.field("other-key", "tat"), what="a call")
    pass_time(world.client, PROBE_MAX_S + 1)
    world.wait(timeout_s=120)
    world.judge(
        figures,
        "T29",
        "key refused",
        calls_a_minute=rate,
        refused_calls=refused,
        reasons=reasons,
        probes_in_a_minute=probes,
        dead=dead,
        other_site_tail_alone_ms=alone_ms,
        other_site_tail_beside_ms=beside_ms,
    )
    assert max(refused.values()) <= REFUSED_MAX
    assert set(probes.values()) == {1}
    assert dead == 0
    assert beside_ms <= alone_ms * 1.1 + FLOOR_MS


def _refused(tenants: Tenants, site: str) -> int:
    """Times that a site was refused by now, from the histories of its jobs."""
    with tenants.world.client.pipeline(transaction=False) as pipe:
        for one in tenants.ids(site):
            pipe.llen(f"{PREFIX}hist:{one}")
        return sum(pipe.execute())
