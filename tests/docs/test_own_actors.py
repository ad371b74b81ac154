"""The example of actors of one's own runs beside the two of Largesse, under dramatiq's command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rig.command import clean
from rig.producing import GIFT
from rig.system import System

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
SENDER = """
import own_actors
broker = own_actors.connect()
message = broker.get_actor("add").send(20, 22)
print(message.get_result(block=True, timeout=30_000))
broker.close()
"""


def test_own_actors_run_beside_largesses(system: System) -> None:
    """One fleet adds two numbers and makes a page."""
    env = clean(system.environ)
    env["PYTHONPATH"] = f"{EXAMPLES}{os.pathsep}{env['PYTHONPATH']}"
    words = ["python", "-m", "dramatiq", "own_actors:setup", "-p", "1", "-t", "2"]
    system.spawn(words, env=env, name="dramatiq", cwd=EXAMPLES)
    job = system.producer().gift_checkout(GIFT)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SENDER],
        env=env, cwd=system.run.folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    assert job.result(timeout=20).hosted_page
