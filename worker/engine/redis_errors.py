"""What a Redis failure means: unavailable (try again) or full (nothing fits).

redis-py has a dozen ways to say that a server cannot serve now. None of them may lose a job, so
they are all told as `BrokerUnavailableError` or `QueueFullError`; what is left is a fault of our
own.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis.exceptions as redis_errors

from worker.engine.name_lookup import SilentNameServerError
from worker.engine.redis_connection import SilentTlsError
from worker.errors import (
    BrokerError,
    BrokerUnavailableError,
    LayoutError,
    QueueFullError,
    WorkerError,
)

__all__ = ["NoLayoutError", "only_our_errors", "speaking_to_redis", "translate"]


class NoLayoutError(Exception):
    """Nobody has written down the layout of this shard yet; never leaves the engine."""


_UNREACHABLE: Final = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.ClusterError,
    redis_errors.RedisClusterException,
    redis_errors.TryAgainError,
    redis_errors.AskError,
    redis_errors.NoScriptError,
    OSError,
    EOFError,
)
#: First words of error replies that mean "not now"; redis-py has no class for some of them.
#: Servers before 7.0 wrap the reply in a sentence about the script that met it.
_UNREACHABLE_REPLY: Final = re.compile(
    r"(?:^|[ -])(LOADING|BUSY|READONLY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|UNBLOCKED|NOREPLICAS|"
    r"NOSCRIPT)(?: |$)"
)
#: Shards and record version of the caller, then of the queue.
_LAYOUT_REPLY: Final = re.compile(r"LAYOUT (\d+) (\d+) (\d+) (\d+)")

#: How an error of the socket, of TLS or of the name server is told; the first that fits.
_CAUSES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (SilentNameServerError, "the name server does not answer"),
    (SilentTlsError, "no answer to the TLS handshake: does this port speak TLS?"),
    (ssl.SSLCertVerificationError, "TLS: the certificate is not trusted"),
    (ssl.SSLError, "TLS handshake failed: does this port speak TLS?"),
    (socket.gaierror, "name not found"),
    (ConnectionRefusedError, "connection refused"),
    (redis_errors.MaxConnectionsError, "all connections of this process are in use"),
    (redis_errors.TimeoutError, "timed out"),
    (TimeoutError, "timed out"),
    (ConnectionError, "connection lost"),
)
#: Causes after which the command cannot have reached the server.
_NEVER_SENT: Final = frozenset(cause for _, cause in _CAUSES[:7])


def translate(error: Exception, place: str = "") -> WorkerError | NoLayoutError | None:
    """Say which of our errors a failure of redis-py is.

    Args:
        error: what redis-py or the socket raised.
        place: where the server is, when no connection of ours has noted it in the error.

    Returns:
        The error to raise, or None when it is a fault of our own.
    """
    text = str(error)
    if isinstance(error, redis_errors.OutOfMemoryError) or "OOM command not allowed" in text:
        return QueueFullError("Redis is out of memory")
    if "MISCONF" in text:
        return QueueFullError("Redis cannot write its disk (MISCONF)")
    if isinstance(error, redis_errors.AuthenticationError | redis_errors.NoPermissionError):
        return _unavailable(error, place, _refusal(text), never_sent=True)
    if "DB index is out of range" in text or "invalid DB index" in text:
        cause = "the server has no database of this number"
        return _unavailable(error, place, cause, never_sent=True)
    if "SENTINEL" in text.upper() and "unknown command" in text:
        return _unavailable(error, place, "this server is no Sentinel", never_sent=True)
    if "Cluster mode is not enabled" in text or "cluster support disabled" in text:
        return _unavailable(error, place, "this server is no Cluster", never_sent=True)
    if isinstance(error, _UNREACHABLE):
        cause = _cause_of(error)
        return _unavailable(error, place, cause, never_sent=cause in _NEVER_SENT)
    if isinstance(error, redis_errors.ResponseError):
        if "NOLAYOUT" in text:
            return NoLayoutError()
        layout = _LAYOUT_REPLY.search(text)
        if layout is not None:
            return LayoutError(*(int(number) for number in layout.groups()))
        reply = _UNREACHABLE_REPLY.search(text)
        if reply is not None:
            return _unavailable(error, place, f"it cannot serve now: {reply[1]}", never_sent=True)
    return None


def _unavailable(
    error: BaseException, place: str, cause: str, *, never_sent: bool
) -> BrokerUnavailableError:
    noted = (getattr(one, "place", "") for one in _chain(error))
    place = next(filter(None, noted), place)
    where = f"Redis at {place}" if place else "Redis"
    return BrokerUnavailableError(f"Cannot reach {where} ({cause})", never_sent=never_sent)


def _refusal(text: str) -> str:
    # redis-py leaves the code out; servers before a login refuse HELLO with a sentence.
    if re.search("NOAUTH|Authentication required|HELLO must be called", text):
        return "it asks for a password: NOAUTH"
    if "NOPERM" in text or "permission" in text:
        return "the user may not do this: NOPERM"
    return "it refused the login: WRONGPASS"


def _cause_of(error: BaseException) -> str:
    chain = list(_chain(error))
    for kind, cause in _CAUSES:
        if any(isinstance(one, kind) for one in chain):
            return cause
    reason = next((one.strerror for one in chain if isinstance(one, OSError) and one.strerror), "")
    if reason:
        return reason.lower()
    if isinstance(error, redis_errors.ReadOnlyError):
        return "it is a replica: READONLY"
    if isinstance(error, redis_errors.RedisClusterException):
        return "no node of the Cluster answers"
    return (
        "connection lost" if type(error) is redis_errors.ConnectionError else type(error).__name__
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give the error and what led to it."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


@contextmanager
def speaking_to_redis(place: str = "") -> Iterator[None]:
    """Turn what redis-py raises inside the block into our errors.

    Args:
        place: where the server is, without a password, for errors of no connection of ours.
    """
    try:
        yield
    except BrokerError:
        raise
    except Exception as error:
        ours = translate(error, place)
        if ours is None:
            raise
        raise ours from error


@contextmanager
def only_our_errors() -> Iterator[None]:
    """Turn also the replies that nobody foresaw into an error of the tree, for apps.

    A worker lets them through: they are a fault, and no outage that it should wait out. Of the
    reply only the code is told, as the rest may repeat what was sent.

    Raises:
        BrokerError: Redis refused a command.
    """
    try:
        yield
    except (redis_errors.RedisError, redis_errors.RedisClusterException) as error:
        code = re.match(r"[A-Z]{2,}(?= |$)", str(error))
        refusal = code[0] if code else type(error).__name__
        raise BrokerError(
            f"Redis refused a command ({refusal}). Look at it with: largesse doctor."
        ) from error
