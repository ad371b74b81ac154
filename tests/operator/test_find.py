"""Finding jobs beyond one page, on several shards, among ids that have gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rig.shelf import GIFT, Shelf

from worker import Producer, Settings
from worker.engine.record import JobState
from worker.operator import OperatorClient
from worker.operator.job_query import JobQuery


@pytest.fixture
def shelf(redis_url: str) -> Iterator[Shelf]:
    """Jobs in any state, on an empty database."""
    made = Shelf(redis_url)
    yield made
    made.close()


def test_find_goes_through_many_pages(shelf: Shelf) -> None:
    """A filter that fits a few of many thousand finds them, at either end of the line."""
    specs = [{"kind": "gift_checkout", "payload": GIFT, "site": "acme-test"}] * 1200
    first = shelf.offer()
    shelf.producer.enqueue_many(specs)
    last = shelf.offer()
    with shelf.operator() as operator:
        found = operator.find(JobQuery(kind="personalized_offer"))
        everything = operator.find(JobQuery(limit=5_000))
    assert {one.job_id for one in found.records} == {first.id, last.id}
    assert not found.is_partial
    assert len(everything.records) == 1202


def test_find_leaves_out_what_has_gone(shelf: Shelf) -> None:
    """An outcome outlives its record in the stream: the job is not listed."""
    job = shelf.succeed(shelf.gift(), page_id="gone")
    shelf.client.delete(shelf.queue.key(f"job:{job.id}"))
    with shelf.operator() as operator:
        assert operator.find(JobQuery()).records == []
        assert operator.find(JobQuery(page_id="gone")).records == []


def test_find_lists_a_replayed_job_once(shelf: Shelf) -> None:
    """It is in the stream and in its line; its state of now counts."""
    job = shelf.fail(shelf.gift())
    with shelf.operator() as operator:
        operator.replay(job.id)
        assert [one.state for one in operator.find(JobQuery()).records] == [JobState.QUEUED]
        assert operator.find(JobQuery(states=frozenset({JobState.FAILED}))).records == []


def test_find_looks_on_every_shard(redis_url: str) -> None:
    """Sites on several shards are found together, and each alone."""
    settings = Settings.from_env({"LARGESSE_REDIS_URL": redis_url, "LARGESSE_SHARDS": "4"})
    sites = [f"site-{n}" for n in range(8)]
    with Producer(settings) as producer:
        jobs = [producer.gift_checkout(GIFT, key="same", site=site) for site in sites]
    with OperatorClient(settings) as operator:
        assert {one.job_id for one in operator.find(JobQuery()).records} == {
            job.id for job in jobs
        }
        assert len(operator.find(JobQuery(key="same")).records) == 8
        (one,) = operator.find(JobQuery(site="site-3")).records
        assert one.job_id == jobs[3].id
        assert [site.name for site in operator.sites()] == sites
        assert sum(queue.waiting["interactive"] for queue in operator.queues()) == 8
