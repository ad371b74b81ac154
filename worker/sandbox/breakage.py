"""What each fault looks like to the client."""

from __future__ import annotations

import email.utils
import gzip
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from worker.sandbox.clock import Clock
from worker.sandbox.errors import USUAL_CODES, Refusal
from worker.sandbox.faults import Rule
from worker.sandbox.wire import Reply, Wire

_HTML = (("content-type", "text/html; charset=utf-8"),)


def retry_after(form: Any, wait_s: float, clock: Clock) -> tuple[tuple[str, str], ...]:
    """The Retry-After header in the form asked for, or no header.

    Args:
        form: ``seconds``, ``date`` (both for ``wait_s``), ``none`` or None, a number of seconds,
            ``date:30``, or text that is sent as it is.
        wait_s: How long the client should wait.
        clock: Gives the date.
    """
    if form is None or form == "none":
        return ()
    if form == "seconds":
        form = max(1, -int(-wait_s // 1))
    elif form == "date":
        form = f"date:{wait_s}"
    if isinstance(form, str) and form.startswith("date:"):
        at_s = clock.now_ms() / 1000 + float(form.removeprefix("date:"))
        form = email.utils.formatdate(at_s, usegmt=True)
    return (("retry-after", str(form)),)


def refusal(rule: Rule, clock: Clock) -> Refusal | None:
    """The error that a ``throttle`` or ``error`` rule answers with, None for other faults."""
    if rule.fault not in ("throttle", "error"):
        return None
    given = rule.parameters
    status = 429 if rule.fault == "throttle" else int(given["status"])
    default = "site_not_found" if status == 404 else USUAL_CODES.get(status, "internal_error")
    return Refusal(
        status,
        given["code"] or default,
        message=given.get("message", "too many requests"),
        param=given.get("param"),
        error_type=given.get("type"),
        headers=retry_after(given["retry_after"], 1, clock),
    )


def mangle(rule: Rule, reply: Reply, clock: Clock) -> Reply | None:
    """The answer in place of ``reply``, or None for a fault that is not an HTTP answer."""
    error = refusal(rule, clock)
    if error is not None:
        as_html = rule.parameters.get("body") or ("html" if error.status in (502, 504) else "json")
        return _html_error(error) if as_html == "html" else _json_error(error)
    change = _MANGLED.get(rule.fault)
    return None if change is None else change(reply, rule.parameters)


async def play(rule: Rule, reply: Reply, wire: Wire) -> None:
    """Do on the wire what the rule asks for, and close the connection."""
    await _PLAYED[rule.fault](reply, rule.parameters, wire)


def _html_error(error: Refusal) -> Reply:
    page = f"<html><head><title>{error.status}</title></head><body><h1>Gateway</h1></body></html>"
    return Reply(error.status, page.encode(), (*_HTML, *error.headers))


def _json_error(error: Refusal) -> Reply:
    plain = Reply(error.status, error.body())
    return replace(plain, headers=plain.headers + error.headers)


def _truncated(reply: Reply, _: Mapping[str, Any]) -> Reply:
    return replace(reply, body=reply.body[: len(reply.body) // 2])


def _wrong_types(reply: Reply, _: Mapping[str, Any]) -> Reply:
    return replace(reply, body=_dump(_exchange(json.loads(reply.body))))


def _exchange(value: Any) -> Any:
    """Numbers become text, text becomes lists, lists become objects; the names stay."""
    if isinstance(value, dict):
        return {name: _exchange(member) for name, member in value.items()}
    if isinstance(value, list):
        return {"0": [_exchange(member) for member in value]}
    return [len(value)] if isinstance(value, str) else str(value)


def _null_url(reply: Reply, _: Mapping[str, Any]) -> Reply:
    answer = json.loads(reply.body)
    if "hosted_page" in answer:
        answer["hosted_page"]["url"] = None
    for offer in answer.get("personalized_offers", ()):
        offer["id"] = None
    return replace(reply, body=_dump(answer))


def _empty_object(reply: Reply, _: Mapping[str, Any]) -> Reply:
    return replace(reply, body=b"{}")


def _duplicate_keys(reply: Reply, _: Mapping[str, Any]) -> Reply:
    members = json.loads(reply.body)
    first = _dump(members)[1:-1]
    second = _dump(dict.fromkeys(members))[1:-1]
    return replace(reply, body=b"{" + first + b"," + second + b"}")


def _wrong_charset(reply: Reply, given: Mapping[str, Any]) -> Reply:
    return replace(reply, body=reply.body.decode().encode(given["charset"], "replace"))


def _big(reply: Reply, given: Mapping[str, Any]) -> Reply:
    padding = b', "padding": "' + b"x" * int(given["bytes"]) + b'"}'
    return replace(reply, body=reply.body.rstrip()[:-1] + padding)


def _gzip_bomb(reply: Reply, given: Mapping[str, Any]) -> Reply:
    packed = gzip.compress(_big(reply, given).body, 1)
    return replace(reply, body=packed, headers=(*reply.headers, ("content-encoding", "gzip")))


def _no_content(_: Reply, __: Mapping[str, Any]) -> Reply:
    return Reply(204, b"", ())


def _html(_: Reply, given: Mapping[str, Any]) -> Reply:
    page = b"<!doctype html><title>Sign in</title><h1>Sign in to use this network</h1>"
    return Reply(int(given["status"]), page, _HTML)


def _redirect(_: Reply, given: Mapping[str, Any]) -> Reply:
    return Reply(int(given["status"]), b"", (("location", given["location"]),))


def _body(_: Reply, given: Mapping[str, Any]) -> Reply:
    headers = (("content-type", given["content_type"]),)
    return Reply(int(given["status"]), given["text"].encode(), headers)


async def _reset(_: Reply, __: Mapping[str, Any], wire: Wire) -> None:
    await wire.reset()


async def _close(reply: Reply, given: Mapping[str, Any], wire: Wire) -> None:
    raw = reply.raw()
    cut = given["after_bytes"]
    wire.write(raw[: len(raw) // 2 if cut is None else int(cut)])
    await (wire.reset() if given["rst"] else wire.close())


async def _drip(reply: Reply, given: Mapping[str, Any], wire: Wire) -> None:
    raw = reply.raw()
    at_once = 0 if given["from"] == "start" else len(raw) - len(reply.body)
    wire.write(raw[:at_once])
    await wire.drip(raw[at_once:], size=int(given["bytes"]), every_s=given["every_ms"] / 1000)


async def _stall(reply: Reply, given: Mapping[str, Any], wire: Wire) -> None:
    head = reply.raw_head((("content-length", str(len(reply.body))),))
    sent = {"start": 0, "headers": head.index(b"\r\n") + 2, "body": len(head)}[given["at"]]
    wire.write(head[:sent])
    await wire.silence(given["ms"] / 1000)


async def _endless(reply: Reply, given: Mapping[str, Any], wire: Wire) -> None:
    wire.write(reply.raw_head((("transfer-encoding", "chunked"),)))
    size = max(1, int(given["chunk_bytes"]))
    chunk = f"{size:x}\r\n".encode() + b" " * size + b"\r\n"
    await wire.repeat(chunk, every_s=given["every_ms"] / 1000)


async def _garbage(_: Reply, __: Mapping[str, Any], wire: Wire) -> None:
    wire.write(b"\x00\xff\x16\x03 this is not HTTP\r\n\r\n")
    await wire.close()


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


_MANGLED: Mapping[str, Callable[[Reply, Mapping[str, Any]], Reply]] = {
    "truncated_json": _truncated,
    "wrong_types": _wrong_types,
    "null_url": _null_url,
    "empty_object": _empty_object,
    "duplicate_keys": _duplicate_keys,
    "wrong_charset": _wrong_charset,
    "big": _big,
    "gzip_bomb": _gzip_bomb,
    "no_content": _no_content,
    "html": _html,
    "redirect": _redirect,
    "body": _body,
}
_PLAYED: Mapping[str, Callable[[Reply, Mapping[str, Any], Wire], Awaitable[None]]] = {
    "reset": _reset,
    "close": _close,
    "drip": _drip,
    "stall": _stall,
    "endless": _endless,
    "garbage": _garbage,
}
