"""Messages of other actors on the engine's broker: encrypted like jobs, on either worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.results import ResultFailure, Results
from rig.crew import Crew
from rig.keys import keys
from rig.queue import Queue
from rig.waiting import until

from worker.encryption import Cipher
from worker.engine.delivery import KEY_WAIT_MS
from worker.engine.keys import Keyspace
from worker.engine.results_backend import EngineResults
from worker.settings import Settings

SECRET = "kanari.bird@example.com"


def cipher(*ids: str) -> Cipher:
    """A cipher with keys of these ids."""
    url = "redis://127.0.0.1:1/0"
    return Cipher.of(Settings(redis_url=url, encryption_keys=keys(*ids)))


@pytest.fixture(params=["threads", "loop"])
def crew(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Crew]:
    """A broker with a key, and either worker."""
    made = Crew(request.param, redis_url)
    made.broker.keyspace = Keyspace(cipher=cipher("k1"))
    made.broker.scripts.keyspace = made.broker.keyspace
    made.add(Results(backend=EngineResults(made.broker)))
    yield made
    made.close()


def stored(crew: Crew) -> list[bytes]:
    """Every text under every key of the server."""
    client: Any = crew.broker.client
    found: list[bytes] = []
    for name in client.scan_iter("*"):
        kind = client.type(name)
        if kind == b"string":
            found.append(client.get(name))
        elif kind == b"hash":
            found += client.hgetall(name).values()
    return found


def test_messages_results_and_retries_are_encrypted(crew: Crew) -> None:
    """Arguments, a result, a retry and the failure of a dead message: none is stored in clear."""
    tries: list[str] = []

    def echo(text: str) -> str:
        return text.upper()

    def fail(text: str) -> None:
        tries.append(text)
        raise ValueError(text)

    echoing = crew.actor(echo, store_results=True)
    failing = crew.actor(fail, max_retries=2, store_results=True)
    good, bad = echoing.send(SECRET), failing.send(SECRET)
    assert not [one for one in stored(crew) if SECRET.encode() in one]
    crew.start()
    assert good.get_result(block=True) == SECRET.upper()
    with pytest.raises(ResultFailure):
        bad.get_result(block=True)
    crew.join()
    assert tries == [SECRET] * 3
    assert crew.dead() == [bad.message_id]
    assert not [one for one in stored(crew) if SECRET.encode() in one.lower()]
    keyspace = crew.broker.keyspace
    raw: Any = crew.broker.client.get(keyspace.message(bad.message_id))
    text = keyspace.cipher.decrypt(raw, job_id=bad.message_id, part="message")
    message: dramatiq.Message[Any] = dramatiq.Message.decode(text)
    assert message.args == (SECRET,)


def test_message_without_its_key_is_held(crew: Crew, redis_url: str) -> None:
    """A worker that lacks the key leaves the message to others, then holds it with the reason."""
    runs: list[str] = []
    actor = crew.actor(runs.append, actor_name="note", queue_name="notes")
    message = actor.send(SECRET)
    crew.broker.keyspace = Keyspace(cipher=cipher("other"))
    crew.broker.scripts.keyspace = crew.broker.keyspace
    crew.start()
    client: Any = crew.broker.client
    name = crew.broker.keyspace.job(message.message_id)
    until(lambda: client.hget(name, "state") == b"delayed", what="the first try")
    client.hincrby(name, "first_delivery_at", -KEY_WAIT_MS)
    until(lambda: client.hget(name, "state") == b"held", timeout_s=30, what="the hold")
    assert b"encrypted with key k1" in client.hget(name, "reason")
    assert client.hget(name, "attempts") in {None, b"0"}
    assert Queue(client).key("held").encode() in client.keys("*")
    assert runs == []
