"""The exit codes of `largesse`. Scripts rely on them, so they never change."""

from __future__ import annotations

from enum import IntEnum

from worker import errors

__all__ = ["MEANINGS", "Exit", "exit_of"]


class Exit(IntEnum):
    """Exit codes; the sentence of each is in MEANINGS."""

    OK = 0
    FAILED = 1
    INVALID = 2
    SETTINGS = 3
    BROKER = 4
    NO_OUTCOME = 5
    NO_RESULT = 6
    INTERRUPTED = 130


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "a job or request ended without a page or offers, a check of `doctor` failed, "
    "or an action was refused",
    Exit.INVALID: "a wrong argument, payload or line, or a key that belongs to another payload",
    Exit.SETTINGS: "a setting, a key or an optional package is missing or wrong",
    Exit.BROKER: "Redis is unreachable or full: nothing was accepted",
    Exit.NO_OUTCOME: "no outcome yet, or held for a person",
    Exit.NO_RESULT: "no such job, or its page or offers have expired",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
}

_BY_ERROR: tuple[tuple[type[errors.WorkerError], Exit], ...] = (
    (errors.SettingsError, Exit.SETTINGS),
    (errors.EncryptionError, Exit.SETTINGS),
    (errors.InvalidJobError, Exit.INVALID),
    (errors.JobConflictError, Exit.INVALID),
    (errors.BrokerError, Exit.BROKER),
    (errors.ResultTimeoutError, Exit.NO_OUTCOME),
    (errors.JobHeldError, Exit.NO_OUTCOME),
    (errors.ResultMissingError, Exit.NO_RESULT),
    (errors.ResultExpiredError, Exit.NO_RESULT),
)


def exit_of(error: errors.WorkerError) -> Exit:
    """Give the exit code of an error."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), Exit.FAILED)
