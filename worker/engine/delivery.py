"""A delivery: one job in the hands of one worker, under a lease."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final

from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.errors import DecodeError

from worker.encryption import PLAIN, Cipher, Part
from worker.engine.endings import Bury, Ending, Finish, Retry
from worker.engine.enqueue import Entry
from worker.errors import EncryptionError
from worker.logs.events import JOB_HELD, emit

__all__ = ["Batch", "Delivery", "Undecodable", "Unreadable", "current_delivery"]

_log = logging.getLogger("worker.process")

#: Milliseconds that records of plain messages outlive their run, so that a send repeated by a
#: client whose first copy has already run is recognised.
MESSAGE_TTL_MS: Final = 600_000
#: Milliseconds that dead plain messages are kept. dramatiq keeps them as long.
DEAD_MESSAGE_TTL_MS: Final = 7 * 86_400_000
#: Milliseconds from its first delivery for which a job that this worker cannot decrypt is left to
#: others: while keys are rotated, some workers have a key and others do not have it yet.
KEY_WAIT_MS: Final = 60_000
#: Milliseconds between two tries: each takes one call off the rate of its site.
KEY_RETRY_MS: Final = 5_000

_CURRENT: ContextVar[Delivery | None] = ContextVar("largesse_delivery", default=None)


def current_delivery() -> Delivery:
    """Give the delivery that the running actor works on.

    Raises:
        LookupError: no actor is running here.
    """
    delivery = _CURRENT.get()
    if delivery is None:
        raise LookupError("no delivery: this is not inside an actor of the engine's broker")
    return delivery


class Delivery(MessageProxy):
    """One job in the hands of one worker.

    Attributes:
        job_id: id of the job, and of its message.
        shard: shard it came from.
        fence: number of this delivery; endings of an earlier one are refused.
        deliveries: deliveries in a row without an ending, this one included.
        attempts: attempts counted before this one.
        enqueued_at_ms, first_delivery_at_ms, delivered_at_ms: Redis time, Unix ms.
        unsure_since_ms: when the first attempt whose outcome is unknown was handed out, or None.
        deadline_at_ms: when it is too late to run, or None.
        epoch: how often the job was given a new idempotency key.
        site, lane: where it stood.
        budget: what its call counts in: the site, or one of its hosts, such as `acme/grow`.
        ending: what the actor decided, or None.
        follow: entries to take in together with the ending.
        stored: encoded result or failure to store together with the ending, and the ms to keep it.
        resolved: True once the ending was asked for: nothing can be added to it any more.
        sent: True from the moment the request may have left this machine.
        recalled: True when it is to go back to its line unless it was sent.
    """

    def __init__(
        self,
        message: Message[Any],
        fields: list[Any],
        *,
        shard: int,
        now_ms: int,
        lease_ms: int,
        cipher: Cipher = PLAIN,
    ) -> None:
        super().__init__(message)
        self._cipher = cipher
        # What is asked for again and again is here itself, not behind the proxy.
        self.job_id = self.message_id = message.message_id
        self.queue_name = message.queue_name
        self.actor_name = message.actor_name
        self.options = message.options
        self.shard = shard
        self.fence = int(fields[2])
        rest = fields[3].split(b" ", 8)
        self.deliveries = int(rest[0])
        self.attempts = int(rest[1])
        self.enqueued_at_ms = int(rest[2])
        self.first_delivery_at_ms = int(rest[3])
        self.unsure_since_ms = int(rest[4]) if rest[4] else None
        self.deadline_at_ms = int(rest[5]) if rest[5] else None
        self.epoch = int(rest[6])
        self.lane = rest[7].decode()
        self.budget = rest[8].decode()
        self.site = self.budget.partition("/")[0]
        self.ending: Ending | None = None
        self.follow: list[Entry] = []
        self.stored: tuple[bytes, int] | None = None
        self.resolved = False
        self.sent = False
        self.recalled = False
        self.delivered_at_ms = now_ms
        self._fetched = time.monotonic()
        self.lease_until = self._fetched + lease_ms / 1000

    # Two deliveries of one message are two things: identity, where dramatiq compares messages.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def now_ms(self) -> int:
        """Give Redis time, Unix ms: the time of the fetch and what has gone by here since."""
        return self.delivered_at_ms + int((time.monotonic() - self._fetched) * 1000)

    def is_leased(self) -> bool:
        """Say whether it may run: it holds its lease, and was not recalled."""
        return not self.recalled and time.monotonic() < self.lease_until

    def end(self, ending: Ending) -> None:
        """Say what becomes of the job; the worker sends it once the actor has returned."""
        self.ending = ending

    def resolve(self) -> Ending:
        """Give the ending to send: the actor's, or what dramatiq's flags say.

        What is private in it is encrypted.
        """
        self.resolved = True
        ending = self._ending()
        return self._encrypted(ending) if self._cipher.keys else ending

    def _encrypted(self, ending: Ending) -> Ending:
        """Give an ending as it is stored: of what it says, nobody without the key reads any."""

        def seal(text: str | bytes, part: Part) -> bytes:
            data = text.encode() if isinstance(text, str) else text
            return self._cipher.encrypt(data, job_id=self.job_id, part=part)

        if isinstance(ending, Finish):
            # Of an attempt that succeeded there is nothing to hide but what the state says.
            is_open = ending.state == "succeeded"
            return Finish(
                state=ending.state, outcome=seal(ending.outcome, "outcome"), ttl_ms=ending.ttl_ms,
                attempt=ending.attempt if is_open else seal(ending.attempt, "attempt"),
                counted=ending.counted, follow=ending.follow,
            )  # fmt: skip
        if isinstance(ending, Bury):
            return replace(
                ending, outcome=seal(ending.outcome, "outcome"),
                attempt=seal(ending.attempt, "attempt"), reason=seal(ending.reason, "reason"),
                message=seal(ending.message, "message"),
            )  # fmt: skip
        if isinstance(ending, Retry):
            return replace(ending, attempt=seal(ending.attempt, "attempt"))
        return ending

    def _ending(self) -> Ending:
        if self.ending is not None:
            return self.ending
        data, ttl_ms = self.stored or (b"", 0)
        if self.failed:
            problem = self._exception
            reason = type(problem).__name__ if problem is not None else "rejected"
            return Bury(
                reason=reason, error_class="internal", outcome=data,
                ttl_ms=max(DEAD_MESSAGE_TTL_MS, ttl_ms), message=self._message.encode(),
                follow=self.follow,
            )  # fmt: skip
        ttl_ms = max(MESSAGE_TTL_MS, ttl_ms)
        return Finish(outcome=data, ttl_ms=ttl_ms, follow=self.follow)


class Undecodable:
    """A record whose message is no dramatiq message; it is buried by itself."""

    def __init__(self, fields: list[Any], shard: int) -> None:
        self.job_id: str = fields[0].decode(errors="replace")
        self.fence = int(fields[2])
        self.shard = shard

    def resolve(self) -> Ending:
        """Give its only ending."""
        return Bury(reason="the message cannot be decoded", error_class="invalid", counted=False)


class Unreadable:
    """A record that cannot be decrypted here: left to other workers, then held for a person."""

    def __init__(
        self, fields: list[Any], shard: int, *, now_ms: int, error: EncryptionError
    ) -> None:
        self.job_id: str = fields[0].decode(errors="replace")
        self.fence = int(fields[2])
        self.shard = shard
        rest = fields[3].split(b" ", 8)
        self._attempts = int(rest[1])
        self._waited_ms = now_ms - int(rest[3])
        self._site = rest[8].decode().partition("/")[0]
        self._error = error

    def resolve(self) -> Ending:
        """Give its ending. Nothing was sent, so no attempt counts."""
        if self._waited_ms < KEY_WAIT_MS:
            return Retry(delay_ms=KEY_RETRY_MS, counted=False, unsure=False)
        why = f"it is {self._error.brief}, and no worker could decrypt it"
        emit(
            _log, JOB_HELD, level=logging.WARNING, job_id=self.job_id, site=self._site,
            attempts=self._attempts, error_class="misconfigured", why=why,
        )  # fmt: skip
        return Bury(state="held", reason=why, error_class="misconfigured", counted=False)


class Batch:
    """What one fetch gave.

    Attributes:
        deliveries: jobs to run.
        broken: records that cannot be run.
        wait_ms: milliseconds until the queue should be looked at again, or None when nothing is
            coming by itself.
    """

    def __init__(
        self,
        reply: list[Any],
        *,
        queue: str,
        shard: int,
        lease_ms: int,
        cipher: Cipher = PLAIN,
    ) -> None:
        now_ms, look_at = int(reply[0]), int(reply[1])
        self.wait_ms = max(0, look_at - now_ms) if look_at else None
        self.deliveries: list[Delivery] = []
        self.broken: list[Undecodable | Unreadable] = []
        for fields in reply[2:]:
            job_id = fields[0].decode(errors="replace")
            try:
                data = cipher.decrypt(fields[1], job_id=job_id, part="message")
            except EncryptionError as error:
                self.broken.append(Unreadable(fields, shard, now_ms=now_ms, error=error))
                continue
            message = _decode(data, job_id=job_id, queue=queue)
            if message is None:
                self.broken.append(Undecodable(fields, shard))
            else:
                self.deliveries.append(
                    Delivery(
                        message, fields, shard=shard, now_ms=now_ms, lease_ms=lease_ms,
                        cipher=cipher,
                    )
                )  # fmt: skip


def _decode(data: bytes, *, job_id: str, queue: str) -> Message[Any] | None:
    """Decode a message that may have been written by anybody; None when it cannot be run."""
    try:
        message: Message[Any] = Message.decode(data)
    except DecodeError:
        return None
    sound = (
        message.message_id == job_id
        and message.queue_name == queue
        and isinstance(message.actor_name, str)
        and isinstance(message.kwargs, dict)
        and isinstance(message.options, dict)
    )
    return message if sound else None
