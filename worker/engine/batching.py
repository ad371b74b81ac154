"""Lets threads that end their jobs at the same time share one call to Redis.

The first thread sends; those that come while it does wait, and the next of them sends for all.
Each still learns what became of its own ending, and none is late by more than the call before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Batching"]

Item = TypeVar("Item")


class _Place(Generic[Item]):
    """One item's place among those that wait."""

    __slots__ = ("error", "is_done", "item")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.is_done = False
        self.error: Exception | None = None


class Batching(Generic[Item]):
    """Sends items of many threads in few calls.

    Args:
        send: sends items, all or none; called by one thread at a time.
        most: items of one call.
        alike: items go into one call only when this gives the same for them.
    """

    def __init__(
        self, send: Callable[[Sequence[Item]], None], *, most: int, alike: Callable[[Item], object]
    ) -> None:
        self._send = send
        self._most = most
        self._alike = alike
        self._waiting: list[_Place[Item]] = []
        self._sending = threading.Lock()

    def put(self, item: Item) -> None:
        """Send an item, by itself or with others, and come back when it is sent.

        Raises:
            Exception: what `send` raised for the call that the item was in.
        """
        place = _Place(item)
        self._waiting.append(place)  # atomic; only the sender takes away
        with self._sending:
            if not place.is_done:
                self._send_with(place)
        if place.error is not None:
            raise place.error

    def _send_with(self, place: _Place[Item]) -> None:
        kind = self._alike(place.item)
        others = [one for one in self._waiting[:] if one is not place]
        alike = [one for one in others if self._alike(one.item) == kind]
        batch = [place, *alike[: self._most - 1]]
        for one in batch:
            self._waiting.remove(one)
        try:
            self._send([one.item for one in batch])
        except Exception as error:  # noqa: BLE001 - raised in every thread whose item it was
            for one in batch:
                one.error = error
        for one in batch:
            one.is_done = True
