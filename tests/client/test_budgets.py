"""Which budget a job counts in, and which jobs are one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from worker import Producer, Settings
from worker.engine.broker import CONFIGURE_MAX, Budget, EngineBroker
from worker.process.budgets import budget_of

OFFER = {"customer_id": "c-1"}
SITES = """
[sites.acme]
api_key = "env:ACME_KEY"
grow_budget = true
[sites.plain]
api_key = "env:PLAIN_KEY"
"""


@pytest.fixture
def environ(redis_url: str, tmp_path: Path) -> dict[str, str]:
    """Two sites, one of them with a budget of its own for the grow host."""
    path = tmp_path / "sites.toml"
    path.write_text(SITES)
    return {"LARGESSE_REDIS_URL": redis_url, "LARGESSE_SITES": str(path)}


def test_offers_stand_in_a_line_of_their_own_where_the_host_has_its_own_budget(
    environ: dict[str, str], client: redis.Redis
) -> None:
    """With `grow_budget` offers and gifts of a site do not wait for each other."""
    with Producer.from_env(environ) as producer:
        producer.personalized_offer(OFFER, site="acme")
        producer.gift_checkout({}, site="acme")
        producer.personalized_offer(OFFER, site="plain")
    lines = client.smembers("{largesse:0}:q:chargebee:lines")
    assert lines == {b"acme", b"acme/grow", b"plain"}


def test_budget_of_a_host_does_not_show_in_the_job(
    environ: dict[str, str], redis_url: str
) -> None:
    """The job, its delivery and its outcome name the site."""
    with Producer.from_env(environ) as producer:
        job = producer.personalized_offer(OFFER, site="acme", deadline_s=0.001)
        assert job.site == "acme"
        assert producer.results.get(job.id).site == "acme"
        broker = EngineBroker(url=redis_url, middleware=[])
        broker.scripts.run("fetch", 0, ["chargebee", "w", 1, 15_000, 3, 60_000, 100, 1])
        result = producer.results.wait(job.id, timeout=5)
        assert (result.state, result.site) == ("expired", "acme")
        (_, fields), *_ = broker.client.xrange("{largesse:0}:outcomes")
        assert fields[b"site"] == b"acme"
        assert json.loads(fields[b"outcome"])["site"] == "acme"
        broker.close()


def test_budget_counts_what_a_minute_can_see(environ: dict[str, str]) -> None:
    """Rate, burst and the call that starts a minute add up to the site's limit and no more."""
    site = Settings.from_env(environ).site("plain")
    budget = budget_of(site)
    assert budget.rate_per_minute + budget.burst + 1 <= site.rate_per_minute
    assert budget.rate_per_minute >= 0.97 * site.rate_per_minute


def test_many_sites_are_configured_in_short_calls(redis_url: str, client: redis.Redis) -> None:
    """Ten thousand sites hold up nobody: no call of the script has more than some hundred."""
    broker = EngineBroker(url=redis_url, middleware=[])
    budgets = [
        Budget(f"site-{number}", rate_per_minute=150, burst=3, max_in_flight=50)
        for number in range(2 * CONFIGURE_MAX + 1)
    ]
    client.config_resetstat()
    assert broker.configure(budgets).keys() == {one.site for one in budgets}
    stats = client.info("commandstats")
    assert (
        sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha")) >= 3
    )
    assert client.scard("{largesse:0}:sites") == len(budgets)
    broker.close()


def test_equal_offers_are_one_job_where_sharing_is_on(environ: dict[str, str]) -> None:
    """Equal requests of one moment share a job; another payload, site or key has its own."""
    with Producer.from_env({**environ, "LARGESSE_SHARE_OFFERS_S": "3600"}) as producer:
        first = producer.personalized_offer(OFFER, site="acme")
        assert producer.personalized_offer(OFFER, site="acme").id == first.id
        others = [
            producer.personalized_offer({"customer_id": "c-2"}, site="acme"),
            producer.personalized_offer(OFFER, site="plain"),
            producer.personalized_offer(OFFER, site="acme", key="mine"),
            producer.personalized_offer(OFFER, site="acme", delay_s=1),
        ]
        assert len({first.id, *(one.id for one in others)}) == 5
        gifts = {producer.gift_checkout({}, site="acme").id for _ in range(2)}
        assert len(gifts) == 2, "a gift is never shared"


def test_equal_offers_are_jobs_of_their_own_by_default(environ: dict[str, str]) -> None:
    """Nobody gets another request's answer without having asked for it."""
    with Producer.from_env(environ) as producer:
        ids = {producer.personalized_offer(OFFER, site="acme").id for _ in range(3)}
    assert len(ids) == 3


def test_share_takes_its_part_of_rate_and_cap(environ: dict[str, str]) -> None:
    """A fleet with a share of 0.4 uses that much of both, and one call at once at least."""
    site = Settings.from_env(environ).site("plain")
    whole = budget_of(replace(site, rate_per_minute=3_500, max_in_flight=50))
    part = budget_of(replace(site, rate_per_minute=3_500, max_in_flight=50, share=0.4))
    assert part.rate_per_minute + part.burst + 1 <= 1_400
    assert part.rate_per_minute == pytest.approx(whole.rate_per_minute * 0.4, rel=0.01)
    assert (whole.max_in_flight, part.max_in_flight) == (50, 20)
    assert budget_of(replace(site, max_in_flight=1, share=0.1)).max_in_flight == 1
    unlimited = budget_of(replace(site, rate_per_minute=0, max_in_flight=0, share=0.4))
    assert (unlimited.rate_per_minute, unlimited.max_in_flight) == (0, 0)
