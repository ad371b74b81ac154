"""The base of all schemas: unknown fields refused, `None` stripped, the caller's order kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, post_load


class JobSchema(Schema):
    """An object of the request.

    The loaded object has its fields in the order in which the caller gave them: that order becomes
    the order of the request's bytes, which every attempt of a job repeats.
    """

    class Meta:
        """Options of marshmallow."""

        unknown = RAISE

    error_messages = {  # noqa: RUF012  (marshmallow's own declaration)
        "unknown": "Unknown field.",
        "type": "Not an object.",
    }

    #: A form cannot carry `[]` and `{}`: they vanish on the wire, so they vanish here.
    keep_empty: ClassVar[bool] = True

    @post_load(pass_original=True)
    def _as_given(
        self, data: dict[str, Any], original: Mapping[str, Any] | None, **_: Any
    ) -> dict[str, Any]:
        kept = {name: data[name] for name in original or () if data.get(name) is not None}
        if self.keep_empty:
            return kept
        return {name: value for name, value in kept.items() if value not in ([], {})}
