"""``python -m worker.sandbox``."""

from __future__ import annotations

import typer

from worker.sandbox.command import sandbox

typer.run(sandbox)
