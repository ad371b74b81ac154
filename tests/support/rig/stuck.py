"""A worker that gets stuck on demand, with all its waits shortened.

    python -m rig.stuck --concurrency 8 --grace 1

SIGUSR1: its consumer asks for jobs and waits for ever, while everything else goes on, as after a
lost wake-up. SIGUSR2: a job holds up the event loop itself.
"""

from __future__ import annotations

import asyncio
import runpy
import signal
import time
from typing import Any

from worker.engine import loop
from worker.engine.feeder import Feeder
from worker.observe import health, presence

#: Seconds: the longest idle wait, silence until unready, stillness until dead, between two words.
WAIT_S, READY_S, LIVE_S, BEAT_S = 0.3, 1.5, 3.0, 0.3


def _fetch_for_ever() -> None:
    async def fetch(self: Feeder, room: int) -> Any:
        await asyncio.Event().wait()

    Feeder.fetch = fetch  # type: ignore[method-assign]


def _on_boot(feeder_run: Any) -> Any:
    async def run(self: Feeder, stopping: asyncio.Event) -> None:
        running = asyncio.get_running_loop()
        running.add_signal_handler(signal.SIGUSR1, _fetch_for_ever)
        running.add_signal_handler(signal.SIGUSR2, time.sleep, 600)
        await feeder_run(self, stopping)

    return run


if __name__ == "__main__":
    loop.LOOK_MAX_S = WAIT_S  # type: ignore[misc]
    health.READY_S = READY_S  # type: ignore[misc]
    health.LIVE_S = LIVE_S  # type: ignore[misc]
    presence.BEAT_S = BEAT_S  # type: ignore[misc]
    Feeder.run = _on_boot(Feeder.run)  # type: ignore[method-assign]
    runpy.run_module("worker.member", run_name="__main__")
