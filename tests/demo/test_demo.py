"""`largesse demo`: a whole system that comes, works and goes."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from pathlib import Path

import pytest
from rig.command import Command
from rig.processes import Processes, descendants, leftovers
from rig.waiting import until

from worker.cli.demo import example_lines
from worker.demo.stage import Child, ChildError, Stage


def test_demo_answers_every_job_and_ends(largesse: Command) -> None:
    """24 jobs get an outcome, one line is refused, one job is rejected, each page is made once."""
    started = time.monotonic()
    ran = largesse("demo", "--json", timeout_s=90)
    took_s = time.monotonic() - started
    assert ran.code == 0, ran.err
    assert took_s < 60
    rows = ran.objects()
    assert [row["line"] for row in rows] == list(range(1, 26))
    outcomes = [row["outcome"] for row in rows]
    assert outcomes.count("succeeded") == 23
    assert outcomes.count("failed") == 1
    assert outcomes.count("refused") == 1
    (rejected,) = [row for row in rows if row["outcome"] == "failed"]
    assert rejected["error"]["class"] == "rejected"
    pages = [row["hosted_page"]["id"] for row in rows if row.get("hosted_page")]
    assert len(pages) == len(set(pages)) == 17
    assert all(row["attempts"] >= 1 and row["time_ms"] >= 0 for row in rows if "attempts" in row)
    # The sandbox breaks two requests: those jobs took another attempt each.
    assert sum(row.get("attempts", 1) - 1 for row in rows) == 2
    assert leftovers() == {}


def test_demo_draws_a_table(largesse: Command) -> None:
    """Without --json: the refused line on stderr, a table and a summary on stdout."""
    ran = largesse("demo", timeout_s=90)
    assert ran.code == 0, ran.err
    assert "refused: line 14: coupon_id: " in ran.err
    head, *rows = ran.out.splitlines()
    assert head.split("  ")[0] == "job"
    for column in ("kind", "outcome", "hosted page ID", "URL", "attempts", "time"):
        assert column in head
    assert sum(row.startswith("example-") for row in rows) == 24
    assert "made 17 pages for 17 gift checkouts" in rows[-1]


def test_demo_ignores_the_settings_of_its_user(largesse: Command) -> None:
    """Somebody's own site and Redis are not used."""
    env = {
        "LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0",
        "LARGESSE_SITES": "/nowhere.toml",
        "CHARGEBEE_API_URL": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }
    assert largesse("demo", "--json", env=env, timeout_s=90).code == 0


def test_examples_show_both_kinds_and_every_feature() -> None:
    """The example file has what the demo is to show."""
    jobs = [json.loads(line) for line in example_lines()]
    assert len(jobs) == 25
    assert {job["kind"] for job in jobs} == {"gift_checkout", "personalized_offer"}
    text = "\n".join(example_lines())
    for word in ("skip", "business_entity_id", "item_tiers", "coupon_ids", "origin", "deadline_s"):
        assert f'"{word}"' in text
    assert not text.isascii()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_that_is_stopped_leaves_nothing(spawn: Processes, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM in the middle ends everything that was started."""
    demo = spawn(["python", "-m", "worker.cli", "demo"], name="demo")
    family = until(
        lambda: found if len(found := descendants(demo.pid)) >= 4 else None,
        what="broker, sandbox and workers",
        timeout_s=20,
    )
    demo.send(number)
    assert demo.wait(15) == 128 + number
    for pid in family:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert "Traceback" not in demo.output()


@pytest.mark.parametrize("part", ["sandbox", "supervisor.py"])
def test_demo_ends_when_a_part_of_it_dies(spawn: Processes, part: str) -> None:
    """A part that is killed ends the demo with its name, and nothing else stays."""
    demo = spawn(["python", "-m", "worker.cli", "demo"], name="demo")

    def parts() -> list[int]:
        return [
            pid
            for pid in descendants(demo.pid)
            if any(word.endswith(part) for word in words_of(pid))
        ]

    until(lambda: len(descendants(demo.pid)) >= 4, what="all processes", timeout_s=20)
    family = descendants(demo.pid)
    os.kill(parts()[0], signal.SIGKILL)
    assert demo.wait(20) == 1
    assert " ended with -9" in demo.output()
    assert "Traceback" not in demo.output()
    until(lambda: not any(words_of(pid) for pid in family), what="the end of all", timeout_s=10)


def words_of(pid: int) -> list[str]:
    """Give the command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except FileNotFoundError:
        return []


def test_stage_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a stage goes with it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Stage(processes=1) as stage:
        stage.check()
        assert list(tmp_path.glob("largesse-*"))
    assert not list(tmp_path.glob("largesse-*"))


def test_child_that_ends_tells_its_last_output(tmp_path: Path) -> None:
    """What a process wrote last is part of the error."""
    child = Child("sandbox", ["/bin/sh", "-c", "echo oops >&2; exit 7"], env={}, folder=tmp_path)
    child.start()

    until(lambda: child.log.endswith("oops\n"), what="its last words")
    os.waitid(os.P_PID, child.pid or 0, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ChildError, match=r"the sandbox ended with 7. Its last output: oops"):
        child.check()
    child.stop()
