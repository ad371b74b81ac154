"""Faults as they look on a plain socket, and whether the page was made."""

from __future__ import annotations

import gzip
import json
import re
import socket
import time
from typing import Any

import pytest


def header(heard: Any, name: str) -> str | None:
    """A header of a raw answer."""
    found = re.search(rf"(?mi)^{name}: (.*?)\r$", heard.data.decode("latin-1"))
    return None if found is None else found[1]


@pytest.mark.parametrize("execute", [False, True])
def test_reset_before_and_after_the_page_was_made(box: Any, execute: bool) -> None:
    """The request is read, then RST comes; the page exists only when executed."""
    box.fault("reset", execute=execute)
    heard = box.raw()
    assert (heard.data, heard.end) == (b"", "reset")
    assert box.get("/counts")["pages"] == (1 if execute else 0)
    last = box.last()
    assert (last["status"], last["fault"], last["executed"]) == (None, "reset", execute)
    assert box.get("/counts")["by_status"] == {"reset": 1}


def test_reset_after_the_page_is_answered_by_a_replay(box: Any) -> None:
    """The lost answer is had by sending the same request with the same key again."""
    box.fault("reset", execute=True, times=1)
    with pytest.raises(Exception, match=r"(?i)reset|disconnected"):
        box.gift(chargebee_idempotency_key="k")
    again = box.gift(chargebee_idempotency_key="k")
    assert again.headers["chargebee-idempotency-replayed"] == "true"
    (page,) = box.get("/pages")["pages"]
    assert page["id"] == again.json()["hosted_page"]["id"]


@pytest.mark.parametrize(("rst", "end"), [(False, "fin"), (True, "reset")])
def test_close_cuts_the_answer(box: Any, rst: bool, end: str) -> None:
    """Part of the answer comes, then the connection ends."""
    box.fault("close", rst=rst)
    heard = box.raw()
    assert heard.end == end
    if not rst:  # with RST what was on its way may be lost
        assert heard.data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(heard.body) < int(header(heard, "content-length") or 0)
    assert box.get("/counts")["pages"] == 1


@pytest.mark.parametrize(("after", "status"), [(0, None), (20, 200)])
def test_close_after_so_many_bytes(box: Any, after: int, status: int | None) -> None:
    """The cut is where it was asked for."""
    box.fault("close", after_bytes=after)
    heard = box.raw()
    assert (len(heard.data), heard.end) == (after, "fin")
    assert box.last()["status"] == status


def test_drip_sends_the_right_answer_slowly(box: Any) -> None:
    """The headers at once, the body piece by piece, whole in the end."""
    box.fault("drip", bytes=100, every_ms=50)
    began = time.monotonic()
    heard = box.raw()
    took_s = time.monotonic() - began
    assert heard.end == "fin"
    assert json.loads(heard.body)["hosted_page"]["state"] == "created"
    assert took_s >= 0.05 * (len(heard.body) // 100)


def test_drip_may_begin_with_the_status_line(box: Any) -> None:
    """A drip from the start holds the headers back too, and ends when the client goes."""
    box.fault("drip", **{"from": "start"}, bytes=1, every_ms=200)
    heard = box.raw(wait_s=0.1)
    assert (heard.data, heard.end) == (b"H", "silence")
    box.client.delete(f"{box.url}/_sandbox/faults")
    assert box.gift().status_code == 200


@pytest.mark.parametrize(
    ("at", "pattern", "status"),
    [
        ("start", rb"", None),
        ("headers", rb"HTTP/1\.1 200 OK\r\n", 200),
        ("body", rb"HTTP/1\.1 200 OK\r\n.*\r\n\r\n", 200),
    ],
)
def test_stall_falls_silent(box: Any, at: str, pattern: bytes, status: int | None) -> None:
    """Nothing more comes; the page was made."""
    box.fault("stall", at=at)
    heard = box.raw(wait_s=0.2)
    assert heard.end == "silence"
    assert re.fullmatch(pattern, heard.data, re.DOTALL)
    assert (box.last()["status"], box.last()["executed"]) == (status, True)


def test_stall_ends_by_itself(box: Any) -> None:
    """After its time the connection closes."""
    box.fault("stall", ms=100)
    assert box.raw().end == "fin"


def test_endless_body_goes_on(box: Any) -> None:
    """Chunk after chunk, without the last one."""
    box.fault("endless", chunk_bytes=10, every_ms=1)
    host, _, port = box.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(
            b"POST /api/v2/personalized_offers HTTP/1.1\r\nHost: x\r\nContent-Length: 19\r\n"
            b"Content-Type: application/json\r\n"
            b"Authorization: Basic dGVzdF9zYW5kYm94X2tleTo=\r\n\r\n" + b'{"customer_id":"c"}'
        )
        heard = b""
        while heard.count(b"\r\na\r\n") < 5:
            heard += sock.recv(4096)
    assert b"transfer-encoding: chunked" in heard
    assert b"\r\n0\r\n" not in heard


def test_garbage_is_not_http(box: Any) -> None:
    """Bytes that no client can read, and nothing done."""
    box.fault("garbage")
    heard = box.raw()
    assert not heard.data.startswith(b"HTTP/")
    assert (box.get("/counts")["pages"], box.last()["status"]) == (0, None)


def test_gzip_bomb_is_small_on_the_wire(box: Any) -> None:
    """A small body that unpacks to a huge one."""
    box.fault("gzip_bomb", bytes=5 * 2**20)
    heard = box.raw(wait_s=0.5)
    assert header(heard, "content-encoding") == "gzip"
    assert len(heard.body) < 200_000
    assert len(gzip.decompress(heard.body)) > 5 * 2**20


def test_latency_delays_and_a_client_that_left_is_still_served(box: Any) -> None:
    """Who gives up waiting cannot know: the page is made all the same."""
    box.fault("latency", ms=300)
    assert box.raw(wait_s=0.05).end == "silence"
    while not (counts := box.get("/counts"))["pages"]:
        assert counts["in_flight"] == 1
    assert box.last()["took_ms"] >= 300
