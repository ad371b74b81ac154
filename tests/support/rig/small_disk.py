"""A disk of a few MiB that a server's files can fill, in a mount namespace of the test's own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MNT = "/proc/thread-self/ns/mnt"


@contextlib.contextmanager
def small_disk(folder: Path, *, mib: int) -> Iterator[Path]:
    """Mount one on a folder, seen by this thread and what it starts alone; needs root.

    Raises:
        OSError: a namespace cannot be made here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open(_MNT, os.O_RDONLY)
    _check(libc.unshare(_CLONE_NEWNS))
    try:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        folder.mkdir(parents=True, exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
        subprocess.run(words, check=True)
        yield folder
    finally:
        _check(libc.setns(home, _CLONE_NEWNS))
        os.close(home)


def fill(folder: Path) -> Path:
    """Take all the space that is left; removing the file gives it back."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as sink, contextlib.suppress(OSError):
        while True:
            sink.write(b"x" * 4096)
    return path


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
