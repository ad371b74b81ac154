"""The hosted page as a person sees it: open, fill in, complete or cancel."""

from __future__ import annotations

import hmac
import re
from urllib.parse import quote, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from worker.sandbox import form
from worker.sandbox.errors import Refusal
from worker.sandbox.gift import Gift, give, read_gift
from worker.sandbox.hosted_page import CANCELLED, CREATED, OPEN, REQUESTED, SUCCEEDED, HostedPage
from worker.sandbox.sandbox import Sandbox
from worker.sandbox.sites import read_host
from worker.sandbox.templating import render

#: What a form's fields are called on the page.
LABELS = {
    "gifter_first_name": "Your first name",
    "gifter_last_name": "Your last name",
    "gifter_email": "Your e-mail",
    "receiver_first_name": "Their first name",
    "receiver_last_name": "Their last name",
    "receiver_email": "Their e-mail",
    "message": "Message",
    "scheduled_date": "Deliver on",
}

_NET_LOCATION = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?\Z|\[[0-9A-Fa-f:]+\](:\d+)?\Z")


def routes(sandbox: Sandbox) -> list[Route]:
    """The routes under ``/pages/v3``."""
    checkout = Checkout(sandbox)
    return [
        Route("/{id}/", checkout.show, methods=["GET"]),
        Route("/{id}/", checkout.submit, methods=["POST"]),
    ]


class Checkout:
    """The two handlers of a hosted page."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def show(self, request: Request) -> Response:
        """Show the form; a page that was created becomes requested."""
        page = self._find(request)
        if page is None or page.state not in OPEN or self._sandbox.pages.has_expired(page):
            return self._notice(page)
        if page.state == CREATED and request.method == "GET":
            page = self._sandbox.pages.move(page, REQUESTED)
        return self._form(page)

    async def submit(self, request: Request) -> Response:
        """Complete or cancel the page, or show what is to be put right."""
        page = self._find(request)
        if page is None or page.state not in OPEN or self._sandbox.pages.has_expired(page):
            return self._notice(page)
        try:
            given = {str(k): str(v) for k, v in form.decode(await request.body()).items()}
        except Refusal as refusal:
            return self._form(page, errors={"form": refusal.message})
        if not hmac.compare_digest(given.get("token", "").encode(), page.token.encode()):
            return self._form(page, given, {"form": "The form was stale. Send it again."})
        if given.get("action") == "cancel":
            return self._notice(self._sandbox.pages.move(page, CANCELLED))
        gift, errors = read_gift(given, today_s=self._sandbox.clock.now_s())
        if gift is None:
            return self._form(page, given, errors)
        return self._complete(page, gift)

    def _complete(self, page: HostedPage, gift: Gift) -> Response:
        sandbox = self._sandbox
        with sandbox.store.transaction():
            content = give(page, gift, sandbox.customers, sandbox.events)
            page = sandbox.pages.move(page, SUCCEEDED, content=content)
        target = redirect_target(page)
        return self._notice(page) if target is None else RedirectResponse(target, 303)

    def _find(self, request: Request) -> HostedPage | None:
        site = read_host(request.headers.get("host", "")).site
        return self._sandbox.pages.find(request.path_params["id"], site=site)

    def _form(
        self,
        page: HostedPage,
        values: dict[str, str] | None = None,
        errors: dict[str, str] | None = None,
    ) -> Response:
        redirect = page.params.get("redirect_url", "")
        return render(
            "checkout.html",
            status=400 if errors else 200,
            form_action=" ".join(filter(None, ("'self'", _origin(redirect)))),
            frames=_frames(page.layout),
            page=page,
            values=values or {},
            errors=errors or {},
            labels=LABELS,
            items=self._items(page),
            coupons=list(page.params.get("coupon_ids", {}).values()),
        )

    def _items(self, page: HostedPage) -> list[dict[str, str]]:
        columns = page.params.get("subscription_items", {})
        known = self._sandbox.catalogue.get(page.site).get("item_prices", ())
        names = {entry["id"]: entry.get("name", entry["id"]) for entry in known}
        exact, whole = columns.get("quantity_in_decimal", {}), columns.get("quantity", {})
        return [
            {"name": names.get(item, item), "quantity": str(exact.get(i) or whole.get(i, 1))}
            for i, item in columns.get("item_price_id", {}).items()
        ]

    def _notice(self, page: HostedPage | None) -> Response:
        if page is None:
            status, tone, heading = 404, "bad", "There is no such page"
            text = "The address may have been cut short."
        elif self._sandbox.pages.has_expired(page):
            status, tone, heading = 410, "bad", "This page has expired"
            text = "Go back to the shop and begin again."
        elif page.state == CANCELLED:
            status, tone, heading = 200, "", "Cancelled"
            text = "No gift was sent."
        else:
            status, tone, heading = 200, "good", "Your gift is on its way"
            text = "You can close this page."
        layout = "full_page" if page is None else page.layout
        return render(
            "notice.html",
            status=status,
            frames=_frames(layout),
            layout=layout,
            tone=tone,
            heading=heading,
            text=text,
        )


def redirect_target(page: HostedPage) -> str | None:
    """Where a completed page leads: its ``redirect_url`` with ``id`` and ``state`` added.

    Returns:
        None when there is none, or when it is not an address that a browser should be sent to.
    """
    url = str(page.params.get("redirect_url", ""))
    if _origin(url) is None:
        return None
    parts = urlsplit(url)
    added = f"id={quote(page.id)}&state={page.state}"
    query = f"{parts.query}&{added}" if parts.query else added
    return urlunsplit(parts._replace(query=query))


def _origin(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not _NET_LOCATION.match(parts.netloc):
        return None
    return f"{parts.scheme}://{parts.netloc}"


def _frames(layout: str) -> str:
    return "*" if layout == "in_app" else "'none'"
