"""Results of other actors, kept by the engine: what an actor returns travels with its ending.

    broker = EngineBroker(url=...)
    broker.add_middleware(dramatiq.results.Results(backend=EngineResults(broker)))

    @dramatiq.actor(store_results=True)
    def add(x, y):
        return x + y

    add.send(1, 2).get_result(block=True, timeout=5_000)

With dramatiq's own backends the result and the acknowledgement are two commands, on two
connections: when the first one fails the message is done and its result is lost. Here the result,
or the exception of a message that failed for good, is part of the ending and stored by the same
script. Either both are in Redis or the message is still to be ended.

A result is kept for its `result_ttl`, or for the ten minutes that the message's record is kept
when that is longer; a failure as long as its dead letter. Whoever blocks is woken by the ending.
The Chargebee actors do not use it: their outcomes are read with `worker.ResultReader`.
"""

from __future__ import annotations

import time
from typing import Any, Final, Protocol

import redis
from dramatiq import Encoder, Message
from dramatiq.results import Missing, ResultBackend, ResultMissing, ResultTimeout
from dramatiq.results.result import unwrap_result, wrap_exception, wrap_result

from worker.engine.delivery import Delivery
from worker.engine.keys import Keyspace
from worker.engine.redis_errors import speaking_to_redis

__all__ = ["EngineResults"]

#: Milliseconds that a blocking read waits unless told otherwise; as dramatiq's own backends.
TIMEOUT_MS: Final = 10_000
#: Seconds between two looks of a blocking read, should its wake-up get lost.
FALL_BACK_S: Final = 0.5


class KeptIn(Protocol):
    """What results are kept in: an `EngineBroker`."""

    client: redis.Redis
    keyspace: Keyspace


class EngineResults(ResultBackend):
    """A result backend for dramatiq's `Results` middleware on an `EngineBroker`.

    Args:
        broker: the broker whose messages' results these are; its connections are used.
        encoder: how results are encoded; dramatiq's global encoder when None.
    """

    def __init__(self, broker: KeptIn, *, encoder: Encoder | None = None) -> None:
        super().__init__(namespace=broker.keyspace.namespace, encoder=encoder)
        self._client = broker.client
        self._keyspace = broker.keyspace
        self._cipher = broker.keyspace.cipher

    def build_message_key(self, message: Message[Any]) -> str:
        """Give the key under which the result of a message is kept."""
        return self._keyspace.outcome(message.message_id)

    def get_result(
        self, message: Message[Any], *, block: bool = False, timeout: int | None = None
    ) -> Any:
        """Read the result of a message.

        Args:
            message: the message.
            block: wait until it is there.
            timeout: most ms to wait; 10 s when None.

        Raises:
            ResultMissing: it is not there, and `block` is False.
            ResultTimeout: it was not there in time.
            ResultFailure: the actor failed for good.
            BrokerUnavailableError: Redis is unreachable.
            EncryptionError: this process cannot decrypt it.
        """
        with speaking_to_redis():
            found = self._read(message)
            if found is Missing and block:
                wait_s = (TIMEOUT_MS if timeout is None else timeout) / 1000
                found = self._wait(message, time.monotonic() + wait_s)
        if found is Missing:
            raise ResultTimeout(message) if block else ResultMissing(message)
        return unwrap_result(found)

    def store_result(self, message: Message[Any], result: Any, ttl: int) -> None:
        """Store a result: with the ending of the message, when it is being ended.

        Args:
            message: the message.
            result: what the actor returned; the encoder must take it.
            ttl: milliseconds to keep it.
        """
        self._keep(message, wrap_result(result), ttl)

    def store_exception(self, message: Message[Any], exception: Exception, ttl: int) -> None:
        """Store a failure: with the ending of the message, when it is being ended."""
        self._keep(message, wrap_exception(exception), ttl)

    def _keep(self, message: Any, result: Any, ttl: int) -> None:
        if not isinstance(message, Delivery):
            text = self.encoder.encode(result)
            data = self._cipher.encrypt(text, job_id=message.message_id, part="outcome")
            with speaking_to_redis():
                self._client.set(self.build_message_key(message), data, px=ttl)
        elif not message.resolved:  # once it is, the failure has been taken along
            message.stored = (self.encoder.encode(result), ttl)

    def _wait(self, message: Message[Any], deadline: float) -> Any:
        with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe(self._keyspace.channel(message.message_id))
            while True:
                found = self._read(message)
                left_s = deadline - time.monotonic()
                if found is not Missing or left_s <= 0:
                    return found
                pubsub.get_message(timeout=min(left_s, FALL_BACK_S))

    def _read(self, message: Message[Any]) -> Any:
        data: Any = self._client.get(self.build_message_key(message))
        if data is None:
            return Missing
        job_id = message.message_id
        return self.encoder.decode(self._cipher.decrypt(data, job_id=job_id, part="outcome"))
