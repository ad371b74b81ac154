"""What the schema tests share: bodies of both kinds and a way to see what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from marshmallow import ValidationError

import schemas

VECTORS = Path(__file__).parent.parent / "vectors"


@pytest.fixture(scope="session")
def gift() -> dict[str, Any]:
    """A gift checkout with every kind of field in it."""
    return dict(json.loads((VECTORS / "gift_03.json").read_text())["params"])


@pytest.fixture(scope="session")
def offer() -> dict[str, Any]:
    """A request for offers with every field in it."""
    return dict(json.loads((VECTORS / "offer_02.json").read_text())["params"])


@pytest.fixture(scope="session")
def refusal() -> Callable[..., dict[str, list[str]]]:
    """Return what validation says of a job, by path; empty when it accepts the job."""

    def refused(
        kind: str, payload: Any, options: Mapping[str, Any] | None = None, **keywords: Any
    ) -> dict[str, list[str]]:
        caught: ValidationError | None = None
        try:
            schemas.validate(kind, payload, options, **keywords)
        except ValidationError as error:
            caught = error
        if caught is None:
            return {}
        flat = schemas.flatten(caught.messages_dict)
        assert flat == caught.messages
        assert (caught.data, caught.__cause__, caught.__context__) == (None, None, None)
        return flat

    return refused
