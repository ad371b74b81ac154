"""Texts that another program encrypted and decrypted: Node's crypto, and the shell examples."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rig.command import clean
from rig.keys import keys
from rig.producing import GIFT
from rig.program import redis_cli
from rig.system import System

from worker.encryption import Cipher
from worker.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
VECTORS: list[dict[str, Any]] = json.loads((EXAMPLES / "encrypted.json").read_text("utf-8"))
CANONICAL = json.dumps(GIFT, sort_keys=True, separators=(",", ":"))

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs the package nodejs")


def cipher(text: str) -> Cipher:
    """A cipher with what the variable would hold."""
    return Cipher.of(Settings(redis_url="redis://127.0.0.1:1/0", encryption_keys=text))


def node(text: str, *words: str, stdin: str) -> subprocess.CompletedProcess[str]:
    """Run the example with these keys."""
    env = clean({"LARGESSE_ENCRYPTION_KEYS": text})
    return subprocess.run(
        ["node", EXAMPLES / "jwe.mjs", *words], input=stdin, capture_output=True, text=True,
        env=env, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("one", VECTORS, ids=lambda one: one["part"])
def test_examples_open_and_have_their_marks(one: dict[str, Any]) -> None:
    """The documented texts open with their keys, and their digests have the documented marks."""
    ours = cipher(one["keys"])
    text = ours.decrypt(one["jwe"].encode(), job_id=one["job_id"], part=one["part"])
    assert text.decode() == one["text"]
    assert ours.mark(one["digest"]) == one["mark"]


@needs_node
@pytest.mark.parametrize("one", VECTORS, ids=lambda one: one["part"])
def test_node_and_python_read_each_other(one: dict[str, Any]) -> None:
    """What one encrypts the other decrypts; the marks are the same; a strange text is refused."""
    ours, where = cipher(one["keys"]), (one["job_id"], one["part"])
    made = ours.encrypt(one["text"].encode(), job_id=where[0], part=where[1])
    assert node(one["keys"], "decrypt", *where, stdin=made.decode()).stdout == one["text"]
    assert node(one["keys"], "decrypt", *where, stdin=one["jwe"]).stdout == one["text"]
    theirs = node(one["keys"], "encrypt", *where, stdin=one["text"]).stdout.encode()
    assert ours.decrypt(theirs, job_id=where[0], part=where[1]).decode() == one["text"]
    assert node(one["keys"], "mark", stdin=one["digest"]).stdout == one["mark"]
    assert node(one["keys"], "same", one["mark"], stdin=one["digest"]).returncode == 0
    assert node(one["keys"], "same", one["mark"], stdin="0" * 64).returncode == 1
    assert node(one["keys"], "decrypt", "0" * 32, where[1], stdin=one["jwe"]).returncode != 0
    lost = node(keys("other"), "decrypt", *where, stdin=one["jwe"])
    assert lost.returncode == 3
    assert f"key {one['keys'].partition(':')[0]}" in lost.stderr


Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def shell(system: System) -> Shell:
    """Run one of the shell examples with these keys."""
    folder = system.run.folder / "bin"
    folder.mkdir()
    (folder / "redis-cli").symlink_to(redis_cli())

    def run(text: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        env = clean({
            **system.environ, "LARGESSE_ENCRYPTION_KEYS": text,
            "LARGESSE_LUA": str(ROOT / "worker" / "engine" / "lua"),
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        })  # fmt: skip
        return subprocess.run(
            ["sh", EXAMPLES / words[0], *words[1:]], input=stdin, env=env, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


@needs_node
def test_shell_enqueues_an_encrypted_job_that_a_worker_runs(system: System, shell: Shell) -> None:
    """Enqueued by the shell, run by a worker, read by the shell: nothing plain is in Redis."""
    done = shell(keys("k1"), "enqueue.sh", "gift_checkout", "kanari-1", stdin=CANONICAL)
    assert done.returncode == 0, done.stderr
    job_id, word = done.stdout.split()
    assert word == "new"
    with system.redis() as client:
        stored: Any = client.get(f"{{largesse:0}}:msg:{job_id}")
        record: Any = client.hgetall(f"{{largesse:0}}:job:{job_id}")
    assert stored.startswith(b"eyJ")
    assert not [value for value in record.values() if b"kanari" in value]
    system.worker(env={"LARGESSE_ENCRYPTION_KEYS": keys("k1")})
    read = shell(keys("k1"), "result.sh", job_id, "30")
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout)["hosted_page"]["id"] == system.admin.pages()[0]["id"]


@needs_node
def test_shell_and_python_mean_the_same_job_over_a_rotation(system: System, shell: Shell) -> None:
    """Under either key the second to come is known, and another payload is a conflict."""
    old = system.producer(env={"LARGESSE_ENCRYPTION_KEYS": keys("old")})
    first = old.gift_checkout(GIFT, key="order-1")
    for text in (keys("old"), keys("new", "old")):
        again = shell(text, "enqueue.sh", "gift_checkout", "order-1", stdin=CANONICAL)
        assert again.stdout.split() == [first.id, "known"], again.stderr
        other = shell(text, "enqueue.sh", "gift_checkout", "order-1", stdin="{}")
        assert other.returncode == 2
    shell(keys("old"), "enqueue.sh", "gift_checkout", "order-2", stdin=CANONICAL)
    new = system.producer(env={"LARGESSE_ENCRYPTION_KEYS": keys("new", "old")})
    assert new.gift_checkout(GIFT, key="order-2").accepted == "known"
