"""An object within an object, such as the gifter."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from schemas.base import JobSchema


class Part(fields.Nested):
    """An object with a schema of its own; `None` means "not given".

    Args:
        schema: of the object.
    """

    def __init__(self, schema: JobSchema) -> None:
        super().__init__(schema, allow_none=True)

    def checked(self, value: Any) -> Any:
        """Return the loaded object, or say what is wrong in it.

        Raises:
            ValidationError: nested messages.
        """
        return self.schema.load(value)
