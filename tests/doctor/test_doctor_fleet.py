"""`largesse doctor` on what is in Redis: the fleet, leases, sites and keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rig.command import Ran
from rig.keys import keys
from rig.shelf import WORKER, Shelf

from worker import Settings, __version__
from worker.doctor.keys import KNOWN
from worker.engine.keys import Keyspace
from worker.engine.queue_clock import redis_now_ms
from worker.operator import OperatorClient
from worker.process.heartbeat import Heartbeat

Typed = Callable[..., Ran]

LEASES = "{largesse:0}:q:chargebee:leases"
DELAYED = "{largesse:0}:q:chargebee:delayed"


@pytest.fixture
def doctor(typed: Typed) -> Callable[[str], dict[str, Any]]:
    """Run the doctor and give the check of a name."""

    def ask(name: str) -> dict[str, Any]:
        ran = typed("doctor", "--no-calls", "--json")
        found: dict[str, Any] = {check["name"]: check for check in ran.objects()}[name]
        assert bool(found["remedy"]) == (found["status"] != "ok")
        return found

    return ask


Doctor = Callable[[str], dict[str, Any]]


def there(shelf: Shelf, worker: str = WORKER, **facts: Any) -> None:
    """Let a worker tell that it is there."""
    known = {
        "version": __version__, "concurrency": 8, "running": 0, "silence_ms": 1, "ready": True,
        "why": "ready",
    }  # fmt: skip
    Heartbeat(shelf.client, Keyspace(), worker, lambda: {**known, **facts}).beat()


def test_doctor_misses_workers(shelf: Shelf, doctor: Doctor) -> None:
    """None is a warning; none while jobs wait is a fault; one that is there is well."""
    assert doctor("workers")["status"] == "warn"
    shelf.gift()
    check = doctor("workers")
    assert (check["status"], check["found"]) == ("fail", "no worker runs, and 1 job is queued")
    assert "largesse worker" in check["remedy"]
    there(shelf)
    assert doctor("workers") == {
        "name": "workers", "status": "ok", "found": "1 idle", "remedy": ""
    }  # fmt: skip


def test_doctor_names_groups_that_are_behind(
    shelf: Shelf, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number, by age and when something was cut; a group that reads is well."""
    stream = shelf.queue.key("outcomes")
    shelf.client.xgroup_create(stream, "billing", "0", mkstream=True)
    for _ in range(3):
        shelf.succeed(shelf.gift())
    check = doctor("followers")
    assert (check["status"], check["found"]) == ("ok", "1 group, 3 outcomes not handled yet")
    for _ in range(60):
        shelf.client.xadd(stream, {"job_id": "other"})
    monkeypatch.setenv("LARGESSE_STREAM_MAX_LEN", "100")
    check = doctor("followers")
    assert check["status"] == "warn"
    assert check["found"].startswith("billing: 63 outcomes, the oldest ")
    assert "cut after 7 d or beyond 100" in check["remedy"]
    monkeypatch.delenv("LARGESSE_STREAM_MAX_LEN")
    shelf.client.xgroup_setid(stream, "billing", "$")
    shelf.client.hset(shelf.queue.key("missed"), "count billing", 4)
    assert doctor("followers")["found"] == "billing: 0 outcomes, the oldest 0 s old, 4 cut"


