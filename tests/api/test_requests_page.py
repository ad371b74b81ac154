"""docs/requests.md names every field, option and header, with its bound."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from marshmallow import fields

from schemas.fields import Choice, DecimalText, Text, TextList, Whole
from schemas.free_object import DEPTH_MAX
from schemas.gift_checkout import GiftCheckoutSchema
from schemas.options import OptionsSchema
from schemas.personalized_offer import PersonalizedOfferSchema
from schemas.table import Table
from worker.api import build_request
from worker.api.headers import SKIP_HEADERS
from worker.operations import operation
from worker.settings.site import Site

PAGE = (Path(__file__).parents[2] / "docs" / "requests.md").read_text()


def section(title: str) -> str:
    """Return the text under a heading of the page."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def leaves(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field of a schema by its dotted path."""
    for name, field in schema.fields.items():
        if isinstance(field, Table):
            yield from leaves(field.row, f"{path}{name}.")
        elif isinstance(field, fields.Nested):
            yield from leaves(field.schema, f"{path}{name}.")
        else:
            yield path + name, field


def bound_of(field: Any) -> str:
    """Write a field's bound as the page does."""
    if isinstance(field, Choice):
        return ", ".join(f"`{name}`" for name in field.names)
    if isinstance(field, Whole):
        return f"{field.minimum} to {field.maximum}"
    if isinstance(field, TextList):
        return f"{field.item.max_length} each"
    if isinstance(field, Text | DecimalText):
        return str(field.max_length)
    return f"{DEPTH_MAX} levels"


@pytest.mark.parametrize(
    ("title", "schema"),
    [
        ("Gift checkout", GiftCheckoutSchema()),
        ("Personalized offer", PersonalizedOfferSchema()),
    ],
)
def test_page_has_every_field_with_its_bound(title: str, schema: Any) -> None:
    """The tables of fields equal the schemas: same fields, same bounds, nothing more."""
    rows = re.findall(r"^\| `([a-z_.]+)` \| .* \| (.*) \|$", section(title), re.MULTILINE)
    assert dict(rows) == {path: bound_of(field) for path, field in leaves(schema)}
    assert len(rows) == len(dict(rows))


def test_page_has_every_option() -> None:
    """The table of options equals the schema of options."""
    rows = re.findall(r"^\| `([a-z_.]+)` \|", section("Options of a job"), re.MULTILINE)
    assert rows == [path for path, _ in leaves(OptionsSchema())]


def test_page_has_every_header(site: Site) -> None:
    """Whatever header a request can carry is on the page."""
    names = set(SKIP_HEADERS.values())
    for user in ("a@b.c", "é@b.c"):
        request = build_request(
            operation("gift_checkout"),
            site=site,
            payload={},
            options={
                "business_entity_id": "b",
                "brand_id": "b",
                "origin": {"user": user, "ip": "::1", "device": "d"},
            },
            idempotency_key="k",
        )
        names |= {name for name, _ in request.headers}
    assert len(names) == 14
    assert [name for name in sorted(names) if f"`{name}`" not in PAGE] == []


def test_page_has_no_broken_link() -> None:
    """Every page it points to is there."""
    for target in re.findall(r"\]\(([a-z_/]+\.md)\)", PAGE):
        assert (Path(__file__).parents[2] / "docs" / target).is_file()
