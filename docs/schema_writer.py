"""Turn the marshmallow schemas into JSON Schemas, for producers in other languages.

`docs/generate.py` writes them to docs/json_schemas; what a JSON Schema cannot say is listed in
docs/other_languages.md. Patterns hold raw characters and neither lookaround nor escapes that
differ between regular expression engines, and a text is never bounded by `$` alone, which in some
of them matches before a final line break.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from marshmallow import Schema, fields

from schemas import fields as ours
from schemas.free_object import FreeObject
from schemas.gift_checkout import GiftCheckoutSchema
from schemas.options import SKIPS, Host, OptionsSchema, Skip
from schemas.personalized_offer import PersonalizedOfferSchema, RelaxedPersonalizedOfferSchema
from schemas.table import Table

__all__ = ["documents"]

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: Texts of `custom` may hold tabs and line breaks, those of a request context tabs, all others no
#: control character at all.
_CONTROL = "[\x00-\x1f\x7f-\x9f\u2028\u2029]"
_CONTROL_BUT_TAB = "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]"
_UNFIT = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
#: Blanks that are no control characters.
_BLANK = " \xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_ATOM = rf'[^{_BLANK}@."(),:;<>\[\\\]]+'
#: What no label of a domain holds, the hyphen aside, and the control characters.
_UNLABEL = rf"{_BLANK}!-,./:-@\[-^`{{-~"
_LABEL = rf"[^{_UNLABEL}-]([^{_UNLABEL}]*[^{_UNLABEL}-])?"
_EMAIL = rf"^{_ATOM}(\.{_ATOM})*@({_LABEL}\.)+{_LABEL}$"
#: What no part of a web address holds, and what the name of its host does not.
_UNWEB = rf"{_BLANK}/?#@\\"
_HOST = rf"(\[[0-9a-fA-F:.]+\]|[^{_UNWEB}:\[\]]+)"
_WEB_ADDRESS = (
    rf"^[Hh][Tt][Tt][Pp][Ss]?://([^{_UNWEB}]*@)?{_HOST}(:[0-9]{{1,5}})?([/?#][^{_BLANK}]*)?$"
)
_NAME = f"({'|'.join(SKIPS)})?"


def documents() -> dict[str, Json]:
    """Give each JSON Schema by the name of its file, without `.json`."""
    return {
        "gift_checkout": _document("The payload of a gift checkout.", GiftCheckoutSchema()),
        "personalized_offer": _document(
            "The payload of a personalized offer.", PersonalizedOfferSchema()
        ),
        "personalized_offer_relaxed": _document(
            "The same with LARGESSE_REQUEST_CONTEXT=relaxed.", RelaxedPersonalizedOfferSchema()
        ),
        "options": _document("The options of a job.", OptionsSchema()),
    }


def _document(title: str, schema: Schema) -> Json:
    document = {"$schema": DIALECT, "title": title, **_object(schema)}
    if any(isinstance(field, FreeObject) for field in schema.fields.values()):
        document["$defs"] = {"custom": _custom(), "value": _value()}
    return document


def _object(schema: Schema) -> Json:
    properties = {name: _field(field) for name, field in schema.fields.items()}
    required = [name for name, field in schema.fields.items() if field.required]
    written: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**written, "required": required} if required else written


def _field(field: fields.Field[Any]) -> Json:
    if isinstance(field, fields.Nested):
        written = _object(field.schema)
    else:
        # The writer of the class that is nearest in the field's ancestry.
        writer = next(_WRITERS[one] for one in type(field).__mro__ if one in _WRITERS)
        written = writer(field)
    return _nullable(written) if field.allow_none else written


def _nullable(written: Json) -> Json:
    """Let null stand for "not given"."""
    if "enum" in written:
        return {"enum": [*written["enum"], None]}
    if "type" in written:
        return {**written, "type": [written["type"], "null"]}
    return {"anyOf": [*written.get("anyOf", [written]), {"type": "null"}]}


def _holds(pattern: str) -> Json:
    """Say of a text that it holds such a character; null is none."""
    return {"type": "string", "pattern": pattern}


def _text(field: ours.Text) -> Json:
    written: Json = {"type": "string"}
    if not field.empty:
        written["minLength"] = 1
    unfit = _CONTROL_BUT_TAB if field.tabs else _CONTROL
    return {**written, "maxLength": field.max_length, "not": _holds(unfit)}


def _email(field: ours.Email) -> Json:
    return {**_text(field), "pattern": _EMAIL}


def _web_address(field: ours.WebAddress) -> Json:
    return {**_text(field), "pattern": _WEB_ADDRESS}


def _header_text(field: ours.HeaderText) -> Json:
    return {
        "type": "string", "maxLength": field.max_length, "pattern": "^[!-~]([ -~]*[!-~])?$",
        "not": _holds("[^ -~]"),
    }  # fmt: skip


def _host(field: Host) -> Json:
    return {**_header_text(field), "pattern": "^[0-9A-Za-z:.-]+$"}


def _time_zone(field: ours.TimeZone) -> Json:
    return {**_text(field), "description": "an IANA time zone that exists"}


def _locale(field: ours.LocaleTag) -> Json:
    return {**_text(field), "description": "a locale whose parts exist, such as en-US"}


def _choice(field: ours.Choice) -> Json:
    return {"enum": list(field.names)}


def _whole(field: ours.Whole) -> Json:
    return {"type": "integer", "minimum": field.minimum, "maximum": field.maximum}


def _decimal(field: ours.DecimalText) -> Json:
    return {
        "type": "string", "maxLength": field.max_length,
        "pattern": r"^(0|[1-9][0-9]*)(\.[0-9]+)?$", "not": _holds("[^0-9.]"),
    }  # fmt: skip


def _seconds(field: ours.Seconds) -> Json:
    least = "minimum" if field.include_zero else "exclusiveMinimum"
    return {"type": "number", least: 0, "maximum": field.maximum}


def _text_list(field: ours.TextList) -> Json:
    return {"type": "array", "items": _nullable(_text(field.item))}


def _skip(_: Skip) -> Json:
    names = rf"^\s*{_NAME}\s*(,\s*{_NAME}\s*)*$"
    return {
        "anyOf": [
            {"type": "array", "items": {"enum": list(SKIPS)}},
            {"type": "string", "pattern": names},
        ]
    }


def _table(field: Table) -> Json:
    row = _object(field.row)
    columns = {
        name: {"type": ["array", "null"], "items": cell}
        for name, cell in row["properties"].items()
    }
    return {
        "anyOf": [
            {"title": "rows", "type": "array", "items": _nullable(row)},
            {
                "title": "columns",
                "type": "object",
                "properties": columns,
                "additionalProperties": False,
            },
        ]
    }


def _free(_: FreeObject) -> Json:
    return {"anyOf": [{"$ref": "#/$defs/custom"}]}


def _custom() -> Json:
    """Write an object of free keys; a null under any key is "not given"."""
    return {
        "type": "object",
        "patternProperties": {_UNFIT: {"type": "null"}},
        "additionalProperties": {"$ref": "#/$defs/value"},
    }


def _value() -> Json:
    return {
        "anyOf": [
            {"type": ["boolean", "number", "null"]},
            {"type": "string", "not": _holds(_UNFIT)},
            {"type": "array", "items": {"$ref": "#/$defs/value"}},
            {"$ref": "#/$defs/custom"},
        ]
    }


_WRITERS: dict[type, Callable[[Any], Json]] = {
    ours.Text: _text,
    ours.HeaderText: _header_text,
    Host: _host,
    ours.Choice: _choice,
    ours.Email: _email,
    ours.WebAddress: _web_address,
    ours.TimeZone: _time_zone,
    ours.LocaleTag: _locale,
    ours.Whole: _whole,
    ours.DecimalText: _decimal,
    ours.Seconds: _seconds,
    ours.TextList: _text_list,
    FreeObject: _free,
    Table: _table,
    Skip: _skip,
}
