"""Under dramatiq's own command line, whose logging prints arguments, ours prints none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
APP = """
import os, threading
import dramatiq
from dramatiq.brokers.stub import StubBroker
from worker.logs.pipeline import configure
from worker.settings import Settings


def fail(email, *, name):
    threading.Timer(0.2, lambda: print("it is over", flush=True)).start()
    raise ValueError(email, name)


def setup():
    configure(Settings(redis_url="redis://h", log_level="debug"))
    broker = StubBroker(middleware=[])
    dramatiq.set_broker(broker)
    dramatiq.actor(fail, broker=broker).send("maria@example.com", name="CanaryName")
"""


def test_dramatiq_command_line_prints_no_arguments(tmp_path: Path) -> None:
    """A worker started by `dramatiq` with its own handler set up first prints nothing private."""
    (tmp_path / "canary_app.py").write_text(APP, encoding="utf-8")
    command = ["canary_app:setup", "--processes", "1", "--threads", "1", "--verbose"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dramatiq", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "it is over" in line:
                process.send_signal(signal.SIGTERM)
        process.wait()
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
    text = "".join(lines)
    assert "Failed to process message fail[" in text
    assert "it is over" in text
    assert "maria" not in text
    assert "CanaryName" not in text
