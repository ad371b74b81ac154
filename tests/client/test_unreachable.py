"""What an app is told when Redis cannot be reached, and connections that went dead in silence."""

from __future__ import annotations

import asyncio
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from rig.producing import GIFT
from rig.proxy import ChaosProxy
from rig.server import RedisServer
from rig.stopwatch import Stopwatch

from worker import AsyncProducer, Producer, Settings
from worker.client import connections
from worker.client import producer as producer_module
from worker.engine import enqueue as enqueue_module
from worker.engine import redis_connection
from worker.engine.connection import PRODUCER
from worker.errors import BrokerUnavailableError

#: A producer is told within a second; the rest is the test's own time.
TOLD_S = 1.1
#: The bound of a call in tests of its repeat, where a second try must find time on a busy machine.
REPEAT_S = 3.0


def _refused(url: str) -> str:
    """What both producers say, which must be the same."""
    (text,) = _texts(url)
    return text


def _texts(url: str) -> set[str]:
    texts = set()
    began = Stopwatch()
    with Producer(Settings(redis_url=url)) as producer:
        with pytest.raises(BrokerUnavailableError) as caught:
            producer.gift_checkout(GIFT, site="acme-test")
        texts.add(str(caught.value))
        assert began.own_s < TOLD_S
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

    async def ask() -> None:
        async with AsyncProducer(Settings(redis_url=url)) as other:
            with pytest.raises(BrokerUnavailableError) as caught:
                await other.gift_checkout(GIFT, site="acme-test")
            texts.add(str(caught.value))

    asyncio.run(ask())
    return texts


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[ChaosProxy]:
    """A proxy before a server."""
    with ChaosProxy(redis_server.port) as made:
        yield made


# -- what is said


def test_refused_connection_is_told_with_its_address(free_port: int) -> None:
    """Address, database, cause and remedy; the password never."""
    text = _refused(f"redis://app:p%40ss@127.0.0.1:{free_port}/3")
    assert text == (
        f"Cannot reach Redis at redis://app:***@127.0.0.1:{free_port}/3 (connection refused). "
        "Nothing was enqueued; you can retry with the same key."
    )


def test_missing_database_is_told(redis_url: str) -> None:
    """A number that the server does not have is an error of the tree."""
    assert "the server has no database of this number" in _refused(
        redis_url.rpartition("/")[0] + "/9999"
    )


def test_tls_at_a_plain_port_is_told(redis_url: str) -> None:
    """A TLS client at a plain port learns that TLS is the matter."""
    # A busy server may answer the handshake too late: then its silence is the matter.
    texts = _texts(redis_url.replace("redis://", "rediss://"))
    assert all("does this port speak TLS?" in text for text in texts)


def test_missing_password_is_told(redis_server: RedisServer) -> None:
    """NOAUTH is named."""
    with redis_server.client() as client:
        client.config_set("requirepass", "secret")
        text = _refused(redis_server.url)
        assert "NOAUTH" in text
        assert "secret" not in text
        client.config_set("requirepass", "")


def test_unknown_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that the name server does not know."""

    def unknown(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "(name not found)" in _refused("redis://redis.example:6379/0")


# -- a silent name server


def test_silent_name_server_is_told_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every try is bounded, and all tries of one name share one thread."""
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: answer.wait(30) and [])
    try:
        threads = threading.active_count()
        for _ in range(3):
            text = _refused("redis://silent.example:6379/0")
        assert "the name server does not answer" in text
        lookups = [one for one in threading.enumerate() if one.name == "largesse-name-lookup"]
        assert len(lookups) == 1
        assert threading.active_count() <= threads + 2
    finally:
        answer.set()


def test_last_good_address_serves_while_the_name_server_is_silent(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that was known once goes on to work."""
    url = f"redis://localhost:{redis_server.port}/0"
    with Producer(Settings(redis_url=url)) as producer:
        producer.gift_checkout(GIFT, site="acme-test")
    answer = threading.Event()
    real = socket.getaddrinfo

    def silent(host: str, *args: Any, **options: Any) -> Any:
        if host == "localhost":
            answer.wait(30)
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    began = Stopwatch()
    try:
        with Producer(Settings(redis_url=url)) as producer:
            producer.gift_checkout(GIFT, site="acme-test")
        assert began.own_s < TOLD_S
    finally:
        answer.set()


# -- connections that a firewall forgot


@pytest.mark.parametrize("idle_s", [0.1, 60], ids=["after a rest", "at once"])
def test_forgotten_connections_fail_no_call(
    proxy: ChaosProxy, idle_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open connections fall silent for good: enqueue and read go on within their bound."""
    monkeypatch.setattr(redis_connection, "IDLE_S", idle_s)
    # Only what the repeat leaves of the bound is at stake: a busy machine gets more of it.
    monkeypatch.setattr(producer_module, "CALL_S", REPEAT_S)
    monkeypatch.setattr(connections, "PRODUCER", replace(PRODUCER, answer_s=REPEAT_S))
    url = f"redis://127.0.0.1:{proxy.port}/0"
    with Producer(Settings(redis_url=url)) as producer:
        job = producer.gift_checkout(GIFT, site="acme-test")
        for call in (lambda: producer.gift_checkout(GIFT, site="acme-test"), job.state):
            proxy.half_open()
            time.sleep(0.2)
            began = Stopwatch()
            call()
            assert began.own_s < REPEAT_S


def test_wait_goes_on_after_connections_were_forgotten(proxy: ChaosProxy, make_hand: Any) -> None:
    """A wait whose connections fall silent ends soon after its job."""
    url = f"redis://127.0.0.1:{proxy.port}/0"
    with Producer(Settings(redis_url=url)) as producer, ThreadPoolExecutor(1) as pool:
        job = producer.gift_checkout(GIFT, site="acme-test")
        waiting = pool.submit(job.result, 30)
        time.sleep(0.5)
        proxy.half_open()
        make_hand(f"redis://127.0.0.1:{proxy.target_port}/0").serve()
        ended = Stopwatch()
        assert waiting.result().job_id == job.id
        assert ended.own_s < 3


def test_async_forgotten_connection_fails_no_call(
    proxy: ChaosProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for asyncio."""
    monkeypatch.setattr(enqueue_module, "CALL_S", REPEAT_S)
    monkeypatch.setattr(connections, "PRODUCER", replace(PRODUCER, answer_s=REPEAT_S))

    async def ask() -> None:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        async with AsyncProducer(Settings(redis_url=url)) as producer:
            await producer.gift_checkout(GIFT, site="acme-test")
            await asyncio.to_thread(proxy.half_open)
            began = Stopwatch()
            await producer.gift_checkout(GIFT, site="acme-test")
            assert began.own_s < REPEAT_S

    asyncio.run(ask())
