"""What a shell completes beside names of commands and options: kinds, sites, states, fields.

Nothing here asks Redis or the API: a key press must not wait for a network.
"""

from __future__ import annotations

from typing import Final

__all__ = ["KINDS", "STATES", "complete_kind", "complete_site", "complete_state"]

#: Kinds of jobs as they are typed; the schemas are too heavy for a key press.
KINDS: Final = ("gift-checkout", "personalized-offer")

#: All states, as `worker.engine.record.JobState` has them; that module is heavy.
STATES: Final = (
    "queued", "delayed", "running", "held", "succeeded", "failed", "expired", "cancelled",
)  # fmt: skip


def complete_kind(incomplete: str) -> list[str]:
    """Give the kinds that begin so."""
    return [name for name in KINDS if name.startswith(incomplete)]


def complete_state(incomplete: str) -> list[str]:
    """Give the states of jobs that begin so."""
    return [name for name in STATES if name.startswith(incomplete)]


def complete_site(incomplete: str) -> list[str]:
    """Give the sites of the settings that begin so; none while the settings are wrong."""
    from worker.errors import SettingsError  # noqa: PLC0415 - heavy
    from worker.settings import Settings  # noqa: PLC0415

    try:
        sites = Settings.from_env().sites
    except SettingsError:
        return []
    return [name for name in sites if name.startswith(incomplete)]
