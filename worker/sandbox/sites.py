"""The sites that the sandbox plays, and how a request finds its own."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.sandbox.errors import Refusal

#: The documented site of a sandbox that was given none.
DEFAULT_SITE = "acme-test"
DEFAULT_KEY = "test_sandbox_key"

_HOST = re.compile(r"([a-z0-9][a-z0-9-]*)(\.grow)?\.(?:chargebee\.com|localhost)\Z")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """What a ``Host`` header names: a site, the grow host of a site, or neither."""

    site: str | None
    grow: bool


def read_host(host: str) -> Address:
    """Read a ``Host`` header; a name that is none of the API's stands for the whole sandbox."""
    name = host.rpartition(":")[0] if re.search(r":\d+\Z", host) else host
    match = _HOST.match(name.lower())
    if match is None:
        return Address(site=None, grow=False)
    return Address(site=match[1], grow=match[2] is not None)


class Sites:
    """Site names and the API keys that open them.

    Args:
        keys: Site name to its keys.

    Raises:
        ValueError: for a name that cannot be a host name, or a site without a key.
    """

    def __init__(self, keys: Mapping[str, Sequence[str]]) -> None:
        self._keys: dict[str, tuple[str, ...]] = {}
        self._site_of: dict[str, str] = {}
        self._first = keys
        self.reset()

    def __contains__(self, name: str) -> bool:
        return name in self._keys

    @property
    def names(self) -> list[str]:
        """The sites, in the order in which they were added."""
        return list(self._keys)

    def put(self, name: str, keys: Sequence[str]) -> None:
        """Add a site or replace its keys.

        Raises:
            ValueError: for a bad name, no key, or a key of another site.
        """
        if not isinstance(name, str) or not _NAME.match(name):
            raise ValueError("a site name has lower-case letters, digits and hyphens")
        if not keys or not all(isinstance(key, str) and key for key in keys):
            raise ValueError("a site needs an API key")
        if any(self._site_of.get(key, name) != name for key in keys):
            raise ValueError("the key belongs to another site")
        self._keys[name] = tuple(keys)
        self._site_of = {key: site for site, of_site in self._keys.items() for key in of_site}

    def reset(self) -> None:
        """Go back to the sites and keys of the start."""
        self._keys.clear()
        for name, of_site in self._first.items():
            self.put(name, of_site)

    def authenticate(self, address: Address, authorization: str | None) -> str:
        """Find the site of a request.

        Raises:
            Refusal: 404 ``site_not_found`` for an unknown host, 401 for a wrong or missing key.
        """
        if address.site is not None and address.site not in self._keys:
            raise Refusal(404, "site_not_found", message="the site does not exist")
        site = self._site_of.get(_api_key(authorization))
        if site is None or address.site not in (None, site):
            raise Refusal(
                401,
                "api_authentication_failed",
                message="the API key is not one of this site",
                headers=(("www-authenticate", 'Basic realm="Chargebee API"'),),
            )
        return site

    def as_json(self) -> list[dict[str, Any]]:
        """The sites with masked keys."""
        return [
            {
                "name": name,
                "test": name.endswith("-test"),
                "keys": [key[:5] + "…" if len(key) > 8 else "…" for key in keys],
            }
            for name, keys in self._keys.items()
        ]


def _api_key(authorization: str | None) -> str:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        raise Refusal(
            401,
            "basic_authentication_failed",
            message="use Basic authentication, with the API key as user and no password",
            headers=(("www-authenticate", 'Basic realm="Chargebee API"'),),
        )
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return "" if password else user
