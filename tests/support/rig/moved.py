"""A worker as `worker.process.fleet` starts it, on a clock that the test moves ahead.

    python -m rig.moved --concurrency 16 --grace 25

The scripts add the milliseconds under the key `clock` to the time of Redis, and all times of a
delivery follow from that. What has no clock in the scripts (timeouts, jitter) stays as it is.
"""

from __future__ import annotations

import runpy

import redis

from rig.invariants import PREFIX, QUEUE
from rig.sandbox import SandboxAdmin
from worker.engine.broker import EngineBroker
from worker.engine.scripts import Scripts
from worker.operator import OperatorClient
from worker.settings import Settings


class MovedOperator(OperatorClient):
    """A person's moves on the clock of the workers."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._scripts = Scripts(self._client, self._keyspace, moved_clock=True)


def pass_time(client: redis.Redis, seconds: float, *, api: SandboxAdmin | None = None) -> None:
    """Move the workers' clock ahead and let one look at once.

    Args:
        client: the server.
        seconds: how far.
        api: the sandbox, when its clock is to move along.
    """
    if api is not None:
        api.advance(seconds)
    client.incrby(f"{PREFIX}clock", round(seconds * 1000))
    client.rpush(f"{PREFIX}q:{QUEUE}:bell", "1")


if __name__ == "__main__":
    assert EngineBroker.__init__.__kwdefaults__ is not None
    EngineBroker.__init__.__kwdefaults__["moved_clock"] = True
    runpy.run_module("worker.process.member", run_name="__main__")
