"""A server whose clock a test steps while it runs, by libfaketime (Debian's `faketime`)."""

from __future__ import annotations

from pathlib import Path

#: Where Debian puts the library; the one for programs with threads.
_LIBRARIES = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
LIBRARY: Path | None = next(_LIBRARIES, None)


class SteppingClock:
    """The clock of one process and those that it starts.

    Args:
        folder: for the file that the process reads its offset from.
        ahead_s: seconds by which it is ahead at first; below 0 = behind.
    """

    def __init__(self, folder: Path, *, ahead_s: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "faketime"
        self.step(ahead_s)

    def step(self, ahead_s: int) -> None:
        """Let the clock be so many seconds ahead of real time from now on."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{ahead_s:+d}\n")
        fresh.rename(self._file)

    @property
    def env(self) -> dict[str, str]:
        """Variables of the process. Time that only measures goes on as it does."""
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
