"""Equal requests for offers, asked for at the same time: one call and one answer for all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from rig.system import System

from worker import Settings
from worker.jobs import job as job_module
from worker.jobs.job import Job

OFFER = {
    "customer_id": "c-1",
    "request_context": {
        "timezone": "Europe/Berlin",
        "url": "https://shop.example/offers",
        "user_agent": "Mozilla/5.0",
        "locale": "en-US",
    },
}
SHARE_S = 30


def _key_at(monkeypatch: pytest.MonkeyPatch, at_s: float) -> str:
    """Id of the job that a request for the offers makes at a time."""
    monkeypatch.setattr(job_module, "time", SimpleNamespace(time=lambda: at_s))
    environ = {
        "LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0",
        "CHARGEBEE_SITE": "acme-test",
        "LARGESSE_SHARE_OFFERS_S": str(SHARE_S),
    }
    return Job.prepare(Settings.from_env(environ), "personalized_offer", OFFER).id


def test_shared_answer_is_never_older_than_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests may be one job when less than the setting lies between them, never later."""
    began = 1_800_000_000.0  # a multiple of the setting
    first = _key_at(monkeypatch, began)
    assert _key_at(monkeypatch, began + SHARE_S - 0.001) == first
    assert _key_at(monkeypatch, began + SHARE_S) != first
    for offset_s in range(SHARE_S):
        asked = _key_at(monkeypatch, began + offset_s)
        assert _key_at(monkeypatch, began + offset_s + SHARE_S) != asked


def test_equal_offers_at_the_same_time_are_one_call(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty askers, some of them late, get one answer of one call; another customer another."""
    monkeypatch.setattr(job_module, "time", SimpleNamespace(time=lambda: 1_800_000_000.0))
    producer = system.producer({"LARGESSE_SHARE_OFFERS_S": str(SHARE_S)})
    system.admin.set(latency_ms=100)
    system.worker()

    def ask(_: int) -> list[object]:
        return list(producer.personalized_offer(OFFER).result(timeout=20).offers or [])

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(20)))
    assert all(one == answers[0] for one in answers)
    assert len(system.admin.requests()) == 1
    producer.personalized_offer({**OFFER, "customer_id": "c-2"}).result(timeout=20)
    assert len(system.admin.requests()) == 2