def test_doctor_compares_encryption_keys(
    shelf: Shelf, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers without the key that encrypts here are a fault, a key of theirs alone a warning."""
    there(shelf, encryption_keys=["old"])
    check = doctor("encryption")
    assert (check["status"], check["found"]) == (
        "warn", "no key here; workers encrypt with old, which is not here"
    )  # fmt: skip
    for ids, status in ((("new", "old"), "fail"), (("old", "new"), "ok")):
        monkeypatch.setenv("LARGESSE_ENCRYPTION_KEYS", keys(*ids))
        check = doctor("encryption")
        assert check["status"] == status
        assert f"key {ids[0]} encrypts, of {', '.join(ids)}" in check["found"]
    monkeypatch.setenv("LARGESSE_ENCRYPTION_KEYS", keys("new", "old"))
    assert WORKER in doctor("encryption")["found"]
    assert "Add key new" in doctor("encryption")["remedy"]


def test_doctor_names_a_stuck_worker(shelf: Shelf, doctor: Doctor) -> None:
    """One that is there and takes no jobs is a fault, though another is well."""
    there(shelf)
    there(shelf, "host-2:7:beef", ready=False, why="nothing heard from Redis for 44 s")
    check = doctor("workers")
    assert check["status"] == "fail"
    assert "host-2:7:beef: nothing heard from Redis for 44 s" in check["found"]
    assert "restart" in check["remedy"]


def test_doctor_names_a_lost_worker(shelf: Shelf, doctor: Doctor) -> None:
    """One that was killed is a warning beside one that goes on."""
    there(shelf)
    there(shelf, "host-2:7:beef")
    shelf.client.zadd(
        "{largesse:0}:workers", {"host-2:7:beef": redis_now_ms(shelf.client) - 30_000}
    )
    check = doctor("workers")
    assert (check["status"], check["found"]) == ("warn", "1 idle, 1 lost; lost: host-2:7:beef")


def test_doctor_names_workers_of_another_version(shelf: Shelf, doctor: Doctor) -> None:
    """An upgrade that stopped half-way is a warning with both versions."""
    there(shelf)
    assert doctor("versions")["status"] == "ok"
    there(shelf, "host-2:7:beef", version="99.1.0")
    check = doctor("versions")
    assert check["status"] == "warn"
    assert __version__ in check["found"]
    assert "99.1.0" in check["found"]


def test_doctor_names_leases_that_nobody_takes_back(shelf: Shelf, doctor: Doctor) -> None:
    """A lease that lapsed minutes ago says that nobody fetches; one that just lapsed does not."""
    job = shelf.gift()
    shelf.run(job)
    now_ms = redis_now_ms(shelf.client)
    shelf.client.zadd(LEASES, {job.id: now_ms - 5_000})
    assert doctor("leases")["status"] == "ok"
    shelf.client.zadd(LEASES, {job.id: now_ms - 300_000})
    check = doctor("leases")
    assert check["status"] == "fail"
    assert check["found"].startswith("1 lapsed, and no worker took them")
    assert "for 5 min" in check["found"]
    assert "largesse worker" in check["remedy"]


def test_doctor_names_delayed_jobs_that_are_overdue(shelf: Shelf, doctor: Doctor) -> None:
    """A delayed job that was due a minute ago waits for a worker too."""
    job = shelf.gift(delay_s=600)
    assert doctor("leases")["status"] == "ok"
    shelf.client.zadd(DELAYED, {job.id: redis_now_ms(shelf.client) - 60_000})
    check = doctor("leases")
    assert check["status"] == "fail"
    assert "1 delayed and overdue" in check["found"]


def test_doctor_names_a_paused_site(shelf: Shelf, doctor: Doctor) -> None:
    """Why it stands, since when, what waits, and the word that lets it go on."""
    with shelf.operator() as operator:
        operator.pause("acme-test", reason="price change")
    shelf.gift()
    check = doctor("site acme-test")
    assert check["status"] == "warn"
    assert re.fullmatch(r"paused for \d s: price change; 1 in line", check["found"])
    assert check["remedy"].endswith("largesse sites resume acme-test")


def test_doctor_names_jobs_of_a_site_that_the_settings_do_not_know(
    shelf: Shelf, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs of a site without a key wait for ever: a fault while workers live, else a warning."""
    shelf.gift(site="globex")
    monkeypatch.setenv("CHARGEBEE_SITE", "acme-test")
    monkeypatch.setenv("CHARGEBEE_API_KEY", "test_1")
    check = doctor("site globex")
    assert (check["status"], check["remedy"]) == (
        "warn", "Give workers its key, or cancel the jobs."
    )  # fmt: skip
    there(shelf)
    check = doctor("site globex")
    assert check["status"] == "fail"
    assert re.fullmatch(
        r"no living worker has had a key for it for \d+ m?s; 1 in line", check["found"]
    )


def test_doctor_names_workers_without_a_good_key(shelf: Shelf, doctor: Doctor) -> None:
    """Which worker, which key by its mark, and what is wrong."""
    shelf.queue.configure("acme-test", key_mark="1f0c2a9e")
    there(shelf, "one:1:a", keys={"acme-test": ["1f0c2a9e", ""]})
    there(shelf, "two:2:b", keys={"acme-test": ["9e2a0c1f", "refused"]})
    there(shelf, "three:3:c", keys={"acme-test": ["none", "missing"]})
    check = doctor("keys acme-test")
    assert (check["status"], check["found"]) == (
        "warn",
        "2 of 3 workers have no good key: three:3:c: no key; two:2:b: 9e2a0c1f, refused",
    )


def test_doctor_names_workers_whose_limits_differ(shelf: Shelf, doctor: Doctor) -> None:
    """Each worker with what it says."""
    shelf.queue.configure("acme-test", interval_ms=1_000, cap=5, worker="one:1:a")
    shelf.queue.configure("acme-test", interval_ms=500, cap=9, worker="two:2:b")
    check = doctor("limits acme-test")
    assert (check["status"], check["found"]) == (
        "warn",
        "workers differ: one:1:a: 60 a minute, 5 at once; two:2:b: 120 a minute, 9 at once",
    )


def test_doctor_names_unknown_keys(shelf: Shelf, doctor: Doctor) -> None:
    """What stands under our prefix and is none of ours is named; neighbours are only counted."""
    shelf.gift()
    shelf.client.set("sessions:1", "x")
    check = doctor("neighbours")
    assert (check["status"], check["found"]) == ("ok", "other keys: 1")
    assert doctor("keys")["status"] == "ok"
    shelf.client.set("{largesse:0}:stray:1", "x")
    check = doctor("keys")
    assert check["status"] == "warn"
    assert "1 of no known name: stray" in check["found"]


def test_doctor_names_records_of_a_newer_version(shelf: Shelf, doctor: Doctor) -> None:
    """Producers that were upgraded before the workers show by their records."""
    job = shelf.gift()
    assert doctor("records")["status"] == "ok"
    shelf.client.hset(f"{{largesse:0}}:job:{job.id}", "v", "2")
    check = doctor("records")
    assert (check["status"], check["found"]) == ("warn", "1 of version 2, and this reads up to 1")
    assert "workers before the producers" in check["remedy"]


def test_doctor_names_shards_that_nobody_serves(
    shelf: Shelf, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer shards in the settings than in Redis leave jobs to nobody: a fault."""
    monkeypatch.setenv("LARGESSE_SHARDS", "8")
    assert doctor("shards")["status"] == "ok"
    settings = Settings.from_env({**shelf.environ, "LARGESSE_SHARDS": "8"})
    with OperatorClient(settings) as operator:
        for number in range(20):
            operator.pause(f"site-{number}")
    assert doctor("shards")["status"] == "ok"
    monkeypatch.setenv("LARGESSE_SHARDS", "2")
    check = doctor("shards")
    assert check["status"] == "fail"
    assert "LARGESSE_SHARDS" in check["remedy"]
    shelf.queue.scripts.lay_out()
    check = doctor("shards")
    assert (check["status"], check["found"]) == ("fail", "2 in the settings, and the queue has 1")


def test_doctor_names_another_namespace(
    shelf: Shelf, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing under this one and jobs under another is most likely a slip of the settings."""
    shelf.gift()
    monkeypatch.setenv("LARGESSE_NAMESPACE", "elsewhere")
    check = doctor("neighbours")
    assert check["status"] == "warn"
    assert "other namespaces: largesse" in check["found"]
    assert "LARGESSE_NAMESPACE" in check["remedy"]


def test_doctor_knows_the_keys_of_the_documents() -> None:
    """The first words of the keys in docs/redis_keys.md are the known ones, and no other."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "redis_keys.md").read_text("utf-8")
    tables = text.split("## Fields of")[0]
    written = set(re.findall(r"^\| `(\w+)[^`]*` \| ", tables, re.MULTILINE))
    written.discard("done")  # a channel
    assert written == KNOWN - {"stopped_at"}  # which tests alone write
