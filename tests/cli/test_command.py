"""The command as a whole: help, versions, completion, errors, how quick it is."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Any

import pytest
from rig.command import Command

COMMANDS = [
    "demo", "worker", "sandbox", "enqueue", "result", "request", "doctor", "bench", "version",
]  # fmt: skip
GROUPS = ["dashboard", "workers", "queues", "stats", "jobs", "dead", "held", "sites", "results"]


def test_help_lists_every_command(largesse: Command) -> None:
    """Help names all commands, each with a sentence that is not cut off."""
    ran = largesse("--help")
    assert ran.code == 0
    listed = [line.split() for line in ran.out.split("Commands:")[1].splitlines() if line]
    assert sorted(words[0] for words in listed) == sorted(COMMANDS + GROUPS)
    assert not any(words[-1].endswith("...") for words in listed)


def test_help_of_every_command_has_examples() -> None:
    """Whatever can be run shows how, in lines that begin as they are typed."""
    from typer.main import get_command

    from worker.cli.app import app

    def leaves(command: Any, name: str) -> dict[str, Any]:
        below = getattr(command, "commands", None)
        if below is None:
            return {name: command}
        return {
            k: v for sub, one in below.items() for k, v in leaves(one, f"{name} {sub}").items()
        }

    found = leaves(get_command(app), "largesse")
    assert len(found) > 25
    for name, command in found.items():
        lines = (command.epilog or "").splitlines()
        assert "Examples:" in lines, name
        assert all(line.startswith(f"  {name}") for line in lines[2:]), name


def test_command_without_words_shows_help(largesse: Command) -> None:
    """No words are a wrong use, answered with the help."""
    ran = largesse()
    assert ran.code == 2
    assert "Commands:" in ran.out + ran.err


@pytest.mark.parametrize("command", COMMANDS + GROUPS)
def test_commands_refuse_options_that_do_not_exist(largesse: Command, command: str) -> None:
    """A misspelt option ends with 2 and does nothing."""
    ran = largesse(command, "--no-such-option")
    assert ran.code == 2
    assert "No such option" in ran.err
    assert "Traceback" not in ran.err


def test_unknown_command_is_refused(largesse: Command) -> None:
    """A misspelt command ends with 2."""
    assert largesse("enque").code == 2


def test_version_names_what_it_stands_on(largesse: Command) -> None:
    """Version, as lines and as one object."""
    assert largesse("version").out.startswith("largesse ")
    (shown,) = largesse("version", "--json").objects()
    assert shown["largesse"]
    assert shown["python"].startswith("3.")
    assert {"dramatiq", "redis", "marshmallow"} <= shown.keys()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion_is_offered(largesse: Command, shell: str) -> None:
    """Each shell is given a script that asks the command."""
    # The option itself looks which shell it was typed in; a test may have none above it.
    detect = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    ran = largesse("--show-completion", shell, env=detect)
    assert ran.code == 0
    assert "_LARGESSE_COMPLETE" in ran.out


def completed(largesse: Command, *words: str, **env: str) -> list[str]:
    """Give what bash would offer behind these words."""
    asked = {
        "_LARGESSE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("largesse", *words)),
        "COMP_CWORD": str(len(words)),
    }  # fmt: skip
    ran = largesse(env={**asked, **env})
    assert "Traceback" not in ran.err
    return ran.out.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("en",), ["enqueue"]),
        (("dead", "re"), ["replay"]),
        (("jobs", "list", "--st"), ["--state"]),
        (("jobs", "list", "--state", "s"), ["succeeded"]),
        (("jobs", "cancel", "--kind", "g"), ["gift-checkout"]),
        (("held", "replay", "--kind", ""), ["gift-checkout", "personalized-offer"]),
        (("enqueue", "pers"), ["personalized-offer"]),
        (("request", "gi"), ["gift-checkout"]),
        (("sites", "pause", "ac"), ["acme-test"]),
        (("dead", "list", "--site", ""), ["acme-test"]),
    ],
    ids=" ".join,
)
def test_completion_knows_words(
    largesse: Command, words: tuple[str, ...], offered: list[str]
) -> None:
    """Commands, options, states, kinds, and the sites of the settings are completed."""
    env = {
        "LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0", "CHARGEBEE_SITE": "acme-test",
        "CHARGEBEE_API_KEY": "test_1",
    }  # fmt: skip
    assert completed(largesse, *words, **env) == offered


def test_completion_without_settings_is_silent(largesse: Command) -> None:
    """Sites cannot be known then, which is no reason to write over somebody's prompt."""
    assert completed(largesse, "sites", "pause", "") == []


def test_completion_knows_the_kinds() -> None:
    """The kinds that are offered are those that there are."""
    from schemas import KINDS as KNOWN
    from worker.cli.complete import KINDS

    assert {name.replace("-", "_") for name in KINDS} == set(KNOWN)


@pytest.mark.parametrize("words", [("--help",), ("enqueue", "--help"), ("version",)])
def test_light_commands_are_quick(largesse: Command, words: tuple[str, ...]) -> None:
    """They take less than half a second of a core, Python's start included."""

    def spent_s() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    took = []
    for _ in range(3):
        before = spent_s()
        assert largesse(*words).code == 0
        took.append(spent_s() - before)
    assert min(took) < 0.5


def test_enqueue_imports_no_http_client() -> None:
    """What enqueues needs no API client, not even on the command line."""
    code = (
        "import sys, runpy\n"
        "sys.argv = ['largesse', 'enqueue', 'personalized-offer', '-']\n"
        "try: runpy.run_module('worker.cli', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([n for n in ('httpx', 'starlette', 'structlog', 'jinja2') if n in sys.modules])"
    )
    env = {
        "LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0",
        "CHARGEBEE_SITE": "acme-test",
        "PATH": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        input='{"customer_id": "c"}',
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert "Redis" in done.stderr


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("typer", "'version'", "cli"),
        ("rich", "'demo'", "cli"),
        ("httpx", "'request', 'gift-checkout', '-'", "worker"),
    ],
)
def test_missing_extra_is_named(missing: str, words: str, extra: str) -> None:
    """Where an optional package is missing, the command says what to install, exit 3."""
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        f"sys.argv = ['largesse', {words}]\n"
        "from worker.cli import main\n"
        "main()"
    )
    env = {"CHARGEBEE_SITE": "acme-test", "CHARGEBEE_API_KEY": "k", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="{}",
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert f"pip install 'largesse[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_interrupted_command_ends_with_130(largesse: Command) -> None:
    """Ctrl-C leaves with the code that shells expect, without a traceback."""
    code = (
        "import signal, sys, worker.cli.version as v\n"
        "v.versions = lambda: signal.raise_signal(signal.SIGINT)\n"
        "sys.argv = ['largesse', 'version']\n"
        "from worker.cli import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
