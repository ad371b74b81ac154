"""T19 to T22: answers that drip, lie or lead elsewhere, and connections that never stand."""

from __future__ import annotations

import ssl
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rig.figures import Counts
from rig.invariants import PREFIX
from rig.proxy import ChaosProxy
from rig.spy import Spy, certificate, server_context
from rig.tenants import Tenants
from rig.waiting import until
from rig.world import World

from worker.demo.embedded import free_port
from worker.operator import OperatorClient
from worker.settings import Settings

#: s by which an attempt may miss its deadline.
DEADLINE_SLACK_S = 0.5
SLOW: dict[str, dict[str, Any]] = {
    "drip": {"fault": "drip", "every_ms": 200},
    "drip-head": {"fault": "drip", "every_ms": 200, "from": "start"},
    "stall-start": {"fault": "stall", "at": "start"},
    "stall-head": {"fault": "stall", "at": "headers"},
    "stall-body": {"fault": "stall", "at": "body"},
    "endless": {"fault": "endless"},
}
#: 30 answers that are none, by the class that their jobs must end in.
PAGE = '{"hosted_page": %s}'
BODIES: dict[str, tuple[str, int]] = {
    "empty": ("", 200),
    "null": ("null", 200),
    "list": ("[]", 200),
    "number": ("1e400", 200),
    "string": ('"hosted_page"', 200),
    "half": ('{"hosted_page": {"id": "p1", "ur', 200),
    "nothing-known": ('{"ok": true}', 200),
    "page-null": (PAGE % "null", 200),
    "page-list": (PAGE % "[]", 200),
    "page-empty": (PAGE % "{}", 200),
    "page-no-id": (PAGE % '{"url": "https://a.example/p", "state": "created"}', 200),
    "page-no-url": (PAGE % '{"id": "p1", "state": "created"}', 200),
    "page-url-list": (PAGE % '{"id": "p1", "url": []}', 200),
    "page-id-number": (PAGE % '{"id": 1, "url": "https://a.example/p"}', 200),
    "deep": ("[" * 5_000 + "]" * 5_000, 200),
    "nan": (PAGE % "NaN", 200),
    "bom": ("\ufeff" + PAGE % "null", 200),
    "created": ("", 201),
    "accepted-html": ("<p>later</p>", 202),
}
GARBAGE: dict[str, dict[str, Any]] = {
    **{
        name: {"fault": "body", "text": text, "status": status}
        for name, (text, status) in BODIES.items()
    },
    "truncated": {"fault": "truncated_json"},
    "types": {"fault": "wrong_types"},
    "null-url": {"fault": "null_url"},
    "object": {"fault": "empty_object"},
    "duplicate-keys": {"fault": "duplicate_keys"},
    "charset": {"fault": "wrong_charset"},
    "big": {"fault": "big"},
    "bomb": {"fault": "gzip_bomb"},
    "no-content": {"fault": "no_content"},
    "portal": {"fault": "html"},
    "not-http": {"fault": "garbage"},
}
REDIRECTS = (301, 302, 303, 307, 308)


def _resume_all(tenants: Tenants) -> None:
    with OperatorClient(Settings.from_env(tenants.env())) as operator:
        for name in tenants.names:
            operator.resume(name)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "threads", [False, pytest.param(True, marks=pytest.mark.faults)], ids=["loop", "threads"]
)
def test_slow_answers_are_cut_at_the_deadline(
    world: World, figures: Counts, threads: bool
) -> None:
    """T19: dripping, stalled and endless answers end at the total deadline; the worker goes on."""
    n, deadline_s = (17, 5.0) if world.full else (3, 1.2)
    tenants = Tenants(world, {name: {} for name in SLOW})
    for name, fault in SLOW.items():
        world.api.admin.add_fault(site=name, times=n, **fault)
    env = tenants.env(LARGESSE_ATTEMPT_TIMEOUT_S=deadline_s)
    fleet = world.started(env=env, size=1, concurrency=128, threads=threads)
    for name in SLOW:
        tenants.produce(name, n)
    until(
        lambda: sum(len(tenants.history(one)) for one in world.log.job_ids()) >= n * len(SLOW),
        timeout_s=deadline_s + 15,
        what="the cut attempts",
    )
    cuts = [one for job_id in world.log.job_ids() for one in tenants.history(job_id)]
    _resume_all(tenants)  # ten in a row trip a site
    world.wait(timeout_s=30)
    took_s = [one["ms"] / 1000 for one in cuts]
    world.judge(
        figures,
        "T19",
        f"slow answers, {'threads' if threads else 'loop'}",
        deadline_s=deadline_s,
        cut=len(cuts),
        shortest_s=min(took_s),
        longest_s=max(took_s),
        errors=dict(Counter(one["error"] for one in cuts)),
    )
    assert not fleet.deaths
    assert max(abs(one - deadline_s) for one in took_s) <= (DEADLINE_SLACK_S if world.full else 3)


