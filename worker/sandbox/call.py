"""One request to the API as it was read, before anything is decided about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.types import Receive, Scope

from worker.sandbox.errors import Refusal
from worker.sandbox.idempotency import KEY_HEADER
from worker.sandbox.journal import Entry
from worker.sandbox.sites import Address, read_host

#: A body above this is refused.
MAX_BODY_BYTES = 2**20

#: Path, kind and method of every operation. The group is the id of a page.
_ROUTES = (
    (re.compile(r"/api/v2/hosted_pages/checkout_gift_for_items\Z"), "gift_checkout", "POST"),
    (re.compile(r"/api/v2/personalized_offers\Z"), "personalized_offer", "POST"),
    (re.compile(r"/api/v2/hosted_pages/([^/]+)/acknowledge\Z"), "acknowledge", "POST"),
    (re.compile(r"/api/v2/hosted_pages/([^/]+)\Z"), "retrieve", "GET"),
)


@dataclass(slots=True)
class Call:
    """A request.

    Attributes:
        entry: Its line in the request log, filled in as it goes.
        pairs: Headers as they came, names in lower case.
        headers: The same by name.
        page_id: Of the hosted page that the path names.
        method: The one that the path takes.
    """

    entry: Entry
    pairs: list[tuple[str, str]]
    headers: dict[str, str]
    address: Address
    body: bytes
    page_id: str = ""
    method: str = ""

    def check_path(self) -> None:
        """Refuse a path that is none, or none of this host, or another method.

        Raises:
            Refusal: 404 ``resource_not_found``, 405 ``http_method_not_supported``.
        """
        is_offer = self.entry.kind == "personalized_offer"
        wrong_host = self.address.site is not None and self.address.grow != is_offer
        if self.entry.kind is None or wrong_host:
            raise Refusal(404, message="there is no such path on this host")
        if self.entry.method != self.method:
            raise Refusal(405, message=f"the path takes {self.method} only")

    def content_type(self) -> str:
        """The media type of the body, without its parameters.

        Raises:
            Refusal: 400 when the body is too long.
        """
        if len(self.body) > MAX_BODY_BYTES:
            raise Refusal(400, message="the body is too long")
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_call(scope: Scope, body: bytes, *, n: int, now_ms: int) -> Call:
    """Read a request; ``n`` is its number, ``now_ms`` the time of the sandbox clock."""
    pairs = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]]
    headers = dict(pairs)
    host = headers.get("host", "")
    entry = Entry(
        n=n,
        at_ms=now_ms,
        method=scope["method"],
        path=scope["path"],
        host=host,
        headers=[(k, "Basic ****" if k == "authorization" else v) for k, v in pairs],
        body=body.decode("utf-8", "replace"),
        idempotency_key=headers.get(KEY_HEADER),
    )
    call = Call(entry, pairs, headers, read_host(host), body)
    for pattern, kind, method in _ROUTES:
        if match := pattern.match(scope["path"]):
            entry.kind = kind
            call.page_id = match[1] if match.groups() else ""
            call.method = method
            break
    return call


async def read_body(receive: Receive) -> bytes | None:
    """The whole body, cut above the bound; None when the client went away."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        if len(body) <= MAX_BODY_BYTES:
            body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)
