"""Generated jobs: what we send equals what the official SDK sends, over TCP, header by header."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import chargebee
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schemas
from worker.api import build_request
from worker.api.client import ApiClient
from worker.operations import operation
from worker.settings.site import Secret, Site

DESCRIPTIONS = Path(__file__).parent.parent / "vectors" / "schemas"
API_KEY = "test_GoldenKey0123456789"
ANSWERS = {
    "checkout_gift_for_items": {"hosted_page": {"id": "p", "url": "https://a.example/p"}},
    "personalized_offers": {"personalized_offers": [], "expires_at": 1},
}

# Headers that differ by right: who calls, from where, and what it would unpack.
OWN_HEADERS = {"user-agent", "accept-encoding", "connection", "lang-version", "os-version"}

# The SDK opens a client, with a TLS context, for every call: some 50 ms each.
SOME = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Capture:
    """An HTTP server in a thread that keeps every request it gets."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            """Answers both calls as the API does."""

            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                """Keep the request and answer it."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                assert len(headers) == len(self.headers.items())
                requests.append((self.command, self.path, headers, body))
                answer = json.dumps(ANSWERS[self.path.rsplit("/", 1)[1]]).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def take(self) -> tuple[str, str, dict[str, str], bytes]:
        """Return the one request that came."""
        (request,) = self.requests
        self.requests.clear()
        return request

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def capture() -> Iterator[Capture]:
    """The server, with every name below `localhost` pointing at it."""
    server = Capture()
    resolve = socket.getaddrinfo

    def pinned(host: Any, *args: Any, **keywords: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if name.endswith(".localhost") else host, *args, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", pinned)
        patch.setattr(
            chargebee.Chargebee, "verify_ca_certs", False
        )  # it cannot do plain HTTP else
        yield server
    server.close()


Wire = tuple[Capture, ApiClient, asyncio.Runner]


@pytest.fixture(scope="module")
def wire(capture: Capture) -> Iterator[Wire]:
    """The server, and one client of ours on one event loop, so that connections are kept."""
    with asyncio.Runner() as runner:
        client = ApiClient()
        yield capture, client, runner
        runner.run(client.aclose())


def word(
    longest: int, alphabet: str = "aé名😀 &=[]%+'~*()\"\\/<>.-_@:;,"
) -> st.SearchStrategy[str]:
    """Texts up to a bound, rich in what encodings trip over."""
    return st.text(st.sampled_from(alphabet), min_size=1, max_size=min(longest, 12))


def decimal(longest: int) -> st.SearchStrategy[str]:
    """Decimals as text."""
    plain = st.from_regex(r"\A(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?\Z")
    return plain.filter(lambda text: len(text) <= longest)


def some(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any of these members, in any order."""
    return st.permutations(sorted(optional)).flatmap(
        lambda names: st.fixed_dictionaries({}, optional={name: optional[name] for name in names})
    )


LOCALES = st.sampled_from(["en-US", "fr-CA", "es-419", "zh-Hant-TW"])
INT32, INT64 = 2**31 - 1, 2**63 - 1
ITEMS = some(
    item_price_id=word(100),
    quantity=st.integers(1, INT32),
    quantity_in_decimal=decimal(33),
    unit_price=st.integers(0, INT64),
    unit_price_in_decimal=decimal(39),
)
TIERS = some(
    item_price_id=word(100),
    starting_unit=st.integers(1, INT32),
    ending_unit=st.integers(0, INT32),
    price=st.integers(0, INT64),
    starting_unit_in_decimal=decimal(33),
    ending_unit_in_decimal=decimal(33),
    price_in_decimal=decimal(39),
)


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Spell rows as columns; only rows that all have the same members have no gaps."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def table(row: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Any]:
    """Tables as rows, with gaps, or as full columns (the SDK writes a gap there as a text)."""
    full = row.filter(bool).flatmap(lambda first: st.just([first, dict(first)]).map(columns))
    return st.lists(row, max_size=12) | full


GIFTS = some(
    layout=st.sampled_from(["in_app", "full_page"]),
    business_entity_id=word(50),
    brand_id=word(50),
    redirect_url=word(250).map(
        lambda path: f"https://shop.example.com/{''.join(path.split())}?a=b&c=%20#d"
    ),
    coupon_ids=st.lists(word(100), max_size=12),
    gifter=some(customer_id=word(50), locale=LOCALES),
    subscription_items=table(ITEMS),
    item_tiers=table(TIERS),
)
# Lower-case keys only: the SDK would lower the others.
CUSTOM = st.recursive(
    st.booleans() | st.integers(-INT64, INT64) | st.floats(-1e9, 1e9) | word(20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc_é名", max_size=5).filter(str.islower), inner, max_size=3)
    ),
    max_leaves=8,
)
OFFERS = st.tuples(
    word(50),
    some(
        subscription_id=word(50),
        first_name=word(150),
        last_name=word(150),
        email=st.sampled_from(["ada@example.com", "a.b+c@shop.example"]),
        roles=st.lists(word(50), max_size=3),
        external_user_id=word(50),
        custom=st.dictionaries(st.text("abc_", min_size=1, max_size=5), CUSTOM, max_size=3),
        request_context=st.fixed_dictionaries(
            {
                "user_agent": word(255),
                "locale": LOCALES,
                "timezone": st.sampled_from(["UTC", "America/New_York"]),
                "url": word(250),
            },
            optional={"referrer_url": word(250)},
        ),
    ),
).map(lambda pair: {"customer_id": pair[0], **pair[1]})

ASCII_ID = word(50, "aB9-_.")
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "skip": st.sets(st.sampled_from(["webhooks", "email", "actions"])),
        "origin": some(
            user=st.sampled_from(["ada@example.com", "user@x.example"]),
            ip=st.sampled_from(["192.168.1.2", "::1"]),
            device=word(50, "aB 9-").map(lambda text: f"A{text}9"),
        ),
    },
)


def documented_headers(options: dict[str, Any]) -> dict[str, str]:
    """Write options as headers, from the documentation alone."""
    names = {"webhooks": "webhook", "email": "email", "actions": "actions"}
    headers = {
        f"chargebee-event-{names[name]}": "all-disabled" for name in options.get("skip", ())
    }
    for name in ("business_entity_id", "brand_id"):
        if name in options:
            headers[f"chargebee-{name.replace('_', '-')}"] = options[name]
    for name, value in options.get("origin", {}).items():
        headers[f"chargebee-request-origin-{name}"] = value
    return headers


def compared(
    kind: str,
    payload: dict[str, Any],
    options: dict[str, Any],
    key: str | None,
    wire: Wire,
) -> bytes:
    """Send a job both ways, compare what arrived, and return the body."""
    capture, client, runner = wire
    host = f"localhost:{capture.port}"
    headers = documented_headers(options) | ({"chargebee-idempotency-key": key} if key else {})
    sdk = chargebee.Chargebee(API_KEY, "acme-test", chargebee_domain=host, protocol="http")
    if kind == "gift_checkout":
        sdk.HostedPage.checkout_gift_for_items(payload, headers)
    else:
        sdk.PersonalizedOffer.personalized_offers(payload, headers)
    theirs = capture.take()

    job = schemas.validate(kind, payload, options)
    site = Site(
        name="acme-test",
        api_key=Secret("env:NOT_READ"),
        protocol="http",
        domain="localhost",
        port=capture.port,
    )
    request = build_request(
        operation(kind),
        site=site,
        payload=job.payload,
        options=job.options,
        idempotency_key=key,
    )
    runner.run(client.call(request, api_key=API_KEY))
    ours = capture.take()
    for _, _, received, _ in (ours, theirs):
        for name in OWN_HEADERS:
            received.pop(name, None)
    assert ours == theirs
    return ours[3]


def decoded(body: bytes, rules: dict[str, Any]) -> dict[str, Any]:
    """Decode a form with brackets into the shape of its JSON Schema; a decoder of its own."""
    result: dict[str, Any] = {}
    for name, text in parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body)):
        parts = re.findall(r"[^\[\]]+", name)
        node, described = result, rules
        for part in parts:
            if part.isdigit():
                break
            described = described["properties"][part]
            if "properties" in described:
                node = node.setdefault(part, {})
            elif described["type"] == "array":
                value = int(text) if described["items"]["type"] == "integer" else text
                node.setdefault(part, []).append(value)
            else:
                node[part] = text
    return result


@SOME
@given(
    payload=GIFTS,
    options=CHOICES,
    key=st.none() | st.uuids().map(str),
    entity=ASCII_ID,
)
def test_gift_checkout_equals_the_sdk(
    wire: Wire,
    payload: dict[str, Any],
    options: dict[str, Any],
    key: str | None,
    entity: str,
) -> None:
    """Method, path, host, body and the API's headers equal; the body fits its schema."""
    if "business_entity_id" not in payload:
        options = options | {"business_entity_id": entity}
    body = compared("gift_checkout", payload, options, key, wire)
    rules = json.loads((DESCRIPTIONS / "gift_request.schema.json").read_text())
    jsonschema.validate(decoded(body, rules), rules | {"additionalProperties": False})


@SOME
@given(payload=OFFERS, options=CHOICES, key=st.none() | st.uuids().map(str), brand=ASCII_ID)
def test_personalized_offer_equals_the_sdk(
    wire: Wire,
    payload: dict[str, Any],
    options: dict[str, Any],
    key: str | None,
    brand: str,
) -> None:
    """Method, path, host, body and the API's headers equal; the body fits its schema."""
    body = compared("personalized_offer", payload, options | {"brand_id": brand}, key, wire)
    rules = json.loads((DESCRIPTIONS / "offer_request.schema.json").read_text())
    jsonschema.validate(
        json.loads(body),
        rules | {"additionalProperties": False},
        format_checker=jsonschema.FormatChecker(),
    )
