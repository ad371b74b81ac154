"""Wrong values, closed and full streams: no command ever ends with a traceback."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import pytest
import typer.main
from rig.command import Command, Ran, clean
from rig.waiting import until

from worker.cli import main
from worker.cli.app import app
from worker.cli.exits import Exit

Typed = Callable[..., Ran]

VALUES = (
    "", "  ", "\udcff", "x" * 9_000, "-1", "nan", "1e-400", "9" * 30, "💥", "a\nb", "\x01",
    "/dev/null", "/", "/nonexistent/x", "{}", "null", "-", "é=1", "a>b>c", "=", "*", "%s%s",
    "../..", "file:/x", "999999999w", "2026-13-45", "-5h",
)  # fmt: skip
#: What the arguments of a command may be.
RIGHT = {
    "kind": "gift-checkout", "payload": "-", "site": "acme-test", "rate": "60",
    "job_id": "a" * 32, "job_ids": "a" * 32,
}  # fmt: skip
#: Commands that serve until they are asked to stop, or measure for seconds.
LONG = {"bench", "dashboard", "demo", "sandbox", "worker"}
#: Options that a value makes wait: `stats --watch` never ends.
WAITING = {"watch", "wait", "timeout"}


def commands(group: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give the words of every command below a group."""
    below = getattr(group, "commands", None)
    if below is None:
        yield words
        return
    for name, command in below.items():
        yield from commands(command, (*words, name))


COMMANDS = [words for words in commands(typer.main.get_command(app)) if words[0] not in LONG]


def command_of(words: Sequence[str]) -> click.Command:
    """Find a command by its words."""
    found = typer.main.get_command(app)
    for word in words:
        found = found.commands[word]  # type: ignore[attr-defined]
    return found


def right(words: Sequence[str]) -> list[str]:
    """Give a command with arguments that fit."""
    options = ["--group", "billing", "--timeout", "0"] if words[-1] == "follow" else []
    return [*words, *options, *arguments(words)]


def arguments(words: Sequence[str]) -> list[str]:
    """Give arguments that fit a command."""
    return [
        RIGHT.get(str(one.name), "x")
        for one in command_of(words).params
        if one.param_type_name == "argument"
    ]


def wrong(words: Sequence[str]) -> Iterator[list[str]]:
    """Give a command with every value for every argument and option."""
    line = right(words)
    for value in VALUES:
        for place in range(len(line) - len(arguments(words)), len(line)):
            yield [*line[:place], value, *line[place + 1 :]]
        for one in command_of(words).params:
            takes = isinstance(one, click.Option) and not one.is_flag
            if takes and one.name not in {"help", *WAITING}:
                yield [*line, one.opts[0], value]