@pytest.mark.timeout(600)
def test_garbage_is_classed_and_never_taken_for_a_page(world: World, figures: Counts) -> None:
    """T20: thirty answers that are none: each attempt is unknown, and ends up before a person."""
    assert len(GARBAGE) == 30
    rounds, n = (10, 2) if world.full else (1, 1)
    tenants = Tenants(world, {name: {} for name in GARBAGE})
    for name, fault in GARBAGE.items():
        world.api.admin.add_fault(site=name, **fault)
    fleet = world.started(env=tenants.env(LARGESSE_GIFT_CHECKOUT_MAX_ATTEMPTS=2))
    for number in range(rounds):
        for name in GARBAGE:
            tenants.produce(name, n, prefix=f"round-{number}")
        world.wait(timeout_s=60)
        _resume_all(tenants)
    states: dict[str, Counter[str]] = {}
    for name in GARBAGE:
        ids = tenants.ids(name)
        states[name] = Counter(
            str(world.client.hget(f"{PREFIX}job:{one}", "state")) for one in ids
        )
    reasons = {name: tenants.history(tenants.ids(name)[0])[0]["error"] for name in GARBAGE}
    verdict = world.judge(
        figures, "T20", "garbage", variants=len(GARBAGE), reasons=reasons, may_fail=True
    )
    assert {name: set(found) for name, found in states.items()} == {
        name: {"held"} for name in GARBAGE
    }
    assert verdict.states == {"held": rounds * n * len(GARBAGE)}
    assert not fleet.deaths
    assert "Traceback" not in fleet.output()
    assert "internal" not in fleet.output()


def test_redirects_are_not_followed(world: World, figures: Counts) -> None:
    """T21: no redirect is followed, nobody else sees the key; the site waits, then drains."""
    n = 20 if world.full else 3
    tenants = Tenants(world, {f"to-{status}": {} for status in REDIRECTS})
    with Spy() as spy:
        for status in REDIRECTS:
            location = f"http://127.0.0.1:{spy.port}/api/v2/elsewhere"
            world.api.admin.add_fault(
                "redirect", site=f"to-{status}", status=status, location=location
            )
        world.started(env=tenants.env())
        for name in tenants.names:
            tenants.produce(name, n)
        for name in tenants.names:
            until(lambda name=name: tenants.field(name, "tripped"), what="the site to trip")
        time.sleep(0.3)
        reasons = {name: tenants.field(name, "tripped") for name in tenants.names}
        world.api.admin.clear_faults()
        _resume_all(tenants)
        world.wait(timeout_s=30)
    world.judge(
        figures,
        "T21",
        "redirects",
        statuses=list(REDIRECTS),
        reasons=reasons,
        connections_to_another_host=spy.connections,
        authorization_seen=spy.heard.count(b"uthorization"),
    )
    assert spy.connections == 0
    assert spy.heard == b""


def _unreachable(folder: Path, spies: list[Spy]) -> dict[str, str]:
    """Origins that no request can reach: name to URL; the spies are started."""
    expired = server_context(certificate(folder / "expired", days=-1))
    other = server_context(certificate(folder / "other", host="other.example"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = server_context(certificate(folder / "old"), newest=ssl.TLSVersion.TLSv1_1)
    urls = {"refused": f"http://127.0.0.1:{free_port()}", "no-name": "http://nobody.invalid"}
    for name, context in (("expired", expired), ("other-host", other), ("old-tls", old)):
        spy = Spy(context)
        spies.append(spy)
        spy.__enter__()
        urls[name] = f"https://localhost:{spy.port}"
    return urls


def test_connections_that_never_stand_send_nothing(
    world: World, figures: Counts, tmp_path: Path
) -> None:
    """T22: TLS that does not hold, no name, RST on connect: not sent, nothing burnt, no page."""
    n = 6 if world.full else 3  # ten failures in a row trip a site
    spies: list[Spy] = []
    try:
        urls = _unreachable(tmp_path / "tls", spies)
        tenants = Tenants(world, {name: {"api_url": url} for name, url in urls.items()})
        trust = tmp_path / "trust.pem"
        trust.write_text("".join(p.read_text() for p in sorted(tmp_path.glob("tls/*/signed"))))
        fleet = world.started(env={**tenants.env(), "SSL_CERT_FILE": str(trust)})
        for name in urls:
            tenants.produce(name, n)
        ids = world.log.job_ids()
        until(
            lambda: all(tenants.history(one) for one in ids), timeout_s=30, what="an attempt each"
        )
        found = {name: tenants.history(tenants.ids(name)[0])[0]["error"] for name in urls}
        classes = Counter(one["error"] for job_id in ids for one in tenants.history(job_id))
        burnt = sum(int(world.client.hget(f"{PREFIX}job:{one}", "attempts") or 0) for one in ids)
        unsure = sum(
            bool(world.client.hexists(f"{PREFIX}job:{one}", "unsure_since")) for one in ids
        )
    finally:
        for spy in spies:
            spy.__exit__()
    figures.note(
        "T22",
        "connections that never stand",
        n=len(ids),
        reasons=found,
        attempts=sum(classes.values()),
        attempts_burnt=burnt,
        unknown_outcomes=unsure,
        bytes_heard=sum(len(spy.heard) for spy in spies),
        pages=world.api.admin.counts()["pages"],
        **world.versions(),
        size="full" if world.full else "quick",
    )
    assert not fleet.deaths
    assert (burnt, unsure) == (0, 0)
    assert [spy.heard for spy in spies] == [b"", b"", b""]
    assert all(spy.connections for spy in spies)
    assert world.api.admin.counts()["requests"] == 0


def test_reset_on_connect_is_not_sent(world: World, figures: Counts) -> None:
    """T22: an address that resets every connection burns nothing; the jobs go on afterwards."""
    n = 200 if world.full else 20
    with ChaosProxy(world.api.port) as line:
        line.set(refuse=True)
        world.started(env=world.env(api_port=line.port))
        world.produce(n)
        until(lambda: line.accepted >= 10, what="tries")
        line.heal()
        with OperatorClient(Settings.from_env(world.env())) as operator:
            operator.resume(world.api.site)
        world.wait(timeout_s=60)
    counts = world.api.admin.counts()
    world.judge(figures, "T22", "RST on connect", tries=line.accepted, replayed=counts["replayed"])
    assert counts["pages"] == counts["requests"] == n
