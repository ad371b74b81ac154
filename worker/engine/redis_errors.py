"""What a Redis failure means: away (try again) or full (nothing fits).

redis-py has a dozen ways to say that a server cannot serve now. None of them may lose a job, so
they are all told as `BrokerUnavailableError` or `QueueFullError`; what is left is a fault of our
own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis.exceptions as redis_errors

from worker.errors import BrokerError, BrokerUnavailableError, QueueFullError

__all__ = ["speaking_to_redis", "translate"]

_AWAY: Final = (
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
_AWAY_REPLY: Final = re.compile(
    r"(?:^|[ -])(LOADING|BUSY|READONLY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|UNBLOCKED|NOREPLICAS|"
    r"NOSCRIPT)(?: |$)"
)


def translate(error: Exception) -> BrokerError | None:
    """Say which of our errors a failure of redis-py is.

    Args:
        error: what redis-py or the socket raised.

    Returns:
        The error to raise, or None when it is neither away nor full but a fault.
    """
    text = str(error)
    if isinstance(error, redis_errors.OutOfMemoryError) or "OOM command not allowed" in text:
        return QueueFullError("Redis is out of memory")
    if "MISCONF" in text:
        return QueueFullError("Redis cannot write its disk (MISCONF)")
    if isinstance(error, redis_errors.AuthenticationError | redis_errors.NoPermissionError):
        return BrokerUnavailableError(f"Redis refused the login ({type(error).__name__})")
    if isinstance(error, redis_errors.TimeoutError):
        return BrokerUnavailableError("Redis did not answer in time")
    if isinstance(error, _AWAY):
        return BrokerUnavailableError(f"Redis is away ({type(error).__name__})")
    if isinstance(error, redis_errors.ResponseError):
        reply = _AWAY_REPLY.search(text)
        if reply is not None:
            return BrokerUnavailableError(f"Redis cannot serve now ({reply[1]})")
    return None


@contextmanager
def speaking_to_redis() -> Iterator[None]:
    """Turn what redis-py raises inside the block into our errors."""
    try:
        yield
    except BrokerError:
        raise
    except Exception as error:
        ours = translate(error)
        if ours is None:
            raise
        raise ours from error
