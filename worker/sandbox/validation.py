"""What the two operations and their headers accept, transcribed from the API's own description."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.sandbox import form
from worker.sandbox.errors import Refusal, wrong_value
from worker.sandbox.fields import (
    INT32,
    INT64,
    Field,
    FreeObject,
    Group,
    Integer,
    List,
    Text,
    decimal,
    email,
    members,
)

#: Members of ``POST /hosted_pages/checkout_gift_for_items``. None is required.
#: ``starting_unit`` may be 0: the description says both "minimum 1" and "zero for the lowest".
GIFT: Mapping[str, Field] = {
    "layout": Text(50, values=("in_app", "full_page")),
    "business_entity_id": Text(50),
    "brand_id": Text(50),
    "redirect_url": Text(250),
    "coupon_ids": List(Text(100)),
    "gifter": Group({"customer_id": Text(50), "locale": Text(50)}),
    "subscription_items": Group(
        {
            "item_price_id": List(Text(100)),
            "quantity": List(Integer(1)),
            "quantity_in_decimal": List(decimal(33)),
            "unit_price": List(Integer(0, INT64)),
            "unit_price_in_decimal": List(decimal(39)),
        }
    ),
    "item_tiers": Group(
        {
            "item_price_id": List(Text(100)),
            "starting_unit": List(Integer(0)),
            "ending_unit": List(Integer(-INT32)),
            "price": List(Integer(0, INT64)),
            "starting_unit_in_decimal": List(decimal(33)),
            "ending_unit_in_decimal": List(decimal(33)),
            "price_in_decimal": List(decimal(39)),
        }
    ),
}

#: Members of ``POST /personalized_offers``.
OFFER: Mapping[str, Field] = {
    "customer_id": Text(50),
    "subscription_id": Text(50),
    "first_name": Text(150),
    "last_name": Text(150),
    "email": email(70),
    "roles": List(Text(50)),
    "external_user_id": Text(50),
    "custom": FreeObject(),
    "request_context": Group(
        {
            "user_agent": Text(255),
            "locale": Text(50),
            "timezone": Text(64),
            "url": Text(250),
            "referrer_url": Text(250),
        }
    ),
}

_SKIP_HEADERS = {
    "chargebee-event-webhook": "webhooks",
    "chargebee-event-email": "email",
    "chargebee-event-actions": "actions",
}
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*\Z")


@dataclass(frozen=True, slots=True)
class Context:
    """What the headers of a call say."""

    skip: tuple[str, ...] = ()
    business_entity_id: str | None = None
    brand_id: str | None = None


def read_gift(body: bytes, content_type: str) -> dict[str, Any]:
    """Decode and check the body of a gift checkout.

    Returns:
        The members given; lists are dicts by index.

    Raises:
        Refusal: 400 with the name of the parameter.
    """
    if body and content_type != "application/x-www-form-urlencoded":
        raise Refusal(400, message="the body should be application/x-www-form-urlencoded")
    params = members(form.decode(body), GIFT)
    _check_tiers(params.get("item_tiers", {}))
    return params


def read_offer(body: bytes, content_type: str, *, form_allowed: bool) -> dict[str, Any]:
    """Decode and check the body of an offer request.

    Raises:
        Refusal: 400 with the name of the parameter, ``request_context[url]`` for a nested one.
    """
    if content_type == "application/json":
        given = _json_object(body, "the body")
    elif form_allowed and content_type == "application/x-www-form-urlencoded":
        given = {str(name): value for name, value in form.decode(body).items()}
        if isinstance(given.get("custom"), str):
            given["custom"] = _json_object(given["custom"].encode(), "custom")
    else:
        raise Refusal(400, message="the body should be application/json")
    params = members(given, OFFER)
    if "customer_id" not in params:
        raise Refusal(400, message="customer_id : cannot be blank", param="customer_id")
    return params


def read_context(pairs: Sequence[tuple[str, str]]) -> Context:
    """Check the ``chargebee-*`` headers of a call; names in lower case.

    Raises:
        Refusal: 400 with the name of the header as ``param``.
    """
    headers: dict[str, str] = {}
    for name, value in pairs:
        if name in headers and name.startswith("chargebee-"):
            raise Refusal(400, "duplicate_entry", message=f"{name} : given twice", param=name)
        headers[name] = value
    skip = [name for header, name in _SKIP_HEADERS.items() if _is_skip(headers, header)]
    for header, check in _CHECKS.items():
        if header in headers and not check(headers[header]):
            raise wrong_value(header, "is not valid")
    return Context(
        skip=tuple(sorted(skip)),
        business_entity_id=headers.get("chargebee-business-entity-id"),
        brand_id=headers.get("chargebee-brand-id"),
    )


def agree(params: dict[str, Any], context: Context) -> None:
    """Settle what body and headers say of business entity and brand; they must not differ.

    Raises:
        Refusal: 400 when they do.
    """
    for name, header in (
        ("business_entity_id", context.business_entity_id),
        ("brand_id", context.brand_id),
    ):
        if header is None:
            continue
        if params.setdefault(name, header) != header:
            raise wrong_value(name, "differs from the header of the same request")


def _is_skip(headers: Mapping[str, str], header: str) -> bool:
    if header not in headers:
        return False
    if headers[header] != "all-disabled":
        raise wrong_value(header, "should be all-disabled")
    return True


def _json_object(body: bytes, what: str) -> dict[str, Any]:
    try:
        given = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, message=f"{what} is not JSON") from None
    if not isinstance(given, dict):
        raise Refusal(400, message=f"{what} should be a JSON object")
    return given


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _check_tiers(tiers: Mapping[str, Mapping[int, Any]]) -> None:
    starts = tiers.get("starting_unit", {})
    for index, end in tiers.get("ending_unit", {}).items():
        if end < starts.get(index, 0):
            raise wrong_value(f"item_tiers[ending_unit][{index}]", "is below starting_unit")


def _is_origin(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return bool(_HOST_NAME.match(value))
    return True


def _is_user(value: str) -> bool:
    return value.isascii() and value.count("@") == 1


def _is_encoded_user(value: str) -> bool:
    try:
        return base64.b64decode(value, validate=True).decode("utf-8").count("@") == 1
    except (binascii.Error, UnicodeDecodeError):
        return False


def _is_id(value: str) -> bool:
    return 0 < len(value) <= 50


def _is_key(value: str) -> bool:
    return 0 < len(value) <= 100


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "chargebee-business-entity-id": _is_id,
    "chargebee-brand-id": _is_id,
    "chargebee-request-origin-ip": _is_origin,
    "chargebee-request-origin-user": _is_user,
    "chargebee-request-origin-user-encoded": _is_encoded_user,
    "chargebee-idempotency-key": _is_key,
}
