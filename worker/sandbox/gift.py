"""A completed checkout: who gives what to whom, and what comes of it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from worker.sandbox.customers import Customer, Customers, Person
from worker.sandbox.errors import Refusal
from worker.sandbox.events import Events
from worker.sandbox.fields import email
from worker.sandbox.hosted_page import HostedPage

_NAMES = ("first_name", "last_name")
_EMAIL = email(70)
MAX_NAME = 150
MAX_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class Gift:
    """What the form says; ``scheduled_at`` in Unix seconds, None = at once."""

    gifter: Person
    receiver: Person
    message: str
    scheduled_at: int | None


def read_gift(given: Mapping[str, str], *, today_s: int) -> tuple[Gift | None, dict[str, str]]:
    """Check a submitted form.

    Args:
        given: Field name to text.
        today_s: The time, Unix seconds; no gift can be scheduled before its day (UTC).

    Returns:
        The gift and no errors, or None and the errors by field.
    """
    errors: dict[str, str] = {}
    gifter = _read_person(given, "gifter", errors)
    receiver = _read_person(given, "receiver", errors)
    message = given.get("message", "").strip()
    if len(message) > MAX_MESSAGE:
        errors["message"] = f"At most {MAX_MESSAGE} characters."
    scheduled_at = _read_date(given.get("scheduled_date", ""), today_s, errors)
    if errors:
        return None, errors
    return Gift(gifter, receiver, message, scheduled_at), {}


def give(page: HostedPage, gift: Gift, customers: Customers, events: Events) -> dict[str, Any]:
    """Find or create gifter and receiver, and record what happened.

    The gifter is looked up by the ``gifter.customer_id`` of the call, here and not before, and
    created in the business entity of the page. The receiver is looked up by e-mail in the
    gifter's business entity: the first created wins.

    Returns:
        ``content`` of the hosted page.
    """
    gifter, new_gifter = _gifter(page, gift.gifter, customers)
    receiver = customers.find_by_email(page.site, gift.receiver.email, gifter.business_entity_id)
    new_receiver = receiver is None
    if receiver is None:
        receiver = customers.create(page.site, gift.receiver, entity=gifter.business_entity_id)
    for customer, new in ((gifter, new_gifter), (receiver, new_receiver)):
        if new:
            events.record("customer_created", page, customer_id=customer.id)
    events.record("subscription_created", page, customer_id=gifter.id)
    events.record("gift_scheduled", page, customer_id=gifter.id)
    if gift.scheduled_at is None:
        events.record("gift_unclaimed", page, customer_id=receiver.id)
    return _content(page, gift, gifter, receiver)


def _gifter(page: HostedPage, person: Person, customers: Customers) -> tuple[Customer, bool]:
    customer_id = page.params.get("gifter", {}).get("customer_id")
    found = customers.find(page.site, customer_id) if customer_id else None
    if found is not None:
        return found, False
    entity = page.params.get("business_entity_id")
    return customers.create(page.site, person, entity=entity, customer_id=customer_id), True


def _content(page: HostedPage, gift: Gift, gifter: Customer, receiver: Customer) -> dict[str, Any]:
    subscription_id = f"sub_{secrets.token_hex(8)}"
    items = page.params.get("subscription_items", {})
    return {
        "customer": {**gifter.as_json(), "object": "customer"},
        "subscription": {
            "id": subscription_id,
            "customer_id": gifter.id,
            "status": "future",
            "subscription_items": [
                {"item_price_id": price, "quantity": items.get("quantity", {}).get(index, 1)}
                for index, price in items.get("item_price_id", {}).items()
            ],
            "object": "subscription",
        },
        "gift": {
            "id": f"gift_{secrets.token_hex(8)}",
            "status": "unclaimed" if gift.scheduled_at is None else "scheduled",
            "scheduled_at": gift.scheduled_at,
            "gifter": {
                "customer_id": gifter.id,
                "signature": f"{gift.gifter.first_name} {gift.gifter.last_name}",
                "note": gift.message,
                "object": "gifter",
            },
            "gift_receiver": {
                "customer_id": receiver.id,
                "subscription_id": subscription_id,
                "first_name": gift.receiver.first_name,
                "last_name": gift.receiver.last_name,
                "email": gift.receiver.email,
                "object": "gift_receiver",
            },
            "object": "gift",
        },
    }


def _read_person(given: Mapping[str, str], role: str, errors: dict[str, str]) -> Person:
    texts = {name: given.get(f"{role}_{name}", "").strip() for name in (*_NAMES, "email")}
    for name in _NAMES:
        if not texts[name]:
            errors[f"{role}_{name}"] = "Please fill this in."
        elif len(texts[name]) > MAX_NAME:
            errors[f"{role}_{name}"] = f"At most {MAX_NAME} characters."
    try:
        _EMAIL.check(texts["email"], "email")
    except Refusal:
        errors[f"{role}_email"] = "Please enter an e-mail address."
    return Person(**texts)


def _read_date(text: str, today_s: int, errors: dict[str, str]) -> int | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        errors["scheduled_date"] = "Please enter a date."
        return None
    if day < datetime.fromtimestamp(today_s, UTC).date():
        errors["scheduled_date"] = "This day is in the past."
        return None
    return int(datetime.combine(day, time(), UTC).timestamp())
