"""T36: sites that hang take no time from the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rig.figures import Counts, percentile
from rig.silent import SilentApi, SilentNames, Silence, cannot_silence_names
from rig.tenants import Tenants
from rig.waiting import until
from rig.world import World

#: ms that the healthy API takes for an answer.
LATENCY_MS = 50
#: Jobs that each hung site has waiting: more than the slots of the fleet.
BACKLOG = 60
#: What a hung site may cost another one: this many times its p99 alone.
TIMES_MAX = 2.0
#: Limits of a site that is left as it is, and of one that may have all.
DEFAULTS = {"rate_per_minute": 150, "max_in_flight": 50}
UNLIMITED = {"rate_per_minute": 0, "max_in_flight": 0}

CASES = [
    pytest.param(silence, hung, limits, id=f"{silence}-{hung}-{name}", marks=marks)
    for silence in ("hang", "dns", "tls", "drip")
    for hung in (1, 3, 10)
    for name, limits in (("defaults", DEFAULTS), ("unlimited", UNLIMITED))
    for marks in (() if (hung, name) == (3, "unlimited") else pytest.mark.faults,)
]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test opens."""
    with ExitStack() as made:
        yield made


def _stand(
    world: World, stack: ExitStack, tmp_path: Path, silence: Silence, hung: int, limits: object,
    *, threads: bool,
) -> Tenants:  # fmt: skip
    """Start two workers of 16 calls, a healthy site and some whose API will say nothing."""
    launch = list
    if silence == "dns":
        if reason := cannot_silence_names():
            pytest.skip(f"{reason}: T36 with a silent name server needs one")
        launch = stack.enter_context(SilentNames(tmp_path)).launch
    api = SilentApi(silence)
    stack.callback(api.close)
    names = [f"hung-{place}" for place in range(hung)]
    sites = {name: {"api_url": api.url(name), **limits} for name in names}
    tenants = Tenants(world, {"well": {}, **sites})
    world.api.admin.set(latency_ms=LATENCY_MS)
    world.started(env=tenants.env(), size=2, concurrency=16, threads=threads, launch=launch)
    return tenants


def _took_ms(tenants: Tenants, n: int, prefix: str) -> list[float]:
    """Send jobs of the healthy site, 20 ms apart; ms from enqueue to result of each."""
    tenants.produce("well", n, prefix=prefix, every_s=0.02)
    ids = tenants.ids("well", f"{prefix}-")
    until(
        lambda: len(tenants.world.client.keys("*out:*")) >= len(tenants.ids("well")),
        timeout_s=60,
        what="the results of the healthy site",
    )
    return tenants.took_ms(ids)


def _compare(
    world: World, tenants: Tenants, figures: Counts, case: str, hung: int
) -> None:
    n = 400 if world.full else 60
    _took_ms(tenants, 20, "warm")
    alone = _took_ms(tenants, n, "alone")
    for place in range(hung):
        tenants.produce(f"hung-{place}", BACKLOG)
    beside = _took_ms(tenants, n, "beside")
    later = _took_ms(tenants, n, "later")
    measured = {
        f"{name}_{mark}_ms": round(percentile(took, share))
        for name, took in (("alone", alone), ("beside", beside), ("later", later))
        for mark, share in (("p50", 0.5), ("p99", 0.99))
    }
    figures.note("T36", case, n=3 * n, size="full" if world.full else "quick", **measured)
    assert measured["beside_p99_ms"] <= TIMES_MAX * measured["alone_p99_ms"], measured
    assert measured["later_p99_ms"] <= TIMES_MAX * measured["alone_p99_ms"], measured


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("silence", "hung", "limits"), CASES)
def test_a_hung_site_delays_no_other(
    world: World, stack: ExitStack, tmp_path: Path, figures: Counts,
    silence: Silence, hung: int, limits: dict[str, int], request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """T36: beside sites that hang, another one's jobs take at most twice their time alone."""
    tenants = _stand(world, stack, tmp_path, silence, hung, limits, threads=False)
    _compare(world, tenants, figures, request.node.callspec.id, hung)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("silence", "hung", "limits"), CASES)
def test_a_hung_site_delays_no_other_on_threads(
    world: World, stack: ExitStack, tmp_path: Path, figures: Counts,
    silence: Silence, hung: int, limits: dict[str, int], request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """T36: the same with dramatiq's worker threads, each of which waits for one call."""
    tenants = _stand(world, stack, tmp_path, silence, hung, limits, threads=True)
    _compare(world, tenants, figures, f"threads {request.node.callspec.id}", hung)
