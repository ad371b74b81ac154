"""The broker: dramatiq's `Broker` on top of the scripts.

Differences to dramatiq's own Redis broker that an actor can see: delays live in Redis and never
in a worker; a message repeated by a client runs once; what a middleware enqueues while a message
ends is taken in together with the ending, so a retry or the next message of a pipeline cannot
get lost.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import redis
from dramatiq import Message
from dramatiq.broker import Broker, Consumer
from dramatiq.common import current_millis
from dramatiq.errors import QueueJoinTimeout, QueueNotFound
from dramatiq.middleware import Middleware
from dramatiq.results import Results

from worker.encryption import PLAIN, Cipher
from worker.engine.bulkhead import Bulkhead
from worker.engine.connection import connect
from worker.engine.consumer import EngineConsumer
from worker.engine.delivery import _CURRENT, Delivery
from worker.engine.enqueue import Accepted, Entry, entry_of, take_in
from worker.engine.exclusions import Exclusions
from worker.engine.keys import DEFAULT_NAMESPACE, Keyspace
from worker.engine.leases import LeaseBook
from worker.engine.options import (
    LEASE_MS,
    MAX_DELIVERIES,
    OUTCOME_TTL_MS,
    RENEW_MS,
    STREAM_KEPT,
    EngineOptions,
)
from worker.engine.outage import Outage
from worker.engine.results_backend import EngineResults
from worker.engine.scripts import Argument, Scripts

__all__ = ["Budget", "Configured", "EngineBroker", "Trimmed"]

_CAPTURE: ContextVar[Delivery | None] = ContextVar("largesse_capture", default=None)
#: Sites of one script call: a fleet may have ten thousand, and each worker tells every 5 s.
CONFIGURE_MAX: Final = 200
#: Outcomes that one script call looks at one by one, to count them: a few milliseconds.
TRIM_BATCH: Final = 500
_ENDING_SIGNALS: Final = ("process_message", "skip_message")


class Budget:
    """What a site allows this fleet.

    Args:
        site: name of the site.
        rate_per_minute: calls a minute; 0 = no limit.
        burst: calls that may go at once before the rate spaces them.
        max_in_flight: calls at the same moment; 0 = no limit.
        bulk_every: of so many calls one is for the bulk lane while both lanes wait; 0 = none is.
        key_mark: tells one key of the site from another; a site with a key that was not seen
            before is called as if it was new. "none" = there is no key, "" = it does not say.
        accepted: whether the API took the key since it was refused.
    """

    __slots__ = (
        "accepted", "bulk_every", "burst", "key_mark", "max_in_flight", "rate_per_minute", "site",
    )  # fmt: skip

    def __init__(
        self,
        site: str,
        *,
        rate_per_minute: float,
        burst: int,
        max_in_flight: int,
        bulk_every: int = 10,
        key_mark: str = "",
        accepted: bool = False,
    ) -> None:
        self.site = site
        self.rate_per_minute = rate_per_minute
        self.burst = burst
        self.max_in_flight = max_in_flight
        self.bulk_every = bulk_every
        self.key_mark = key_mark
        self.accepted = accepted

    def arguments(self) -> tuple[str | float | int, ...]:
        """Give the site and its numbers as the configure script takes them, the key aside."""
        interval_ms = 60_000 / self.rate_per_minute if self.rate_per_minute > 0 else 0
        burst_ms = interval_ms * max(0, self.burst)
        return (self.site, interval_ms, burst_ms, self.max_in_flight, self.bulk_every)


@dataclass(frozen=True, slots=True)
class Configured:
    """What Redis knows of a site whose budget was written down.

    Attributes:
        refused: whether the API refused the key that was named.
        tripped: whether it refused every key at work, so that the circuit breaker is tripped.
        limits: each limit that a living worker says, with the last worker that said so; empty
            while all say the same.
    """

    refused: bool
    tripped: bool
    limits: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What one step of a trim did.

    Attributes:
        removed: groups that nobody had read for too long.
        missed: group to the entries that were cut before it had handled them.
    """

    removed: Sequence[str]
    missed: Mapping[str, int]


