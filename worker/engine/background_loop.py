"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["BackgroundLoop"]

T = TypeVar("T")


class BackgroundLoop:
    """An event loop in a thread, for callers that have none; made anew after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def is_fresh(self) -> bool:
        """Say whether the next call starts a new loop; what lived on the old one is gone then."""
        return self._loop is None or self._pid != os.getpid()

    def call(
        self, make: Callable[[], Coroutine[Any, Any, T]], *, timeout_s: float | None = None
    ) -> T:
        """Run a coroutine there and wait for it.

        Raises:
            TimeoutError: the time is over; the coroutine was cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(make(), self._running_loop())
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise
            future.cancel()
            raise TimeoutError from None
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None and self._pid == os.getpid():
            loop.call_soon_threadsafe(loop.stop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._loop = asyncio.new_event_loop()
                self._pid = os.getpid()
                threading.Thread(
                    target=_run, args=(self._loop,), name="largesse-waiters", daemon=True
                ).start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
