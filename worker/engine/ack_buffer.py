"""The endings of one process on their way to Redis: many in one call, each atomic by itself.

An ending leaves at once when no call is in flight. Endings that arrive meanwhile leave together in
the next call. While Redis is unreachable they wait here; their leases are renewed or lapse.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from worker.engine import crash_points
from worker.engine.delivery import Delivery, Undecodable, Unreadable
from worker.engine.endings import SCRIPT_OF, Ending
from worker.engine.scripts import Argument, AsyncScripts
from worker.errors import BrokerError

if TYPE_CHECKING:
    from worker.engine.broker import EngineBroker

__all__ = ["AckBuffer"]

#: Endings of one call: bounds how long one script blocks Redis.
BATCH_MAX: Final = 64
#: Seconds between tries while Redis is unreachable: soon at first, and never a busy loop.
RETRY_FIRST_S: Final = 0.05
RETRY_MAX_S: Final = 1.0

Ended = tuple[Delivery | Undecodable | Unreadable, Ending]


class AckBuffer:
    """Sends endings in batches.

    Args:
        broker: for the bounds of the scripts.
        scripts: where they are sent.
        on_ended: called with each delivery whose ending Redis has taken, or refused, and True when
            it was taken.
    """

    def __init__(
        self,
        broker: EngineBroker,
        scripts: AsyncScripts,
        on_ended: Callable[[Delivery | Undecodable | Unreadable, Ending, bool], None],
    ) -> None:
        self._broker = broker
        self._scripts = scripts
        self._on_ended = on_ended
        self._waiting: deque[Ended] = deque()
        self._stirred = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, delivery: Delivery | Undecodable | Unreadable, ending: Ending) -> None:
        """Send an ending as soon as may be."""
        self._waiting.append((delivery, ending))
        self._empty.clear()
        self._stirred.set()

    async def drained(self, timeout_s: float) -> bool:
        """Wait until every ending is in Redis.

        Returns:
            False when the time is over before.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Send until cancelled."""
        retry_s = RETRY_FIRST_S
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self._waiting:
                batch = self._next_batch()
                try:
                    await self._send(batch)
                    retry_s = RETRY_FIRST_S
                except BrokerError as error:
                    self._waiting.extendleft(reversed(batch))
                    self._broker.outage.began(error)
                    await asyncio.sleep(retry_s * random.uniform(0.5, 1))
                    retry_s = min(RETRY_MAX_S, retry_s * 2)
            self._empty.set()

    def _next_batch(self) -> list[Ended]:
        """Take endings of one script and one shard from the front, in order."""
        first, ending = self._waiting[0]
        kind, shard = type(ending), first.shard
        batch: list[Ended] = []
        while self._waiting and len(batch) < BATCH_MAX:
            delivery, ending = self._waiting[0]
            if type(ending) is not kind or delivery.shard != shard:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _send(self, batch: list[Ended]) -> None:
        name = SCRIPT_OF[type(batch[0][1])]
        crash_points.point(_POINT_BEFORE[name])
        args: list[Argument] = self._broker.options.ending_arguments(name)
        for delivery, ending in batch:
            args += ending.arguments(delivery.job_id, delivery.fence)
        reply = await self._scripts.run(name, batch[0][0].shard, args)
        crash_points.point(_POINT_AFTER.get(name, ""))
        for (delivery, ending), taken in zip(batch, reply, strict=True):
            self._on_ended(delivery, ending, bool(taken))


_POINT_BEFORE: Final = {
    "finish": "before_finish",
    "retry": "in_retry",
    "bury": "in_bury",
    "release": "in_drain",
}
_POINT_AFTER: Final = {"finish": "after_finish", "retry": "while_delayed"}
