"""Whether tests may make namespaces of their own here: for a network, or for mounts."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Literal

_TRIES = {
    "net": ["unshare", "--net", "true"],
    "mount": ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
}
TUN = Path("/dev/net/tun")


@cache
def missing(kind: Literal["net", "mount"]) -> str | None:
    """Say what keeps this machine from making one, or None."""
    if os.geteuid() != 0:
        return f"{kind} namespaces need root"
    if kind == "net" and not TUN.exists():
        return f"there is no {TUN}"
    try:
        tried = subprocess.run(_TRIES[kind], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no unshare on this machine"
    return None if tried.returncode == 0 else f"no {kind} namespace: {tried.stderr.strip()}"