class EngineBroker(Broker):
    """A dramatiq broker that neither loses nor doubles a message.

    Args:
        url: where Redis is (`worker.settings.redis_address`); ignored when a client is given.
        client: a client whose replies are bytes.
        namespace: first part of every key.
        shards: hash tags that sites are spread over.
        cipher: encrypts messages and outcomes in Redis; `Cipher.of(settings)` makes one.
        middleware: dramatiq middleware; dramatiq's default set when None.
        lease_ms: milliseconds a lease lasts without renewal.
        renew_ms: milliseconds between renewals.
        max_deliveries: deliveries without an ending before a job is buried as poison.
        outcome_ttl_ms: milliseconds that outcomes written by scripts are kept.
        moved_clock: let tests move the scripts' clock.
        exclusions: sites whose jobs this process leaves to others; none when None.

    Raises:
        BrokerUnavailableError: from every method that speaks to Redis while Redis is unreachable.
        QueueFullError: from `enqueue` when Redis has no room.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        client: redis.Redis | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        shards: int = 1,
        cipher: Cipher = PLAIN,
        middleware: list[Middleware] | None = None,
        lease_ms: int = LEASE_MS,
        renew_ms: int = RENEW_MS,
        max_deliveries: int = MAX_DELIVERIES,
        outcome_ttl_ms: int = OUTCOME_TTL_MS,
        moved_clock: bool = False,
        exclusions: Exclusions | None = None,
    ) -> None:
        super().__init__(middleware=middleware)
        self.queues: set[str] = set()
        # An operator reads host and process off the leases; the rest parts two brokers of one.
        self.broker_id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self.keyspace = Keyspace(namespace, shards, cipher)
        self.client = client if client is not None else connect(url or "redis://127.0.0.1:6379/0")
        self.scripts = Scripts(self.client, self.keyspace, moved_clock=moved_clock)
        self.moved_clock = moved_clock
        self.options = EngineOptions(
            lease_ms=lease_ms,
            renew_ms=renew_ms,
            max_deliveries=max_deliveries,
            outcome_ttl_ms=outcome_ttl_ms,
        )
        #: Sites whose jobs this process leaves to others.
        self.exclusions = Exclusions() if exclusions is None else exclusions
        #: Whether Redis is unreachable.
        self.outage = Outage()
        self._lease_books: dict[str, LeaseBook] = {}
        self._bulkhead: Bulkhead | None = None

    # -- queues and consumers

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue. There is no delay queue: delays live in Redis."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def get_declared_queues(self) -> set[str]:
        """Give the names of the declared queues."""
        return self.queues.copy()

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Make a consumer for dramatiq's worker threads.

        Args:
            queue_name: the queue.
            prefetch: most messages that are handed out and not ended.
            timeout: longest idle wait, ms.

        Raises:
            QueueNotFound: the queue was never declared.
        """
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)
        if self._bulkhead is None:
            # dramatiq prefetches two messages for each of the threads, which all queues share.
            self._bulkhead = Bulkhead(
                max(1, prefetch // 2), overflow=False, exclusions=self.exclusions
            )
        return EngineConsumer(
            self.scripts, self.lease_book(queue_name), self.options, self.outage, self._bulkhead,
            prefetch=prefetch, timeout_ms=timeout,
        )  # fmt: skip

    def lease_book(self, queue_name: str) -> LeaseBook:
        """Give the leases that this process holds on a queue; they outlive a consumer."""
        if queue_name not in self._lease_books:
            self._lease_books[queue_name] = LeaseBook(
                self.scripts, self.options, self.outage,
                queue=queue_name, worker=f"{self.broker_id}:{queue_name}",
            )  # fmt: skip
        return self._lease_books[queue_name]

    def held(self) -> int:
        """Give how many deliveries are in the hands of dramatiq's worker threads."""
        return sum(len(book) for book in self._lease_books.values())

    def silence_s(self) -> float:
        """Give the seconds since the slowest of dramatiq's consumers last came round."""
        books = list(self._lease_books.values())
        return time.monotonic() - min(one.looked_at for one in books) if books else 0.0

    def close(self) -> None:
        """Close the connections."""
        for book in self._lease_books.values():
            book.close()
        self.client.close()

    # -- taking messages in

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Enqueue a message; a repeated send of the same one runs once.

        Args:
            message: the message. With the option `digest` it is a job.
            delay: milliseconds until it may run.

        Returns:
            The message.

        Raises:
            JobConflictError: another payload holds the id of the job.
            EncryptionKeyMissingError: it cannot be told whether it is another payload.
        """
        self.emit_before("enqueue", message, delay)
        entry = entry_of(message, self.keyspace, delay_ms=delay or 0)
        ending = _CAPTURE.get()
        if ending is not None and ending.shard == entry.shard:
            ending.follow.append(entry)
        elif (accepted := self.take_in([entry])[0]).word == "conflict":
            raise accepted.refusal(entry.id)
        self.emit_after("enqueue", message, delay)
        return message

    def take_in(self, entries: Iterable[Entry]) -> list[Accepted]:
        """Take in many entries, hundreds in one round trip.

        Returns:
            What became of each, in the order of the entries.
        """
        return take_in(self.scripts, entries)

    # -- signals

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Emit a signal; actors find their delivery from `process_message` on."""
        if signal == "process_message":
            _CURRENT.set(args[0])
        super().emit_before(signal, *args, **kwargs)
        if signal == "nack":
            self.take_failure(args[0])

    def take_failure(self, delivery: Delivery) -> None:
        """Let the failure of a message be stored with its ending, where failures are stored.

        dramatiq's `Results` does it after the ending, when it could get lost.
        """
        for one in self.middleware:
            if isinstance(one, Results) and isinstance(one.backend, EngineResults):
                one.after_nack(self, delivery)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Emit a signal; what middleware enqueues while a message ends goes with the ending."""
        if signal in _ENDING_SIGNALS and args and isinstance(args[0], Delivery):
            with capturing(args[0]):
                super().emit_after(signal, *args, **kwargs)
        else:
            super().emit_after(signal, *args, **kwargs)

    # -- operating

    def configure(self, budgets: Iterable[Budget]) -> dict[str, Configured]:
        """Write down the budgets of sites; the lowest of what living workers say holds.

        Returns:
            What Redis knows of each, by name.
        """
        by_shard: dict[int, list[Budget]] = {}
        for budget in budgets:
            by_shard.setdefault(self.keyspace.shard_of_site(budget.site), []).append(budget)
        found: dict[str, Configured] = {}
        for shard, those in by_shard.items():
            for start in range(0, len(those), CONFIGURE_MAX):
                found |= self._configure(shard, those[start : start + CONFIGURE_MAX])
        return found

    def _configure(self, shard: int, budgets: Sequence[Budget]) -> dict[str, Configured]:
        arguments: list[Argument] = [self.broker_id]
        for one in budgets:
            arguments += [*one.arguments(), one.key_mark, int(one.accepted)]
        rows = self.scripts.run("configure", shard, arguments)
        found: dict[str, Configured] = {}
        for one, (refused, *said) in zip(budgets, rows, strict=True):
            words = [word.decode() for word in said]
            limits = dict(zip(words[::2], words[1::2], strict=True))
            found[one.site] = Configured(refused > 0, refused > 1, limits)
        return found

    def trim_streams(self, max_len: int, max_age_ms: int) -> Iterator[Trimmed]:
        """Let go of the outcomes that every group has handled, and of what is too much or too old.

        Args:
            max_len: most entries of each stream.
            max_age_ms: milliseconds that an entry is kept for a group that has not handled it,
                and a group that nobody reads.

        Yields:
            What was done, for each step on each shard.
        """
        kept = min(max_len, STREAM_KEPT)
        for shard in range(self.keyspace.shards):
            goes_on = True
            while goes_on:
                more, removed, missed = self.scripts.run(
                    "trim", shard, [max_len, max_age_ms, kept, TRIM_BATCH]
                )
                goes_on = more == 1
                pairs = zip(missed[::2], missed[1::2], strict=True)
                yield Trimmed(
                    removed=[name.decode(errors="replace") for name in removed],
                    missed={name.decode(errors="replace"): count for name, count in pairs},
                )

    def flush(self, queue_name: str) -> None:
        """Drop all waiting and delayed messages of a queue; running ones end as they will."""
        for shard in range(self.keyspace.shards):
            while self.scripts.run("flush", shard, [queue_name, 1000]):
                pass

    def flush_all(self) -> None:
        """Drop all waiting and delayed messages of all declared queues."""
        for queue_name in self.queues:
            self.flush(queue_name)

    def depth(self, queue_name: str) -> tuple[int, int, int]:
        """Count the messages of a queue: waiting, delayed, running."""
        totals = [0, 0, 0]
        for shard in range(self.keyspace.shards):
            counts = self.scripts.run("depth", shard, [queue_name])
            totals = [total + int(count) for total, count in zip(totals, counts, strict=True)]
        return totals[0], totals[1], totals[2]

    def join(self, queue_name: str, *, timeout: int | None = None, interval: int = 50) -> None:
        """Wait until no message of the queue waits, is delayed or runs. For tests.

        Args:
            queue_name: the queue.
            timeout: most milliseconds to wait.
            interval: milliseconds between looks.

        Raises:
            QueueJoinTimeout: the time is over.
        """
        deadline = current_millis() + timeout if timeout is not None else None
        while any(self.depth(queue_name)):
            if deadline is not None and current_millis() >= deadline:
                raise QueueJoinTimeout(queue_name)
            time.sleep(interval / 1000)


class capturing:  # noqa: N801 - a `with` block, as those of contextlib
    """Let every `enqueue` inside the block travel with the ending of the delivery."""

    __slots__ = ("_delivery", "_token")

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def __enter__(self) -> None:
        self._token = _CAPTURE.set(self._delivery)

    def __exit__(self, *_: object) -> None:
        _CAPTURE.reset(self._token)
