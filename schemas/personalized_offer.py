"""The body of a request for personalized offers: POST /personalized_offers.

Source: Chargebee's API documentation, "List personalized offers", and its OpenAPI file. The
documentation requires four fields of `request_context`, the OpenAPI file and the SDKs none: the
strict schema asks for the four (a request that has them is always legal), the relaxed one does
not.
"""

from __future__ import annotations

from typing import Final

from schemas.base import JobSchema
from schemas.fields import Email, LocaleTag, Text, TextList, TimeZone
from schemas.free_object import FreeObject
from schemas.part import Part

#: Longest user agent and addresses of the API, in characters.
USER_AGENT_MAX: Final = 255
URL_MAX: Final = 250


class RelaxedRequestContextSchema(JobSchema):
    """Where the offer will be shown; nothing in it is required."""

    user_agent = Text(USER_AGENT_MAX, tabs=True)
    locale = LocaleTag(50)
    timezone = TimeZone(64)
    url = Text(URL_MAX, tabs=True)
    referrer_url = Text(URL_MAX, tabs=True)


class RequestContextSchema(RelaxedRequestContextSchema):
    """Where the offer will be shown, complete as the documentation wants it."""

    user_agent = Text(USER_AGENT_MAX, required=True, tabs=True)
    locale = LocaleTag(50, required=True)
    timezone = TimeZone(64, required=True)
    url = Text(URL_MAX, required=True, tabs=True)


class RelaxedPersonalizedOfferSchema(JobSchema):
    """The whole body; sent as JSON, in which an empty list or object stays."""

    customer_id = Text(50, required=True)
    subscription_id = Text(50)
    first_name = Text(150)
    last_name = Text(150)
    email = Email(70)
    roles = TextList(50)
    external_user_id = Text(50)
    custom = FreeObject()
    request_context = Part(RelaxedRequestContextSchema())


class PersonalizedOfferSchema(RelaxedPersonalizedOfferSchema):
    """The whole body, with a complete `request_context` or none."""

    request_context = Part(RequestContextSchema())