def in_order(ran: Ran) -> Ran:
    """Say that a command ended as the list of exit codes has it, and in words."""
    said = ran.out + ran.err
    assert ran.code in set(Exit), said
    assert "Traceback" not in said
    assert "fault of Largesse" not in said
    return ran


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_wrong_value_is_told_without_a_traceback(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Every argument and option takes or refuses every value."""
    for line in wrong(words):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"{}")))
        in_order(typed(*line))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_streams_that_are_closed_are_told_without_a_traceback(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """A command that was started with closed streams finds None in their place."""
    for closed in (("stdin",), ("stdout",), ("stderr",), ("stdin", "stdout", "stderr")):
        with monkeypatch.context() as patch:
            for name in closed:
                patch.setattr(f"sys.{name}", None)
            in_order(typed(*right(words)))
            for name in closed:
                getattr(sys, name).close()


def shell(line: str, env: dict[str, str], folder: Path) -> Ran:
    """Run a line of shell in which `$largesse` is the command."""
    done = subprocess.run(
        ["sh", "-c", line], env=clean({"largesse": f"{sys.executable} -m worker.cli", **env}),
        cwd=folder, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def env(redis_url: str) -> dict[str, str]:
    """A server and a site."""
    return {"LARGESSE_REDIS_URL": redis_url, "CHARGEBEE_SITE": "acme-test"}


def test_closed_stdin_is_told(env: dict[str, str], tmp_path: Path) -> None:
    """Whoever reads it is told; it is no empty input."""
    ran = shell("$largesse enqueue gift-checkout - <&-", env, tmp_path)
    assert ran.code == 2
    assert "PAYLOAD cannot be read" in ran.err
    assert "Traceback" not in ran.err


def test_closed_streams_do_not_reach_redis(
    env: dict[str, str], tmp_path: Path, typed: Typed
) -> None:
    """No socket gets the number of a stream: the job is in, whichever streams are closed."""
    payload = tmp_path / "gift.json"
    payload.write_text("{}")
    for number, closed in enumerate(("<&-", ">&-", "2>&-", "<&- >&- 2>&-")):
        line = f"$largesse enqueue gift-checkout {payload} --key order-{number} {closed}"
        assert shell(line, env, tmp_path).code == 0
        assert "queued" in typed("jobs", "list", "--key", f"order-{number}").out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
@pytest.mark.parametrize("words", ["version", "stats", "version --json", "--help"])
def test_full_stdout_is_told(env: dict[str, str], tmp_path: Path, words: str) -> None:
    """One line says that the output was lost, and the exit code too."""
    ran = shell(f"$largesse {words} > /dev/full", env, tmp_path)
    assert (ran.code, ran.err.splitlines()) == (
        1, ["largesse: the output cannot be written: No space left on device."],
    )  # fmt: skip


def test_narrow_encoding_is_no_fault(env: dict[str, str], tmp_path: Path) -> None:
    """What stdout cannot spell is escaped."""
    env["PYTHONIOENCODING"] = "latin-1"
    ran = shell("$largesse jobs list --key käse; $largesse result 💥", env, tmp_path)
    assert "Traceback" not in ran.err
    assert "\\U0001f4a5 missing" in ran.out


def test_fleet_works_with_closed_streams(
    env: dict[str, str], tmp_path: Path, typed: Typed
) -> None:
    """The supervisor and its processes run and end in order without any stream."""
    line = "echo $$; exec $largesse worker -p 1 <&- >&- 2>&-"
    given = {**env, "CHARGEBEE_API_KEY": "test_x", "largesse": f"{sys.executable} -m worker.cli"}
    with subprocess.Popen(
        ["sh", "-c", line], env=clean(given), cwd=tmp_path, stdout=subprocess.PIPE
    ) as fleet:
        until(lambda: "idle" in typed("workers").out, what="the worker", timeout_s=30)
        fleet.terminate()
        assert fleet.wait(20) == 0


def test_fault_of_our_own_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It names the kind and the place, and nothing of what the error says."""

    def broken(**_: object) -> None:
        raise KeyError("canary@example.com")

    monkeypatch.setattr("worker.cli.app.app", broken)
    with pytest.raises(SystemExit) as ended:
        main()
    (line,) = capfd.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert line.startswith("largesse: unexpected KeyError at worker/cli/__init__.py:")
    assert "canary" not in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sandbox", "--host", "💥..x"), "no such address"),
        (("dashboard", "--host", "💥..x"), "no such address"),
        (("sandbox", "--site", "="), "a site name"),
        (("sandbox", "--faults", os.devnull), "sandbox:"),
    ],
    ids=" ".join,
)
def test_server_that_cannot_start_says_why(
    largesse: Command, redis_url: str, words: tuple[str, ...], said: str
) -> None:
    """An address that is none is told like one that is taken."""
    env = {"LARGESSE_REDIS_URL": redis_url, "LARGESSE_DASHBOARD_PASSWORD": "a-long-password-1234"}
    ran = in_order(largesse(*words, env=env))
    assert ran.code in {2, 3}
    assert said in ran.err


def test_server_of_another_kind_is_told(largesse: Command, redis_url: str) -> None:
    """A plain server is no Cluster and no Sentinel, and has sixteen databases."""
    address = redis_url.removeprefix("redis://").partition("/")[0]
    for url, said in (
        (f"redis+cluster://{address}", "this server is no Cluster"),
        (f"redis+sentinel://{address}/mymaster/0", "this server is no Sentinel"),
        (f"redis://{address}/99", "has no database of this number"),
        (f"rediss://{address}/0", "TLS handshake"),
        ("redis://a..b/0", "has a host or a port that cannot be read"),
    ):
        ran = in_order(largesse("workers", env={"LARGESSE_REDIS_URL": url}))
        assert said in ran.err
        assert ran.code in {Exit.BROKER, Exit.SETTINGS}
