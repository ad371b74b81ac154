"""`largesse doctor`: a line for each thing that may be wrong, and its remedy."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig.command import Command
from rig.server import RedisServer
from rig.system import System

from worker.engine.scripts import SCRIPT_NAMES, script
from worker.process.redis_checks import check_redis

HEALTHY = [
    "settings", "redis", "version", "role", "persistence", "eviction", "memory", "clock",
    "scripts", "keys", "records", "shards", "neighbours", "workers", "versions", "leases",
]  # fmt: skip


def by_name(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Index checks by their names."""
    return {check["name"]: check for check in found}


@pytest.fixture
def listener() -> Iterator[str]:
    """Origin of a server that takes connections and never speaks."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_doctor_finds_a_good_system_good(redis_server: RedisServer, system: System) -> None:
    """Every check is ok, exit 0; each site got one request that made nothing."""
    system.environ["LARGESSE_REDIS_URL"] = redis_server.url
    system.worker()
    system.producer().gift_checkout({}).result(20)
    before = system.admin.counts()["pages"]
    ran = system.run("doctor", "--json", env={"LARGESSE_REDIS_URL": redis_server.url})
    checks = ran.objects()
    assert ran.code == 0, ran.out
    assert {check["status"] for check in checks} == {"ok"}, ran.out
    assert [check["name"] for check in checks][: len(HEALTHY)] == HEALTHY
    assert {"key acme-test", "api acme-test", "login acme-test"} <= by_name(checks).keys()
    assert [one["method"] for one in system.admin.requests()].count("GET") == 1
    assert system.admin.counts()["pages"] == before
    assert "test_sandbox_key" not in ran.out


def test_doctor_sends_nothing_when_told_so(system: System) -> None:
    """With --no-calls keys are read and not tried."""
    ran = system.run("doctor", "--no-calls", "--json")
    assert "login acme-test" not in by_name(ran.objects())
    assert system.admin.counts()["requests"] == 0


def test_doctor_prints_a_line_each_with_the_remedy(system: System) -> None:
    """A server without persistence is a warning that says what to set."""
    ran = system.run("doctor")
    assert ran.code == 0
    (line,) = [line for line in ran.out.splitlines() if " persistence" in line]
    assert line.startswith("warn ")
    assert "appendonly yes" in line


def test_doctor_without_settings(largesse: Command) -> None:
    """The first thing to set is named, exit 1."""
    ran = largesse("doctor", "--json")
    assert ran.code == 1
    (check,) = ran.objects()
    assert (check["name"], check["status"]) == ("settings", "fail")
    assert "LARGESSE_REDIS_URL" in check["found"]
    assert check["remedy"]


def test_doctor_finds_variables_that_are_no_settings(largesse: Command) -> None:
    """Also when a setting is missing because its name is mistyped; values are not shown."""
    ran = largesse("doctor", "--json", env={"LARGESSE_REDIS_URI": "redis://:canary@host"})
    assert ran.code == 1
    found = {one["name"]: one for one in ran.objects()}
    assert found["settings"]["status"] == "fail"
    assert found["variables"]["status"] == "warn"
    assert found["variables"]["found"] == "LARGESSE_REDIS_URI is no setting of Largesse"
    assert "Did you mean LARGESSE_REDIS_URL?" in found["variables"]["remedy"]
    assert "canary" not in ran.out


def test_doctor_without_redis(largesse: Command, listener: str) -> None:
    """Redis is unreachable, without its password, and the sites are still looked at."""
    env = {
        "LARGESSE_REDIS_URL": "redis://somebody:open-sesame@127.0.0.1:1/0",
        "CHARGEBEE_SITE": "acme-test",
        "CHARGEBEE_API_KEY": "test_x",
        "CHARGEBEE_API_URL": listener,
    }
    ran = largesse("doctor", "--no-calls", "--json", env=env)
    assert ran.code == 1
    checks = by_name(ran.objects())
    assert checks["redis"]["status"] == "fail"
    assert "open-sesame" not in ran.out
    assert checks["api acme-test"]["status"] == "ok"


def test_doctor_names_an_evicting_and_full_server(
    redis_server_factory: Callable[..., RedisServer], largesse: Command
) -> None:
    """A server that may drop jobs fails; so does one whose memory is used up."""
    config = {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}
    server = redis_server_factory(config=config)
    env = {"LARGESSE_REDIS_URL": server.url}
    checks = by_name(largesse("doctor", "--json", env=env).objects())
    assert checks["eviction"]["status"] == "fail"
    assert "noeviction" in checks["eviction"]["remedy"]
    assert checks["memory"]["status"] == "ok"
    server.config_set(maxmemory_policy="noeviction", maxmemory="1mb")
    checks = by_name(largesse("doctor", "--json", env=env).objects())
    assert checks["eviction"]["status"] == "ok"
    assert checks["memory"]["status"] == "fail"


def test_doctor_names_a_replica(
    redis_server_factory: Callable[..., RedisServer], largesse: Command
) -> None:
    """A replica takes no jobs."""
    primary = redis_server_factory()
    replica = redis_server_factory(config={"replicaof": f"127.0.0.1 {primary.port}"})
    ran = largesse("doctor", "--json", env={"LARGESSE_REDIS_URL": replica.url})
    assert ran.code == 1
    assert by_name(ran.objects())["role"]["status"] == "fail"


def test_doctor_names_keys_that_cannot_be_read(largesse: Command, listener: str) -> None:
    """A missing key, and a live key for a test site."""
    env = {
        "LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0",
        "CHARGEBEE_SITE": "acme-test",
        "CHARGEBEE_API_URL": listener,
    }
    missing = by_name(largesse("doctor", "--json", env=env).objects())["key acme-test"]
    assert missing["status"] == "fail"
    assert "CHARGEBEE_API_KEY" in missing["found"]
    env["CHARGEBEE_API_KEY"] = "live_0123456789"
    ran = largesse("doctor", "--no-calls", "--json", env=env)
    assert by_name(ran.objects())["key acme-test"]["status"] == "warn"
    assert "0123456789" not in ran.out


def test_doctor_looks_at_every_site(largesse: Command, listener: str, tmp_path: Path) -> None:
    """Each site of a file is looked at, the one that is away named with a remedy."""
    sites = tmp_path / "sites.toml"
    sites.write_text(
        f'[sites.here]\napi_key = "env:K"\napi_url = "{listener}"\n'
        '[sites.away]\napi_key = "env:K"\napi_url = "http://127.0.0.1:1"\n'
    )
    env = {
        "LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0",
        "LARGESSE_SITES": str(sites),
        "K": "live_1",
    }
    checks = by_name(largesse("doctor", "--no-calls", "--json", env=env).objects())
    assert checks["api here"]["status"] == "ok"
    assert checks["api away"]["status"] == "fail"
    assert "refused" in checks["api away"]["found"]
    assert checks["sites"]["status"] == "warn"


def test_doctor_without_a_site(largesse: Command) -> None:
    """No site is a fault, as nothing can be sent."""
    env = {"LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0"}
    assert by_name(largesse("doctor", "--json", env=env).objects())["sites"]["status"] == "fail"


class _Server:
    """Answers as a server would that reports these facts."""

    def __init__(self, info: dict[str, Any], ahead_s: float = 0.0) -> None:
        self._info = info
        self._ahead_s = ahead_s

    def ping(self) -> bool:
        return True

    def info(self) -> dict[str, Any]:
        return self._info

    def time(self) -> tuple[int, int]:
        import time

        now = time.time() + self._ahead_s
        return int(now), int(now % 1 * 1e6)

    def eval(self, source: str, keys: int) -> int:
        return 1

    def script_exists(self, *hashes: str) -> list[bool]:
        return [True for _ in hashes]


@pytest.mark.parametrize(
    ("facts", "name", "status"),
    [
        ({"redis_version": "6.0.16"}, "version", "warn"),
        ({"redis_version": "6.2.14"}, "version", "ok"),
        ({"redis_version": "7.0.15"}, "version", "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.0"}, "version", "ok"),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "persistence", "fail"),
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, "persistence", "ok"),
        ({"rdb_last_bgsave_status": "err"}, "persistence", "fail"),
        ({"maxmemory": 0, "maxmemory_policy": "allkeys-lru"}, "eviction", "ok"),
        ({"maxmemory": 100, "used_memory": 80}, "memory", "warn"),
    ],
)
def test_doctor_judges_what_a_server_reports(
    facts: dict[str, Any], name: str, status: str
) -> None:
    """Facts that no server here can be brought to report are judged as well."""
    server: Any = _Server({"role": "master", **facts})
    found = {check.name: check for check in check_redis(server, "redis://x")}
    assert found[name].status == status
    assert bool(found[name].remedy) == (status != "ok")


@pytest.mark.parametrize(("ahead_s", "word"), [(30.0, "ahead"), (-30.0, "behind")])
def test_doctor_names_clocks_that_differ(ahead_s: float, word: str) -> None:
    """Half a minute between the clocks is a warning."""
    server: Any = _Server({"role": "master"}, ahead_s)
    clock = {check.name: check for check in check_redis(server, "redis://x")}["clock"]
    assert clock.status == "warn"
    assert word in clock.found


def test_doctor_names_a_user_who_may_run_no_scripts(
    redis_server: RedisServer, largesse: Command
) -> None:
    """Without scripts nothing works; the permission that is missing is named."""
    with redis_server.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "poor", "on", ">open-sesame", "~*", "+@all", "-@scripting"
        )
    url = redis_server.url.replace("redis://", "redis://poor:open-sesame@")
    ran = largesse("doctor", "--json", env={"LARGESSE_REDIS_URL": url})
    check = by_name(ran.objects())["scripts"]
    assert (ran.code, check["status"]) == (1, "fail")
    assert "+@scripting" in check["remedy"]
    assert "open-sesame" not in ran.out


def test_doctor_goes_on_when_it_may_not_look(
    redis_server: RedisServer, largesse: Command, listener: str
) -> None:
    """A user who may not list keys is a fault of its own, and sites are still looked at."""
    with redis_server.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "blind", "on", ">open-sesame", "~*", "+@all", "-scan"
        )
    url = redis_server.url.replace("redis://", "redis://blind:open-sesame@")
    env = {
        "LARGESSE_REDIS_URL": url, "CHARGEBEE_SITE": "acme-test", "CHARGEBEE_API_KEY": "test_x",
        "CHARGEBEE_API_URL": listener,
    }  # fmt: skip
    ran = largesse("doctor", "--no-calls", "--json", env=env)
    checks = by_name(ran.objects())
    assert (ran.code, checks["queue"]["status"]) == (1, "fail")
    assert "+@read" in checks["queue"]["remedy"]
    assert {"workers", "leases", "api acme-test"} <= checks.keys()


def test_doctor_counts_the_scripts_of_its_version(
    redis_server: RedisServer, largesse: Command
) -> None:
    """A server that was flushed has none, which is no fault: they come with their first use."""
    env = {"LARGESSE_REDIS_URL": redis_server.url}

    def found() -> str:
        check = by_name(largesse("doctor", "--json", env=env).objects())["scripts"]
        assert check["status"] == "ok"
        return str(check["found"])

    assert found().startswith("0 of ")
    with redis_server.client() as client:
        for name in SCRIPT_NAMES:
            client.script_load(script(name).source)
    assert found() == f"{len(SCRIPT_NAMES)} of {len(SCRIPT_NAMES)} of this version are loaded"


def test_doctor_is_one_object_a_line(system: System) -> None:
    """Each line stands for itself."""
    for line in system.run("doctor", "--json").out.splitlines():
        assert json.loads(line).keys() == {"name", "status", "found", "remedy"}
