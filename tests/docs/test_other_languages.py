"""docs/other_languages.md: its commands run without Python, its tables are the code."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rig.command import clean
from rig.producing import GIFT
from rig.program import redis_cli
from rig.system import System

from worker import Settings
from worker.engine.scripts import PARTS
from worker.errors import JobConflictError
from worker.jobs.job import Job

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "other_languages.md").read_text(encoding="utf-8")
CANONICAL = json.dumps(GIFT, sort_keys=True, separators=(",", ":"))
SETTINGS = Settings.from_env(
    {
        "LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0",
        "CHARGEBEE_SITE": "acme-test",
        "CHARGEBEE_API_KEY": "k",
    }
)
DIGESTS: list[dict[str, Any]] = json.loads((DOCS / "examples" / "digests.json").read_text())


def names(heading: str) -> list[str]:
    """First column of the tables under a heading, without its backticks."""
    section = PAGE.split(f"\n{heading}\n")[1].split("\n#")[0]
    cells = re.findall(r"(?m)^\| (`[^|]+) \|", section)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def shell(system: System, code: str, *, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run shell code in a folder that holds the examples, and the scripts of a checkout."""
    folder = system.run.folder
    shutil.copytree(DOCS / "examples", folder / "docs" / "examples", dirs_exist_ok=True)
    (folder / "bin").mkdir(exist_ok=True)
    if not (folder / "bin" / "redis-cli").is_symlink():
        (folder / "bin" / "redis-cli").symlink_to(redis_cli())
    env = clean({
        **system.environ, "LARGESSE_LUA": str(ROOT / "worker" / "engine" / "lua"),
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
    })  # fmt: skip
    return subprocess.run(
        ["sh", "-euc", code], cwd=folder, env=env, input=stdin, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def enqueue(system: System, key: str, payload: str = CANONICAL) -> list[str]:
    """Enqueue with the example script; gives the id and the word."""
    done = shell(system, f"docs/examples/enqueue.sh gift_checkout {key}", stdin=payload)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_redis_cli_enqueues_and_reads_the_outcome(system: System) -> None:
    """The page's commands make one page; their outcome has the documented members."""
    system.worker()
    (code,) = re.findall(r"<!-- run: redis-cli -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    done = shell(system, code)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert set(names("## Reading the outcome")) == outcome.keys()
    (page,) = system.admin.pages()
    assert outcome["hosted_page"]["id"] == page["id"]
    job_id, word = (system.run.folder / "job.txt").read_text().split()
    assert (job_id, word) == (outcome["job_id"], "new")
    with system.redis() as client:
        ((_, entry),) = client.xrange("{largesse:0}:outcomes")  # type: ignore[misc]
    fields = re.search(r"entries have the fields (.*?)\. A job", PAGE)
    assert fields is not None
    assert [name.decode() for name in entry] == re.findall(r"`(\w+)`", fields[1])


@pytest.mark.parametrize("shards", ["1", "7"])
def test_redis_cli_and_python_mean_the_same_job(system: System, shards: str) -> None:
    """Whoever comes second under a key gets the first one's job; another payload is a conflict."""
    system.environ["LARGESSE_SHARDS"] = shards
    producer = system.producer()
    assert enqueue(system, "k1")[1] == "new"
    again = producer.gift_checkout(GIFT, key="k1")
    assert enqueue(system, "k1") == [again.id, "known"]
    assert again.accepted == "known"
    first = producer.gift_checkout(GIFT, key="k2")
    assert enqueue(system, "k2") == [first.id, "known"]
    refused = shell(system, "docs/examples/enqueue.sh gift_checkout k1", stdin="{}")
    assert refused.returncode == 2
    assert "belongs to another payload" in refused.stderr
    with pytest.raises(JobConflictError):
        producer.gift_checkout({}, key="k1")


def test_redis_cli_says_what_went_wrong(system: System) -> None:
    """A job without an outcome, one that is not known, and a full server have their exit codes."""
    job_id, _ = enqueue(system, "k1")
    assert shell(system, f"docs/examples/result.sh {job_id} 1").returncode == 5
    assert shell(system, f"docs/examples/result.sh {'0' * 32} 1").returncode == 6
    with system.redis() as client:
        client.config_set("maxmemory", 1)
        try:
            full = shell(system, "docs/examples/enqueue.sh gift_checkout k2", stdin=CANONICAL)
        finally:
            client.config_set("maxmemory", 0)
    assert full.returncode == 4
    assert "OOM" in full.stderr
    assert enqueue(system, "k2")[1] == "new"


@pytest.mark.parametrize("one", DIGESTS, ids=lambda one: one["key"].encode("punycode").decode())
def test_examples_follow_from_the_page(one: dict[str, Any]) -> None:
    """Digest and id come out of the text by the page's recipe, and are what the producer makes."""
    digest = hashlib.sha256(one["text"].encode()).hexdigest()
    tag = hashlib.sha256(one["site"].encode()).hexdigest()[:4]
    which = "\x1f".join(("largesse job", one["site"], one["kind"], one["key"]))
    job_id = tag + hashlib.sha256(which.encode()).hexdigest()[:28]
    assert (digest, job_id) == (one["digest"], one["job_id"])
    parsed = json.loads(one["text"])
    assert json.dumps(parsed, sort_keys=True, separators=(",", ":")) == one["text"]
    job = Job.prepare(
        SETTINGS, one["kind"], one["payload"], key=one["key"], options=one["options"]
    )
    assert (job.digest, job.id) == (digest, job_id)


def test_page_spells_numbers_as_the_digest_does() -> None:
    """Each number of the page stands in the text of the digest just as the page writes it."""
    listed = re.search(r"as Python writes them: ([^.]+(?:\.[0-9][^.]*)*)\.", PAGE)
    assert listed is not None
    spelled = re.findall(r"`([^`]+)`", listed[1])
    assert len(spelled) == 4
    for number in spelled:
        body = {"customer_id": "c", "custom": {"n": float(number)}}
        text = (
            '{"kind":"personalized_offer","options":{},"payload":{"custom":{"n":'
            + number
            + '},"customer_id":"c"},"site":"acme-test"}'
        )
        job = Job.prepare(SETTINGS, "personalized_offer", body)
        assert job.digest == hashlib.sha256(text.encode()).hexdigest()


def test_page_has_the_arguments_of_the_script() -> None:
    """The table of arguments is the one that the script itself declares, in its order."""
    script = (ROOT / "worker" / "engine" / "lua" / "enqueue.lua").read_text()
    declared = re.search(r"n entries of (\d+): (.+);", script)
    assert declared is not None
    table = names("## The enqueue script")
    assert table[: int(declared[1])] == declared[2].split(", ")
    assert table[int(declared[1]) :] == ["new", "known", "conflict"]


def test_page_and_example_name_the_parts_of_the_script() -> None:
    """Page and shell script put the same files together as the producer, in its order."""
    parts = [f"{name}.lua" for name in (*PARTS, "enqueue")]
    text = " ".join(PAGE.split())
    assert ", ".join(f"`{name}`" for name in parts) in text
    assert re.findall(r"\$lua/(\w+\.lua)", (DOCS / "examples" / "enqueue.sh").read_text()) == parts


def test_page_has_the_members_of_the_message() -> None:
    """The table of members is what a producer writes, options included."""
    job = Job.prepare(
        SETTINGS, "gift_checkout", GIFT, key="k",
        options={"skip": ["email"], "deadline_s": 9, "lane": "bulk"},
    )  # fmt: skip
    message = json.loads(job.message(trace={"traceparent": "00"}).encode())
    assert set(names("### The message")) == message.keys()
    section = PAGE.split("### The message")[1].split("\n## ")[0]
    told = set(re.findall(r"`(\w+)`", section))
    assert message["options"].keys() <= told
    assert job.options.keys() <= told
    assert message["kwargs"].keys() == {"payload", "options"}
