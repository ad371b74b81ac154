"""A job, validated: the one way from what an app gives to what is enqueued.

kind, payload, options -> validate -> ValidJob -> job record -> request
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from marshmallow import Schema, ValidationError

from schemas.base import JobSchema
from schemas.fields import TextList
from schemas.gift_checkout import GiftCheckoutSchema
from schemas.options import OptionsSchema
from schemas.part import Part
from schemas.personalized_offer import PersonalizedOfferSchema, RelaxedPersonalizedOfferSchema
from schemas.problems import WHOLE, tidy
from schemas.suggestion import did_you_mean
from schemas.table import Table, to_rows

#: What `request_context` must hold: all that the documentation asks for, or what there is.
RequestContext = Literal["strict", "relaxed"]

#: The largest payload, in bytes of its canonical JSON in UTF-8, tables as rows.
PAYLOAD_MAX_BYTES = 64 * 1024

#: Options that shape the request; the others say when to run it.
REQUEST_OPTIONS = ("skip", "business_entity_id", "brand_id", "origin")

#: Fields that body and header may both carry; the API refuses a request in which they differ.
SHARED_FIELDS = ("business_entity_id", "brand_id")

_SCHEMAS: dict[str, dict[RequestContext, JobSchema]] = {
    "gift_checkout": dict.fromkeys(("strict", "relaxed"), GiftCheckoutSchema()),
    "personalized_offer": {
        "strict": PersonalizedOfferSchema(),
        "relaxed": RelaxedPersonalizedOfferSchema(),
    },
}
_OPTIONS = OptionsSchema()
# dict first: it is known at a glance, an abstract Mapping is not.
_MAPPINGS, _LISTS = (dict, Mapping), (list, tuple)
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)

#: The kinds of job, one for each call.
KINDS = tuple(_SCHEMAS)

#: The most bytes of JSON for one of the least: a number counts as one and a Decimal has up to 130
#: digits and a name for each row of its column; a character has six at most.
_BYTES_OF_ONE = 256

#: Rows of a list whose paths `paths` names.
_ROWS_NAMED = 20

_TOO_LARGE = f"Larger than {PAYLOAD_MAX_BYTES} bytes of JSON."


@dataclass(frozen=True, slots=True)
class ValidJob:
    """A job that passed validation; its repr shows the kind alone.

    Args:
        kind: one of `KINDS`.
        payload: the body, canonical: JSON-safe, None stripped, decimals as plain text, in the
            caller's order and spelling of tables. Validating it again changes nothing.
        options: the options that were given, canonical and JSON-safe.
    """

    kind: str
    payload: dict[str, Any] = field(repr=False)
    options: dict[str, Any] = field(repr=False)

    def request_digest(self, site: str) -> str:
        """Fingerprint of the request, to tell the same job from another one under the same key.

        Rows and columns, and any order of fields, give the same digest; when the job runs
        (deadline, delay, lane) is no part of it.

        Args:
            site: name of the site.

        Returns:
            SHA-256, 64 hexadecimal digits.
        """
        request = {
            "kind": self.kind,
            "site": site,
            "payload": rows_form(self.kind, self.payload),
            "options": {
                name: self.options[name] for name in REQUEST_OPTIONS if name in self.options
            },
        }
        return hashlib.sha256(_CANONICAL.encode(request).encode("ascii")).hexdigest()


def validate(
    kind: str,
    payload: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    *,
    request_context: RequestContext = "strict",
) -> ValidJob:
    """Check a job whole and bring it into its canonical form.

    Args:
        kind: one of `KINDS`.
        payload: fields of the body; `{}` when there is nothing to say. None is refused: it is a
            forgotten `return` more often than a wish.
        options: see `schemas.options`; None is `{}`.
        request_context: `strict` demands what the documentation demands of it.

    Raises:
        ValidationError: its `messages` are flat: field path to a list of texts. No text or path
            holds a value.
    """
    schema = _schema_of(kind, request_context)
    if payload is None:
        raise ValidationError({WHOLE: ["Must be an object, not None: give {} for no fields."]})
    body, problems = _loaded(schema, payload, "")
    # Most jobs have no options, and none is required.
    chosen, more = _loaded(_OPTIONS, options, "options") if options != {} else ({}, {})
    problems |= more
    if not problems:
        problems = _disagreements(body, chosen)
    if problems:
        raise ValidationError(problems)
    return ValidJob(kind=kind, payload=body, options=chosen)


def rows_form(kind: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload with every table as rows, for comparing; the other fields as they are.

    Args:
        kind: one of `KINDS`.
        payload: a canonical payload of that kind.

    Raises:
        ValidationError: there is no such kind, or the payload is no object with its fields.
    """
    schema = _schema_of(kind, "strict")
    try:
        return _as_rows(schema, payload)
    except (AttributeError, KeyError, TypeError):
        problem = "Not a canonical payload: give what `validate` gave."
        raise ValidationError({WHOLE: [problem]}) from None


