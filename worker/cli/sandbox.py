"""``largesse sandbox``."""

from __future__ import annotations

from worker.sandbox.command import sandbox

__all__ = ["sandbox"]
