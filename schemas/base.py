"""The base of all schemas: unknown fields refused, `None` stripped, the caller's order kept."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Final, Protocol, cast

from marshmallow import RAISE, Schema, ValidationError, post_load

from schemas.suggestion import did_you_mean

#: Stands for "not taken", where None is a value.
_LEFT: Final = object()
#: Fields of one object that are looked at for a suggestion.
_SUGGESTED_MAX: Final = 20


class _Checked(Protocol):
    """A field that says what is wrong with a value, or gives what it loads."""

    required: bool

    def checked(self, value: Any) -> Any: ...


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

    #: Each field is checked by itself alone; False where a hook looks at several together.
    fields_alone: ClassVar[bool] = True

    @cached_property
    def _required(self) -> frozenset[str]:
        return frozenset(name for name, field in self.fields.items() if field.required)

    def load(self, data: Any, *, many: bool | None = None, **bounds: Any) -> Any:
        """Load as marshmallow does, by a shorter way while nothing is wrong.

        What is wrong, and all that is, marshmallow says; so it is asked as soon as something is.

        Raises:
            ValidationError: nested messages.
        """
        if self.fields_alone and not bounds:
            if many and type(data) is list:
                rows = [self._taken(row) for row in data]
                if all(row is not _LEFT for row in rows):
                    return rows
            elif not many:
                taken = self._taken(data)
                if taken is not _LEFT:
                    return taken
        return super().load(data, many=many, **bounds)

    def _taken(self, data: object) -> object:
        """Give what `load` would, or `_LEFT` where it may have something to say."""
        if type(data) is not dict:
            return _LEFT
        fields = cast("Mapping[object, _Checked]", self.fields)
        loaded = {}
        try:
            for name, value in data.items():
                field = fields[name]
                if value is not None:
                    loaded[name] = field.checked(value)
        except (ValidationError, KeyError):
            return _LEFT
        if not self._required <= loaded.keys():
            return _LEFT
        return self._kept(loaded)

    def unknown_text(self, name: object) -> str:
        """Say that there is no such field, and which one may be meant."""
        return self.error_messages["unknown"] + did_you_mean(name, self.fields)

    def handle_error(
        self,
        error: ValidationError,
        data: Any,  # noqa: ARG002 - the base class's signature
        *,
        many: bool,
        **_: Any,
    ) -> None:
        """Add to each unknown field which one may be meant; marshmallow calls it."""
        messages = error.messages_dict
        for found in messages.values() if many else (messages,):
            if isinstance(found, dict):
                for name in list(found)[:_SUGGESTED_MAX]:
                    if found[name] == [self.error_messages["unknown"]]:
                        found[name] = [self.unknown_text(name)]

    @post_load(pass_original=True)
    def _as_given(
        self, data: dict[str, Any], original: Mapping[str, Any] | None, **_: Any
    ) -> dict[str, Any]:
        return self._kept(
            {name: data[name] for name in original or () if data.get(name) is not None}
        )

    def _kept(self, loaded: dict[str, Any]) -> dict[str, Any]:
        if self.keep_empty:
            return loaded
        return {name: value for name, value in loaded.items() if value not in ([], {})}
