"""Runs one delivery through dramatiq's signals and its actor, on an event loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from dramatiq.actor import Actor
from dramatiq.errors import ActorNotFound, RateLimitExceeded, Retry
from dramatiq.middleware import (
    AsyncIO,
    Middleware,
    MiddlewareError,
    ShutdownNotifications,
    SkipMessage,
    TimeLimit,
    TimeLimitExceeded,
    raise_thread_exception,
)

from worker.engine.broker import capturing
from worker.engine.delivery import _CURRENT, Delivery

if TYPE_CHECKING:
    from worker.engine.broker import EngineBroker

__all__ = ["Runner"]

_log = logging.getLogger(__name__)

#: Middleware that raises exceptions in worker threads, or brings a loop of its own: here the loop
#: itself cancels tasks and keeps time limits.
THREAD_BOUND: Final = (TimeLimit, ShutdownNotifications, AsyncIO)
#: dramatiq's default time limit, ms.
TIME_LIMIT_MS: Final = 600_000


class Runner:
    """Runs deliveries.

    Args:
        broker: gives actors and middleware.
    """

    def __init__(self, broker: EngineBroker) -> None:
        self._broker = broker
        #: The middleware whose signals are emitted here, in order.
        self.middleware: list[Middleware] = [
            one for one in broker.middleware if not isinstance(one, THREAD_BOUND)
        ]
        self._hearers: dict[str, list[Middleware]] = {}
        self._coroutines: dict[Actor[Any, Any], Callable[..., Any] | None] = {}

    def _hearers_of(self, name: str) -> list[Middleware]:
        """Give the middleware that does something at a signal; most leave most of them alone."""
        found = self._hearers.get(name)
        if found is None:
            silent = getattr(Middleware, name)
            found = [
                one for one in self.middleware
                if getattr(getattr(one, name), "__func__", None) is not silent
            ]  # fmt: skip
            self._hearers[name] = found
        return found

    def emit_before(self, signal: str, *args: Any) -> None:
        """Emit a signal before the thing; a `MiddlewareError` is raised, others are logged."""
        name = f"before_{signal}"
        for one in self._hearers_of(name):
            try:
                getattr(one, name)(self._broker, *args)
            except MiddlewareError:
                raise
            except Exception:  # noqa: BLE001 - as dramatiq: one middleware must not break the rest
                _log.critical("%s of %s failed", name, type(one).__name__, exc_info=True)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Emit a signal after the thing, in reverse order; failures are logged."""
        name = f"after_{signal}"
        for one in reversed(self._hearers_of(name)):
            try:
                getattr(one, name)(self._broker, *args, **kwargs)
            except Exception:  # noqa: BLE001 - as dramatiq: one middleware must not break the rest
                _log.critical("%s of %s failed", name, type(one).__name__, exc_info=True)

    async def run(self, delivery: Delivery) -> None:
        """Run the actor of a delivery; how it ended is on the delivery afterwards.

        Raises:
            asyncio.CancelledError: the worker stops or the lease is lost; no signal of an ending
                was emitted.
        """
        _CURRENT.set(delivery)
        actor: Actor[Any, Any] | None = None
        try:
            actor = self._broker.get_actor(delivery.actor_name)
            self.emit_before("process_message", delivery)
            result = None
            if not delivery.failed:
                result = await self._call(actor, delivery)
            with capturing(delivery):
                self.emit_after("process_message", delivery, result=result)
        except ActorNotFound as error:
            _log.error("job %s names an actor that is not known", delivery.job_id)
            delivery.fail()
            delivery.stuff_exception(error)
        except SkipMessage as error:
            if delivery.failed:
                delivery.stuff_exception(error)
            _log.warning("message %s was skipped", delivery.message_id)
            with capturing(delivery):
                self.emit_after("skip_message", delivery)
        except BaseException as error:  # an actor may raise anything
            if _is_our_own(error):
                raise
            delivery.stuff_exception(error)
            self._log_failure(actor, delivery, error)
            with capturing(delivery):
                self.emit_after("process_message", delivery, exception=error)

    def _coroutine_of(self, actor: Actor[Any, Any]) -> Callable[..., Any] | None:
        """Give the coroutine function behind an async actor; None for a plain one."""
        try:
            return self._coroutines[actor]
        except KeyError:
            function = getattr(actor.fn, "__wrapped__", None)
            found = function if inspect.iscoroutinefunction(function) else None
            self._coroutines[actor] = found
            return found

    async def _call(self, actor: Actor[Any, Any], delivery: Delivery) -> Any:
        limit_ms = delivery.options.get(
            "time_limit", actor.options.get("time_limit", TIME_LIMIT_MS)
        )
        coroutine = self._coroutine_of(actor)
        if coroutine is not None:
            if limit_ms == math.inf:
                return await coroutine(*delivery.args, **delivery.kwargs)
            try:
                async with asyncio.timeout(limit_ms / 1000) as limit:
                    return await coroutine(*delivery.args, **delivery.kwargs)
            except TimeoutError:
                if limit.expired():
                    raise TimeLimitExceeded from None
                raise
        return await _in_thread(actor.fn, delivery, limit_ms / 1000)

    def _log_failure(
        self, actor: Actor[Any, Any] | None, delivery: Delivery, error: BaseException
    ) -> None:
        throws = delivery.options.get("throws") or (actor and actor.options.get("throws"))
        if isinstance(error, Retry | RateLimitExceeded) or (throws and isinstance(error, throws)):
            _log.info("message %s ended with %s", delivery.message_id, type(error).__name__)
        else:
            _log.error("message %s failed", delivery.message_id, exc_info=True)


def _is_our_own(error: BaseException) -> bool:
    """Say whether the worker broke the task off; what an actor raises by itself is its failure."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, GeneratorExit)


async def _in_thread(function: Callable[..., Any], delivery: Delivery, limit_s: float) -> Any:
    """Call a plain function in a thread of its own, and break it off as dramatiq would."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        elif isinstance(error, StopIteration):
            done.set_exception(RuntimeError("the actor raised StopIteration"))
        else:
            done.set_exception(error)

    def call() -> None:
        result, problem = None, None
        try:
            result = context.run(function, *delivery.args, **delivery.kwargs)
        except BaseException as error:  # noqa: BLE001 - raised where the actor is awaited
            problem = error
        loop.call_soon_threadsafe(settle, result, problem)

    thread = threading.Thread(target=call, name=f"actor-{delivery.actor_name}", daemon=True)
    thread.start()
    try:
        async with asyncio.timeout(limit_s):
            return await asyncio.shield(done)
    except TimeoutError:
        if done.done():
            return done.result()
        raise_thread_exception(thread.ident, TimeLimitExceeded)
        return await done
