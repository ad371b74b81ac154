"""The admin API: counts, logs, clock, faults, settings. JSON in and out, for loopback only."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.sandbox.customers import Person
from worker.sandbox.sandbox import Sandbox

_KEEP = {"faults", "settings", "clock", "catalogue", "sites"}
_CLOCK = {"advance_s", "advance_ms", "now_ms", "frozen"}

Handler = Callable[[Request], Awaitable[Response]]


def routes(sandbox: Sandbox) -> list[Route]:
    """The routes under ``/_sandbox``."""
    admin = Admin(sandbox)
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/health", admin.health),
        ("GET", "/counts", admin.counts),
        ("GET", "/requests", admin.requests),
        ("GET", "/pages", admin.pages),
        ("GET", "/customers", admin.customers),
        ("POST", "/customers", admin.add_customer),
        ("GET", "/events", admin.events),
        ("GET", "/faults", admin.faults),
        ("POST", "/faults", admin.add_faults),
        ("DELETE", "/faults", admin.remove_faults),
        ("DELETE", "/faults/{id}", admin.remove_faults),
        ("GET", "/clock", admin.clock),
        ("POST", "/clock", admin.move_clock),
        ("GET", "/settings", admin.settings),
        ("POST", "/settings", admin.change_settings),
        ("GET", "/sites", admin.sites),
        ("POST", "/sites", admin.put_site),
        ("GET", "/catalogue", admin.catalogue),
        ("POST", "/catalogue", admin.put_catalogue),
        ("DELETE", "/catalogue", admin.remove_catalogue),
        ("POST", "/reset", admin.reset),
    ]
    return [Route(path, _guard(handler), methods=[method]) for method, path, handler in table]


class Admin:
    """The handlers; a ``ValueError`` in one is answered with 400."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def health(self, _: Request) -> Response:
        """Say that it runs."""
        return JSONResponse(
            {
                "ok": True,
                "pid": os.getpid(),
                "url": self._sandbox.origin,
                "now_ms": self._sandbox.clock.now_ms(),
            }
        )

    async def counts(self, request: Request) -> Response:
        """Totals, of all sites or one."""
        sandbox, site = self._sandbox, request.query_params.get("site")
        in_flight = sandbox.limits.in_flight
        return JSONResponse(
            {
                **sandbox.journal.counts(site),
                **sandbox.pages.counts(site),
                "customers": sandbox.customers.count(site),
                "events": sandbox.events.count(site),
                "in_flight": in_flight[site] if site else sum(in_flight.values()),
                "max_in_flight": sandbox.limits.max_in_flight,
                "max_in_flight_by_site": sandbox.limits.max_in_flight_by_site,
                **sandbox.journal.span(site),
            }
        )

    async def requests(self, request: Request) -> Response:
        """The request log after a number."""
        after = _number(request, "after", 0)
        found = self._sandbox.journal.read(after=after, limit=_number(request, "limit", 1000))
        return JSONResponse({"requests": found, "last": found[-1]["n"] if found else after})

    async def pages(self, request: Request) -> Response:
        """The pages, in the order in which they were made."""
        names = ("id", "site", "idempotency_key", "created_at", "expires_at", "state", "request")
        found = self._sandbox.pages.list(site=request.query_params.get("site"))
        return JSONResponse(
            {"pages": [{name: getattr(page, name) for name in names} for page in found]}
        )

    async def customers(self, request: Request) -> Response:
        """The customers."""
        found = self._sandbox.customers.list(site=request.query_params.get("site"))
        return JSONResponse({"customers": [customer.as_json() for customer in found]})

    async def add_customer(self, request: Request) -> Response:
        """Create a customer beforehand, so that a checkout finds it."""
        given = await _members(
            request, {"site", "id", "email", "first_name", "last_name", "business_entity_id"}
        )
        if given.get("site", "") not in self._sandbox.sites or not given.get("email"):
            raise ValueError("a customer needs a known site and an email")
        person = Person(given.get("first_name", ""), given.get("last_name", ""), given["email"])
        customer = self._sandbox.customers.create(
            given["site"],
            person,
            entity=given.get("business_entity_id"),
            customer_id=given.get("id"),
        )
        return JSONResponse(customer.as_json(), 201)

    async def events(self, request: Request) -> Response:
        """The events."""
        found = self._sandbox.events.list(site=request.query_params.get("site"))
        return JSONResponse({"events": found})

    async def faults(self, _: Request) -> Response:
        """The fault rules with their counts."""
        return JSONResponse({"faults": self._sandbox.faults.as_json()})

    async def add_faults(self, request: Request) -> Response:
        """Add fault rules, all or none."""
        added = self._sandbox.faults.add(await _json(request))
        return JSONResponse({"faults": [rule.as_json() for rule in added]}, 201)

    async def remove_faults(self, request: Request) -> Response:
        """Remove one rule, or all."""
        removed = self._sandbox.faults.remove(request.path_params.get("id"))
        return JSONResponse({"removed": removed})

    async def clock(self, _: Request) -> Response:
        """The time."""
        return JSONResponse(self._sandbox.clock.as_json())

    async def move_clock(self, request: Request) -> Response:
        """Advance, set, freeze or thaw the clock."""
        given = await _members(request, _CLOCK)
        clock = self._sandbox.clock
        try:
            if "frozen" in given:
                clock.freeze(bool(given["frozen"]))
            if "now_ms" in given:
                clock.set(int(given["now_ms"]))
            clock.advance(int(given.get("advance_ms", 0) + given.get("advance_s", 0) * 1000))
        except TypeError:
            raise ValueError("the clock takes numbers") from None
        self._sandbox.store.remember("clock_offset_ms", clock.offset_ms)
        return JSONResponse(clock.as_json())

    async def settings(self, _: Request) -> Response:
        """All settings."""
        return JSONResponse(self._sandbox.settings.as_json())

    async def change_settings(self, request: Request) -> Response:
        """Change settings, of the whole or of one site."""
        given = await _members(request, None)
        self._sandbox.settings = self._sandbox.settings.changed(given)
        return JSONResponse(self._sandbox.settings.as_json())

    async def sites(self, _: Request) -> Response:
        """The sites, keys masked."""
        return JSONResponse({"sites": self._sandbox.sites.as_json()})

    async def put_site(self, request: Request) -> Response:
        """Add a site or replace its keys."""
        given = await _members(request, {"name", "api_keys"})
        self._sandbox.sites.put(given.get("name", ""), given.get("api_keys", ()))
        return JSONResponse({"sites": self._sandbox.sites.as_json()})

    async def catalogue(self, request: Request) -> Response:
        """The catalogue of a site."""
        return JSONResponse(self._sandbox.catalogue.get(self._site(request)))

    async def put_catalogue(self, request: Request) -> Response:
        """Replace the catalogue of a site."""
        site = self._site(request)
        self._sandbox.catalogue.put(site, await _members(request, None))
        return JSONResponse(self._sandbox.catalogue.get(site))

    async def remove_catalogue(self, request: Request) -> Response:
        """Let every id of a site exist again."""
        self._sandbox.catalogue.remove(self._site(request))
        return JSONResponse({})

    async def reset(self, request: Request) -> Response:
        """Empty the state."""
        given = await _members(request, {"keep"})
        keep = given.get("keep", [])
        if not isinstance(keep, list) or not set(keep) <= _KEEP:
            raise ValueError(f"keep is a list of {', '.join(sorted(_KEEP))}")
        self._sandbox.reset(keep)
        return JSONResponse({"ok": True})

    def _site(self, request: Request) -> str:
        site = request.query_params.get("site", self._sandbox.sites.names[0])
        if site not in self._sandbox.sites:
            raise ValueError("there is no such site")
        return site


def _guard(handler: Handler) -> Handler:
    async def guarded(request: Request) -> Response:
        # A web page must not drive a sandbox that its visitor happens to run.
        origin = request.headers.get("origin")
        if origin and origin.partition("://")[2] != request.headers.get("host"):
            return JSONResponse({"error": "not from another origin"}, 403)
        try:
            return await handler(request)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)

    return guarded


async def _json(request: Request, *, object_only: bool = False) -> Any:
    body = await request.body()
    try:
        given = json.loads(body or b"{}")
    except ValueError:
        given = None
    right = isinstance(given, dict) or (isinstance(given, list) and not object_only)
    if not right:
        raise ValueError("the body is not what it should be: a JSON object")
    return given


async def _members(request: Request, known: set[str] | None) -> dict[str, Any]:
    given: dict[str, Any] = await _json(request, object_only=True)
    unknown = set(given) - known if known is not None else set()
    if unknown:
        raise ValueError(f"unknown member {min(unknown)}")
    return given


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal():
        raise ValueError(f"{name} should be a number")
    return int(text)
