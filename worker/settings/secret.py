"""Values that are held by reference and read at the moment they are needed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

from worker.errors import SettingsError

__all__ = ["Secret"]

#: Bytes. An API key has about 40; anything much longer is the wrong file.
MAX_SECRET_BYTES: Final = 4096

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LOOKS_LIKE_A_KEY = re.compile(r"(?:test|live)_[A-Za-z0-9]{16,}\Z")
_PRINTABLE = re.compile(r"[\x21-\x7e]+\Z")
_LITERAL_KEY = (
    "must be a reference, not a key",
    'Write "env:NAME" or "file:/absolute/path" and put the key there.',
)


@final
class Secret:
    """A value held by reference: the name of a variable, or the path of a file.

    Args:
        reference: `env:NAME` or `file:/absolute/path`. A variable may itself hold `file:/path`.
        variable: where the reference was written, for error texts.
        holds: what the value is, for error texts.
        environ: the variables to read from; the process's own when None.

    Raises:
        SettingsError: the text is not a reference. It is not repeated: it may be a key.
    """

    __slots__ = ("_environ", "_holds", "reference")

    reference: str

    def __init__(
        self,
        reference: str,
        *,
        variable: str = "api_key",
        holds: str = "the site's API key",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(reference, str):
            raise SettingsError(variable, *_LITERAL_KEY)
        scheme, _, target = reference.partition(":")
        fits = (scheme == "env" and _ENV_NAME.match(target) is not None) or (
            scheme == "file" and target.startswith("/") and target.isprintable()
        )
        if not fits or _LOOKS_LIKE_A_KEY.match(target):
            raise SettingsError(variable, *_LITERAL_KEY)
        self.reference = reference
        self._environ = environ
        self._holds = holds

    def read(self) -> str:
        """Read the value now, so that a rotated key is taken up without a restart.

        Returns:
            The value without surrounding white space.

        Raises:
            SettingsError: the variable or the file is missing, empty, too long, or holds
                characters that no key has. The value is not repeated.
        """
        scheme, _, target = self.reference.partition(":")
        if scheme == "file":
            return self._check(_read_file(target, self._holds), target)
        environ = os.environ if self._environ is None else self._environ
        value = environ.get(target, "").strip()
        if value.startswith("file:/"):
            return self._check(_read_file(value.removeprefix("file:"), self._holds), target)
        if not value:
            raise SettingsError(target, "is not set", f"Export it with {self._holds}.")
        return self._check(value, target)

    def _check(self, value: str, source: str) -> str:
        if not value:
            raise SettingsError(source, "is empty", f"Put {self._holds} into it.")
        if not _PRINTABLE.match(value):
            problem = "holds blanks or characters that do not belong there"
            raise SettingsError(source, problem, f"Put {self._holds} into it, on one line.")
        return value

    def __repr__(self) -> str:
        return f"Secret({self.reference!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reference == self.reference

    def __hash__(self) -> int:
        return hash(self.reference)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Secret, (self.reference,))


def _read_file(path: str, holds: str) -> str:
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({type(error).__name__})"
        raise SettingsError(path, problem, "Check that it exists and who may read it.") from None
    if len(raw) > MAX_SECRET_BYTES:
        raise SettingsError(path, "is too long", f"Put nothing but {holds} into it.")
    return raw.decode("utf-8", errors="replace").strip()
