"""The body of a gift checkout: POST /hosted_pages/checkout_gift_for_items.

Source: Chargebee's API documentation, "Create checkout to gift subscription items", and its
OpenAPI file. No field is required; the bounds are the documentation's.
"""

from __future__ import annotations

from schemas.base import JobSchema
from schemas.fields import (
    INT32_MAX,
    INT64_MAX,
    Choice,
    DecimalText,
    LocaleTag,
    Text,
    TextList,
    WebAddress,
    Whole,
)
from schemas.part import Part
from schemas.table import Table

#: Longest decimals of the API, in characters: a quantity or unit, and a price.
QUANTITY_DECIMAL_MAX = 33
PRICE_DECIMAL_MAX = 39


class GifterSchema(JobSchema):
    """Who gives; looked up, or created, when the checkout is completed."""

    customer_id = Text(50)
    locale = LocaleTag(50)


class SubscriptionItemSchema(JobSchema):
    """One item of the gift; prices are in minor units, or in major units as decimal text."""

    item_price_id = Text(100, empty=False)
    quantity = Whole(1, INT32_MAX)
    quantity_in_decimal = DecimalText(QUANTITY_DECIMAL_MAX)
    unit_price = Whole(0, INT64_MAX)
    unit_price_in_decimal = DecimalText(PRICE_DECIMAL_MAX)


class ItemTierSchema(JobSchema):
    """One tier of a tiered price.

    `starting_unit` may be 0: the documentation says both "zero for the lowest tier" and "minimum
    1", so the API decides, and the value is never rewritten.
    """

    item_price_id = Text(100, empty=False)
    starting_unit = Whole(0, INT32_MAX)
    ending_unit = Whole(0, INT32_MAX)
    price = Whole(0, INT64_MAX)
    starting_unit_in_decimal = DecimalText(QUANTITY_DECIMAL_MAX)
    ending_unit_in_decimal = DecimalText(QUANTITY_DECIMAL_MAX)
    price_in_decimal = DecimalText(PRICE_DECIMAL_MAX)


class GiftCheckoutSchema(JobSchema):
    """The whole body; sent as a form, in which an empty list or object is nothing."""

    keep_empty = False

    layout = Choice("in_app", "full_page")
    business_entity_id = Text(50)
    brand_id = Text(50)
    redirect_url = WebAddress(250)
    coupon_ids = TextList(100)
    gifter = Part(GifterSchema())
    subscription_items = Table(SubscriptionItemSchema())
    item_tiers = Table(ItemTierSchema())
