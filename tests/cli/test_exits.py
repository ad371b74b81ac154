"""Exit codes: one for each way in which a command can end."""

from __future__ import annotations

import inspect

import pytest
from rig.command import Command

from worker import errors
from worker.cli.exits import MEANINGS, Exit, exit_of


def test_exits_all_have_a_meaning() -> None:
    """Every code is explained once."""
    assert set(MEANINGS) == set(Exit)
    assert len(set(MEANINGS.values())) == len(Exit)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SettingsError("X", "is missing", "Set it."), Exit.SETTINGS),
        (errors.InvalidJobError({"kind": ["Missing."]}), Exit.INVALID),
        (errors.JobConflictError("j"), Exit.INVALID),
        (errors.BrokerUnavailableError(), Exit.BROKER),
        (errors.QueueFullError(), Exit.BROKER),
        (errors.RejectedError("http_status", status=404), Exit.FAILED),
        (errors.ResultTimeoutError("j"), Exit.NO_OUTCOME),
        (errors.JobHeldError("j"), Exit.NO_OUTCOME),
        (errors.ResultMissingError("j"), Exit.NO_RESULT),
        (errors.ResultExpiredError("j"), Exit.NO_RESULT),
    ],
)
def test_exit_of_an_error(error: errors.WorkerError, code: Exit) -> None:
    """Each branch of the error tree has its code."""
    assert exit_of(error) is code


def test_exit_is_never_success_for_an_error() -> None:
    """No error, of today or later, ends a command as if it were done."""
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    for kind in (kind for kind in classes if issubclass(kind, errors.WorkerError)):
        assert exit_of(kind.__new__(kind)) is not Exit.OK


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("workers",), "largesse doctor"),
        (("stats",), "largesse doctor"),
        (("dead", "list"), "largesse doctor"),
        (("enqueue", "personalized-offer", "-"), "you can retry with the same key"),
    ],
    ids=" ".join,
)
def test_away_says_what_to_do_next(
    largesse: Command, free_port: int, words: tuple[str, ...], said: str
) -> None:
    """Who looks is sent to the doctor; who enqueues learns that a repeat is safe. Exit 4."""
    env = {"LARGESSE_REDIS_URL": f"redis://127.0.0.1:{free_port}/0", "CHARGEBEE_SITE": "acme-test"}
    ran = largesse(*words, env=env, stdin='{"customer_id": "c"}')
    assert ran.code == 4
    (line,) = ran.err.splitlines()
    assert said in line
