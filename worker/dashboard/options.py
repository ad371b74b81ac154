"""How the dashboard is served, and to whom."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from worker.errors import SettingsError
from worker.settings.secret import Secret
from worker.settings.variable import Variable

__all__ = ["VARIABLES", "Options", "is_loopback"]

_PREFIX: Final = "LARGESSE_DASHBOARD_"
PASSWORD: Final = f"{_PREFIX}PASSWORD"
TOKEN: Final = f"{_PREFIX}TOKEN"
#: Characters of a password or token: below that it can be guessed.
SECRET_MIN: Final = 12

VARIABLES: Final = (
    Variable(
        name="LARGESSE_DASHBOARD_READ_ONLY",
        field="read_only",
        kind="bool",
        default=False,
        reason="whether the dashboard only shows: no replay, no pause, no other action",
    ),
    Variable(
        name="LARGESSE_DASHBOARD_REVEAL",
        field="reveal",
        kind="bool",
        default=False,
        reason="whether values of payloads and addresses of pages may be looked at, each look in "
        "the audit list",
    ),
    Variable(
        name="LARGESSE_DASHBOARD_HTTPS",
        field="https",
        kind="bool",
        default=False,
        reason="whether a proxy in front speaks HTTPS: cookies are then for HTTPS alone",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the dashboard is served. Its repr shows no secret.

    Attributes:
        host: address to listen on.
        port: 0 = any free one.
        password: what a person logs in with, or None.
        token: what a program sends as `Authorization: Bearer`, or None.
        read_only: only show.
        reveal: let values be looked at.
        https: a proxy in front speaks HTTPS.

    Raises:
        SettingsError: it would listen beyond this machine without a password or token.
    """

    host: str = "127.0.0.1"
    port: int = 8500
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    read_only: bool = False
    reveal: bool = False
    https: bool = False

    def __post_init__(self) -> None:
        for name, secret in ((PASSWORD, self.password), (TOKEN, self.token)):
            if secret is not None and len(secret) < SECRET_MIN:
                raise SettingsError(
                    name, "is too short", f"Use {SECRET_MIN} characters or more, chosen by chance."
                )
        if self.is_open and not is_loopback(self.host):
            raise SettingsError(
                PASSWORD,
                "is not set, and the dashboard would be open to the network",
                f"Set it or {TOKEN}, or listen on 127.0.0.1.",
            )

    @property
    def is_open(self) -> bool:
        """Whether everybody on this machine may use it."""
        return self.password is None and self.token is None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Self:
        """Read the variables.

        Args:
            environ: the variables; the process's own when None.
            given: attributes that the command line says; None leaves the variable's.

        Raises:
            SettingsError: a variable is wrong, or the whole would not be safe.
        """
        source = os.environ if environ is None else environ
        values = {variable.field: variable.read(source) for variable in VARIABLES}
        values |= {name: value for name, value in given.items() if value is not None}
        return cls(
            password=_secret(source, PASSWORD, "the dashboard's password"),
            token=_secret(source, TOKEN, "the dashboard's token"),
            **values,
        )


def is_loopback(host: str) -> bool:
    """Say whether an address or name is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _secret(environ: Mapping[str, str], name: str, holds: str) -> str | None:
    if not environ.get(name, "").strip():
        return None
    return Secret(f"env:{name}", variable=name, holds=holds, environ=environ).read()