def paths(kind: str) -> Iterator[str]:
    """Give the paths that a job of this kind may have, of lists the first rows.

    Args:
        kind: one of `KINDS`.

    Yields:
        Paths such as `payload.subscription_items.0.quantity` and `options.skip`.

    Raises:
        ValidationError: there is no such kind.
    """
    yield from _paths(_schema_of(kind, "strict"), "payload")
    yield from _paths(_OPTIONS, "options")


def _paths(schema: Schema, prefix: str) -> Iterator[str]:
    for name, one in schema.fields.items():
        path = f"{prefix}.{name}"
        yield path
        if isinstance(one, Part):
            yield from _paths(one.schema, path)
        elif isinstance(one, Table | TextList):
            for place in range(_ROWS_NAMED):
                yield f"{path}.{place}"
                if isinstance(one, Table):
                    yield from _paths(one.row, f"{path}.{place}")


def _schema_of(kind: str, request_context: RequestContext) -> JobSchema:
    schemas = _SCHEMAS.get(kind) if isinstance(kind, str) else None
    if schemas is None:
        raise ValidationError(
            {"kind": [f"Must be one of: {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}"]}
        )
    schema = schemas.get(request_context) if isinstance(request_context, str) else None
    if schema is None:
        raise ValidationError({"request_context": [f"Must be one of: {', '.join(schemas)}."]})
    return schema


def _as_rows(schema: JobSchema, payload: Mapping[str, Any]) -> dict[str, Any]:
    fields = schema.fields
    return {
        name: to_rows(value)
        if isinstance(value, dict) and isinstance(fields[name], Table)
        else value
        for name, value in payload.items()
    }


def _loaded(
    schema: JobSchema, given: Mapping[str, Any] | None, prefix: str
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    if given is None:
        given = {}
    size = _least_size(given)
    if size > PAYLOAD_MAX_BYTES:
        return {}, {prefix or WHOLE: [_TOO_LARGE]}
    try:
        loaded: dict[str, Any] = schema.load(given)
    except ValidationError as error:
        # Only the messages go on: the error itself holds what was given.
        return {}, tidy(error.messages_dict, prefix)
    if size * _BYTES_OF_ONE <= PAYLOAD_MAX_BYTES:
        return loaded, {}
    rows = _as_rows(schema, loaded)  # so that both spellings of a table have the same bound
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if len(text) > PAYLOAD_MAX_BYTES // 4 and len(text.encode()) > PAYLOAD_MAX_BYTES:
        return {}, {prefix or WHOLE: [_TOO_LARGE]}
    return loaded, {}


def _least_size(given: Any) -> int:
    """Add up the least size the JSON can have, bytes, and stop as soon as that is too much.

    So a huge or endless structure costs no more than a large valid one. What is no JSON counts as
    a byte: the schema refuses it later.
    """
    size = 0
    waiting: list[Any] = [given]
    while waiting and size <= PAYLOAD_MAX_BYTES:
        value = waiting.pop()
        kind = type(value)
        if kind is str:
            size += len(value) + 2
        elif kind is int:
            size += 1
        elif isinstance(value, _LISTS):
            size += 2 + len(value)
            waiting.extend(value)
        elif isinstance(value, _MAPPINGS):
            for key, member in value.items():
                if member is not None:
                    size += 4 + (len(key) if isinstance(key, str) else 0)
                    waiting.append(member)
        else:
            size += len(value) + 2 if isinstance(value, str) else 1
    return size


def _disagreements(payload: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        f"options.{name}": [f"Differs from `{name}` of the payload: the API refuses both."]
        for name in SHARED_FIELDS
        if name in payload and name in options and payload[name] != options[name]
    }
