"""An event loop in a thread, for callers that have none or whose loops come and go."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

__all__ = ["BackgroundLoop"]

T = TypeVar("T")
Make = Callable[[], Coroutine[Any, Any, T]]

#: Most seconds of an orderly end; what is left then dies with the process.
END_S: Final = 1.0
#: A task that is just reading may swallow a cancellation: seconds until it is told again, and
#: how often.
CANCEL_S: Final = 0.2
CANCELS: Final = 5
#: Turns of the loop that a closed transport needs to be gone.
TURNS: Final = 3


class BackgroundLoop:
    """An event loop in a daemon thread. It ends when it is closed or when nobody holds it.

    Args:
        at_end: makes the coroutine that closes what lives on the loop; it must not hold this
            object.
    """

    def __init__(self, at_end: Make[None]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=_run, args=(self._loop, at_end), name="largesse-client", daemon=True
        )
        self._thread.start()
        self._pid = os.getpid()
        weakref.finalize(self, _stop, self._loop, self._pid).atexit = False

    def call(self, make: Make[T], *, timeout_s: float | None = None) -> T:
        """Run a coroutine on the loop and wait for it.

        Raises:
            TimeoutError: the time is over; the coroutine was cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(_made(make), self._loop)
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
        """End the loop in order and wait for its thread."""
        _stop(self._loop, self._pid)
        if threading.current_thread() is not self._thread:
            self._thread.join(END_S)


async def _made(make: Make[T]) -> T:
    return await make()  # on the loop: what lives there is no other thread's


def _stop(loop: asyncio.AbstractEventLoop, pid: int) -> None:
    if pid == os.getpid() and not loop.is_closed():  # a fork has the loop, but not its thread
        with contextlib.suppress(RuntimeError):  # it is closed meanwhile
            loop.call_soon_threadsafe(loop.stop)


def _run(loop: asyncio.AbstractEventLoop, at_end: Make[None]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(_end(at_end))
    finally:
        loop.close()


async def _end(at_end: Make[None]) -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for _ in range(CANCELS):
        if not left:
            break
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_S)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            await at_end()
    await asyncio.get_running_loop().shutdown_asyncgens()
    for _ in range(TURNS):
        await asyncio.sleep(0)
