"""Sites that a process leaves to others: never fetched, or probed now and then."""

from __future__ import annotations

from worker.engine.bulkhead import Bulkhead
from worker.engine.exclusions import PROBE_S, Exclusions


def test_excluded_site_is_probed_after_a_while() -> None:
    """One job a minute tells if the site works again; the next one comes a minute later."""
    now = [0.0]
    exclusions = Exclusions(clock=lambda: now[0])
    assert exclusions.exclude("acme", probe=True)
    assert not exclusions.exclude("acme", probe=True)
    assert exclusions.limits() == {"acme": 0}
    now[0] += PROBE_S
    assert exclusions.limits() == {"acme": 1}
    exclusions.started("acme")
    assert exclusions.allowed("acme") == 0
    assert exclusions.include("acme")
    assert not exclusions.include("acme")
    assert exclusions.allowed("acme") is None


def test_site_without_a_key_is_never_probed() -> None:
    """There is nothing to send; a key that turns up includes the site again."""
    now = [0.0]
    exclusions = Exclusions(clock=lambda: now[0])
    exclusions.exclude("acme", probe=False)
    now[0] += 10 * PROBE_S
    exclusions.started("acme")
    assert exclusions.limits() == {"acme": 0}


def test_site_that_gets_a_wrong_key_in_place_of_none_is_probed() -> None:
    """And the other way round: a key that goes away ends the probes."""
    now = [0.0]
    exclusions = Exclusions(clock=lambda: now[0])
    exclusions.exclude("acme", probe=False)
    assert not exclusions.exclude("acme", probe=True)
    now[0] += PROBE_S
    assert exclusions.allowed("acme") == 1
    exclusions.exclude("acme", probe=False)
    assert exclusions.allowed("acme") == 0


def test_bulkhead_asks_for_no_job_of_an_excluded_site() -> None:
    """The fetch names the site with the calls that it may get now."""
    exclusions = Exclusions()
    bulkhead = Bulkhead(8, overflow=True, exclusions=exclusions)
    assert bulkhead.limits() == []
    exclusions.exclude("acme", probe=True)
    assert bulkhead.limits() == ["acme", 0]
