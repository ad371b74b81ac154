"""The stand-in API of the benchmark: every call a page, held calls, refusals."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from benchmarks.stand_in import StandIn
from benchmarks.work import PATH, headers, payload


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """A client with the benchmark's headers."""
    with httpx.Client(headers=headers(), timeout=5) as client:
        yield client


def _page(client: httpx.Client, api: StandIn, job: int) -> str:
    answer = client.post(api.url + PATH, data=payload(job))
    answer.raise_for_status()
    page: str = answer.json()["hosted_page"]["id"]
    return page


def test_stand_in_makes_a_page_for_every_call(client: httpx.Client) -> None:
    """A second call for a job makes a second page, so that it cannot hide."""
    with StandIn(0) as api:
        first, second, other = (_page(client, api, job) for job in (7, 7, 8))
        assert api.pages() == {7: [first, second], 8: [other]}
        assert len({first, second, other}) == 3
        assert api.look()["calls"] == 3


def test_stand_in_takes_its_time(client: httpx.Client) -> None:
    """An answer comes after the latency, not before."""
    with StandIn(80) as api:
        started = time.monotonic()
        _page(client, api, 1)
        assert 0.08 <= time.monotonic() - started < 2


def test_stand_in_holds_what_follows_the_warm_up(client: httpx.Client) -> None:
    """Calls after the warm-up wait until they are released."""
    found: list[str] = []
    with StandIn(0, warm_up=1) as api:
        _page(client, api, 1)
        caller = threading.Thread(target=lambda: found.append(_page(client, api, 2)))
        caller.start()
        while api.look()["in_flight"] == 0:
            assert caller.is_alive()
        assert not found
        api.release()
        caller.join(5)
        assert found == api.pages()[2]


@pytest.mark.parametrize("without", ["authorization", "job"])
def test_stand_in_refuses(client: httpx.Client, without: str) -> None:
    """A call without its credentials, or without a job, makes no page."""
    fields = payload(1)
    if without == "authorization":
        del client.headers["Authorization"]
    else:
        del fields["redirect_url"]
    with StandIn(0) as api:
        assert client.post(api.url + PATH, data=fields).status_code == 400
        assert api.look()["calls"] == 0
