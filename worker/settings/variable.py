"""One environment variable: how it is read, what it may hold and why it is what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from environs import Env, EnvError

from worker.errors import SettingsError

__all__ = ["Variable"]

ValueKind = Literal["int", "float", "bool", "text", "choice"]
_ARTICLES: Mapping[ValueKind, str] = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "text": "a text",
    "choice": "one of the choices",
}
_TYPES: Mapping[ValueKind, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "text": (str,),
    "choice": (str,),
}
_READERS: Mapping[ValueKind, str] = {
    "int": "int",
    "float": "float",
    "bool": "bool",
    "text": "str",
    "choice": "str",
}


class _MappingEnv(Env):
    """An environs reader of a given mapping instead of the process's environment.

    A variable that is set to nothing counts as not set: compose files write those.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__()
        self._given = environ

    def _get_from_environ(
        self,
        key: str,
        default: Any,
        *,
        proxied: bool = False,  # noqa: ARG002 - the base class's signature
    ) -> tuple[str, Any, str | None]:
        return key, self._given.get(key) or default, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One environment variable.

    Attributes:
        name: of the variable.
        field: of `Settings`, `Site` or `RetryPolicy` that it fills.
        kind: how its text is read.
        default: value when it is not set; None for "none".
        unit: of the value; empty for a text or a choice.
        reason: why the default is what it is, or what the variable does.
        low: least value.
        high: greatest value, or None.
        choices: allowed texts, for kind `choice`.
        pattern: what a text must look like, or None.
    """

    name: str
    field: str
    kind: ValueKind = "text"
    default: Any = None
    unit: str = ""
    reason: str
    low: float = 0
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str | None = None

    def read(self, environ: Mapping[str, str]) -> Any:
        """Read the value.

        Args:
            environ: the variables.

        Returns:
            The value in its own type, or the default when the variable is not set.

        Raises:
            SettingsError: it cannot be read or is out of bounds.
        """
        env = _MappingEnv({name: text.strip() for name, text in environ.items()})
        parse = getattr(env, _READERS[self.kind])
        try:
            value = parse(self.name, self.default)
        except EnvError:
            raise self.refuse(f"is not {_ARTICLES[self.kind]}") from None
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Check a value that is already in its own type.

        Raises:
            SettingsError: it is out of bounds.
        """
        if value is None and self.default is None:
            return
        if not self._is_of_kind(value):
            raise self.refuse(f"is not {_ARTICLES[self.kind]}")
        if self.kind == "choice" and value not in self.choices:
            raise self.refuse("is not one of the choices")
        if self.kind in {"int", "float"} and not self._fits(value):
            raise self.refuse("is out of bounds")
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            raise self.refuse("has characters that are not allowed, or too many")

    def _is_of_kind(self, value: object) -> bool:
        if isinstance(value, bool):
            return self.kind == "bool"
        return isinstance(value, _TYPES[self.kind])

    def _fits(self, value: float) -> bool:
        return value >= self.low and (self.high is None or value <= self.high)

    def refuse(self, problem: str) -> SettingsError:
        """Make the error for a wrong value.

        Args:
            problem: what is wrong, without the value.
        """
        return SettingsError(self.name, problem, f"Write {self.bounds()}, or leave it out.")

    def bounds(self) -> str:
        """Say in words what may be written."""
        if self.kind == "choice":
            return " or ".join(self.choices)
        if self.kind in {"int", "float"}:
            upper = "" if self.high is None else f" to {self.high}"
            unit = f" ({self.unit})" if self.unit else ""
            return f"{_ARTICLES[self.kind]} from {self.low}{upper}{unit}"
        if self.pattern is not None:
            return f"a text that matches {self.pattern}"
        return _ARTICLES[self.kind]
