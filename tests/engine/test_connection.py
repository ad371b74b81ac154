"""Every form of the address, against a server that speaks it: password, user, socket, TLS."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rig.program import program
from rig.server import RedisServer

from worker import Producer, Settings
from worker.engine.connection import PRODUCER, WORKER, connect, connect_async
from worker.errors import BrokerUnavailableError

PASSWORD = "p@ss/w:ord"


def answers(url: str) -> None:
    """Both clients of both sides reach the server, and a job is taken in."""
    for patience in (PRODUCER, WORKER):
        with connect(url, patience) as client:
            assert client.ping()

        async def ping(patience: Any = patience) -> bool:
            client = connect_async(url, patience)
            try:
                return bool(await client.ping())
            finally:
                await client.aclose()

        assert asyncio.run(ping())
    with Producer(Settings(redis_url=url)) as producer:
        assert producer.gift_checkout({}, site="acme-test").state() == "queued"


def refused(url: str) -> None:
    """A producer is told that the login failed, without a word of it."""
    with (
        Producer(Settings(redis_url=url)) as producer,
        pytest.raises(BrokerUnavailableError) as caught,
    ):
        producer.gift_checkout({}, site="acme-test")
    assert "wrong" not in str(caught.value)
    assert PASSWORD not in repr(caught.value)


def test_password_opens_the_server(redis_server: RedisServer) -> None:
    """A password of special characters gets through; a wrong one and none are refused."""
    with redis_server.client() as client:
        client.config_set("requirepass", PASSWORD)
        where = f"127.0.0.1:{redis_server.port}/0"
        answers(f"redis://:p%40ss%2Fw%3Aord@{where}")
        refused(f"redis://:wrong@{where}")
        refused(f"redis://{where}")
        client.config_set("requirepass", "")


def test_user_opens_the_server(redis_server: RedisServer) -> None:
    """A user of the access list gets through with its own password only."""
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    where = f"127.0.0.1:{redis_server.port}/0"
    answers(f"redis://app:p%40ss%2Fw%3Aord@{where}")
    refused(f"redis://app:wrong@{where}")


def test_socket_reaches_the_server(
    redis_server_factory: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """A socket of this machine, and a database other than 0."""
    path = tmp_path / "redis.sock"
    redis_server_factory(config={"unixsocket": str(path)})
    answers(f"unix://{path}?db=3")


def certify(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-keyout", key, "-out", certificate, "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_tls_reaches_the_server_and_checks_it(tmp_path: Path, spawn: Any, free_port: int) -> None:
    """With the right authority it is used; with another host name or none to trust it is not."""
    server = program("redis-server", package="redis-server")
    program("openssl", package="openssl")
    certificate, key = certify(tmp_path)
    words = [server, "--port", "0", "--tls-port", str(free_port), "--save", "", "--dir", tmp_path,
             "--tls-cert-file", certificate, "--tls-key-file", key,
             "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"]  # fmt: skip
    spawn([str(word) for word in words])
    url = f"rediss://localhost:{free_port}/0?ssl_ca_certs={certificate}"
    began = time.monotonic()
    while True:
        try:
            with connect(url) as client:
                client.ping()
            break
        except Exception:
            if time.monotonic() - began > 10:
                raise
            time.sleep(0.05)
    answers(url)
    refused(f"rediss://127.0.0.1:{free_port}/0?ssl_ca_certs={certificate}")
    refused(f"rediss://localhost:{free_port}/0")
    refused(f"redis://localhost:{free_port}/0")


def test_connection_that_two_tasks_find_broken_is_opened_once(redis_server: RedisServer) -> None:
    """A listener and a subscriber that open their connection together leave no second socket."""

    async def sockets() -> int:
        client = connect_async(f"redis://127.0.0.1:{redis_server.port}/0", WORKER)
        connection = client.connection_pool.make_connection()
        try:
            await asyncio.gather(*(connection.connect() for _ in range(3)))
            return len(await client.client_list())
        finally:
            await connection.disconnect()
            await client.aclose()

    assert asyncio.run(sockets()) == 2  # the connection, and the one that counts
