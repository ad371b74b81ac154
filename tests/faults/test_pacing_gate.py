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
#: ms by which two p99 may differ besides the tenth: timers and two shared cores.
FLOOR_MS = 15.0


def _p99_ms(tenants: Tenants, n: int, *, prefix: str) -> float:
    """The 99th percentile of the well site's jobs, from enqueue to result."""
    tenants.produce("well", n, prefix=prefix, every_s=0.02)
    ids = tenants.ids("well", prefix)
    until(lambda: all(tenants.world.client.exists(f"{PREFIX}out:{one}") for one in ids))
    return percentile(tenants.took_ms(ids), 0.99)


def _in_flight(tenants: Tenants, site: str) -> int:
    return int(tenants.field(site, "in_flight") or 0)


def _probe_due(tenants: Tenants, site: str) -> float:
    """Seconds until the next probe, by the moved clock."""
    client = tenants.world.client
    seconds, micros = client.time()
    now_ms = seconds * 1000 + micros // 1000 + int(client.get(f"{PREFIX}clock") or 0)
    return (float(tenants.field(site, "probe_at") or 0) - now_ms) / 1000


@pytest.mark.timeout(600)
def test_storm_of_500s_shuts_the_gate(world: World, figures: Figures) -> None:
    """T16: 100 % 503, then 50 % 500: ten failures, then probes alone; drains after, none lost."""
    n = 5_000 if world.full else 150
    minutes = 5
    tenants = Tenants(world, {"well": {}, "sick": {"rate_per_minute": 3_500}})
    world.started(env=tenants.env(), moved=True, concurrency=1, size=1)
    _p99_ms(tenants, 20, prefix="warm")
    alone_ms = _p99_ms(tenants, 50, prefix="alone")
    world.api.admin.add_fault("error", status=503, site="sick", id="away")
    tenants.produce("sick", n)
    until(lambda: tenants.field("sick", "parked") == "failing", what="the gate to shut")
    until(lambda: _in_flight(tenants, "sick") == 0, what="the calls under way")
    shut_after = len(tenants.requests("sick"))
    beside_ms = _p99_ms(tenants, 50, prefix="beside")
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
    world.judge(
        figures,
        "T16",
        "503, then half 500",
        failures_until_the_gate_shut=shut_after,
        probes=probes,
        probed_for_s=round(passed_s),
        other_site_p99_alone_ms=alone_ms,
        other_site_p99_beside_ms=beside_ms,
    )
    assert shut_after <= FAILING_MAX
    assert probes <= minutes + 3
    assert beside_ms <= alone_ms * 1.1 + FLOOR_MS


def _push_on(world: World, tenants: Tenants, enough: int) -> None:
    """Let time pass by probes and waits, until so many results are there."""
    deadline = time.monotonic() + 120
    while world.published() < enough:
        assert time.monotonic() < deadline, f"{world.published()} of {enough} results"
        if not _in_flight(tenants, "sick"):
            pass_time(world.client, 2)
        time.sleep(0.05)


REFUSALS: dict[str, dict[str, Any]] = {
    "401": {"status": 401},
    "403": {"status": 403},
    "site_not_found": {"status": 404},
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("refusal", [*REFUSALS, "another key"])
def test_refused_key_parks_its_site_alone(world: World, figures: Figures, refusal: str) -> None:
    """T29: parked after five calls at most, no dead letter; resumes by hand or by a probe."""
    rate, n, well = (1_000, 1_000, 4_000) if world.full else (600, 40, 200)
    burst = rate // 50 + 1
    tenants = Tenants(world, {"well": {}, "sick": {"rate_per_minute": rate}})
    world.api.admin.set(latency_ms=50)
    world.started(env=tenants.env(), moved=True)
    tenants.produce("sick", n)
    # Once the burst of an idle site is used up, calls go out one by one.
    until(lambda: len(tenants.requests("sick")) >= burst + 5, what="jobs under way")
    if refusal == "another key":
        tenants.let_in("sick", key="key_new")
    else:
        world.api.admin.add_fault("error", site="sick", **REFUSALS[refusal])
    until(lambda: tenants.field("sick", "parked"), what="the site to be parked")
    tenants.produce("well", well)
    well_ids = tenants.ids("well")
    until(
        lambda: all(world.client.exists(f"{PREFIX}out:{one}") for one in well_ids),
        timeout_s=120,
        what="the well site's jobs",
    )
    until(lambda: _in_flight(tenants, "sick") == 0, what="the calls under way")
    refused = _refused(world)
    reason = tenants.field("sick", "parked")
    dead = world.client.zcard(f"{PREFIX}dead")
    pass_time(world.client, PROBE_MAX_S + 1)
    until(lambda: _refused(world) > refused, what="the probe")
    until(lambda: _probe_due(tenants, "sick") > 1, what="the end of the probe")
    assert _refused(world) == refused + 1, "more than one probe"
    world.api.admin.clear_faults()
    tenants.let_in("sick")
    by_hand = refusal in {"403", "another key"}
    if by_hand:
        with MovedOperator(Settings.from_env(tenants.env())) as operator:
            operator.resume("sick")
    else:
        pass_time(world.client, PROBE_MAX_S + 1)
    world.wait(timeout_s=120)
    world.judge(
        figures,
        "T29",
        refusal,
        calls_a_minute=rate,
        calls_until_parked=refused,
        reason=reason,
        dead=dead,
        resumed="by hand" if by_hand else "by a probe",
    )
    assert refused <= REFUSED_MAX
    assert dead == 0


def _refused(world: World) -> int:
    return sum(one["status"] in {401, 403, 404} for one in world.api.admin.requests())
