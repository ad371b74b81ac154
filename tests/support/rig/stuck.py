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

from worker.engine import async_worker
from worker.engine.fetcher import Fetcher
from worker.process import health, heartbeat

#: Seconds: the longest idle wait, silence until unready, stillness until dead, between two words.
WAIT_S, READY_S, LIVE_S, BEAT_S = 0.3, 1.5, 3.0, 0.3


def _fetch_for_ever() -> None:
    async def fetch(self: Fetcher, room: int) -> Any:
        await asyncio.Event().wait()

    Fetcher.fetch = fetch  # type: ignore[method-assign]


def _on_boot(feeder_run: Any) -> Any:
    async def run(self: Fetcher, stopping: asyncio.Event) -> None:
        running = asyncio.get_running_loop()
        running.add_signal_handler(signal.SIGUSR1, _fetch_for_ever)
        running.add_signal_handler(signal.SIGUSR2, time.sleep, 600)
        await feeder_run(self, stopping)

    return run


if __name__ == "__main__":
    async_worker.LOOK_MAX_S = WAIT_S  # type: ignore[misc]
    health.READY_S = READY_S  # type: ignore[misc]
    health.LIVE_S = LIVE_S  # type: ignore[misc]
    heartbeat.BEAT_S = BEAT_S  # type: ignore[misc]
    Fetcher.run = _on_boot(Fetcher.run)  # type: ignore[method-assign]
    runpy.run_module("worker.process.member", run_name="__main__")
