"""Each site at the API: its key can be read, its hosts take connections, the key is valid there.

The one request that is sent asks for a hosted page that does not exist: an answer of "not found"
proves that the key opens the site, and nothing is made or read by it.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

from worker.errors import SettingsError
from worker.operations import OPERATIONS
from worker.process.check import Check, Status
from worker.settings import Settings
from worker.settings.site import Site

__all__ = ["check_site", "check_sites"]

#: Sites that are asked at the same time.
SITES_AT_ONCE: Final = 8
#: What is asked for; an id of Chargebee's is longer and has no hyphens.
PATH: Final = "/api/v2/hosted_pages/largesse-doctor"
#: Bytes of an answer that are read.
ANSWER_MAX: Final = 65_536

_DNS_NOTE: Final = "Check the name of the site, DNS, the firewall and CHARGEBEE_API_URL."


def check_sites(settings: Settings, *, calls: bool) -> Iterator[Check]:
    """Check every site of the settings.

    Args:
        settings: sites and timeouts.
        calls: send the request that tells whether a key is valid.
    """
    if not settings.sites:
        remedy = "Set CHARGEBEE_SITE and CHARGEBEE_API_KEY, or name a file in LARGESSE_SITES."
        yield Check("sites", "fail", "none is configured", remedy)
        return
    if settings.default_site is None:
        remedy = "Each job must name its site, or set default_site in the sites file."
        yield Check("sites", "warn", "several, without a default", remedy)
    with ThreadPoolExecutor(SITES_AT_ONCE) as pool:
        for checks in pool.map(
            lambda site: check_site(site, timeout_s=settings.connect_timeout_s, calls=calls),
            settings.sites.values(),
        ):
            yield from checks


def check_site(site: Site, *, timeout_s: float, calls: bool = False) -> list[Check]:
    """Check a site.

    Args:
        site: the site.
        timeout_s: seconds for each connection, and for the answer.
        calls: send the request that tells whether the key is valid.
    """
    key = _check_key(site)
    checks = [key]
    if site.sends_key_in_clear:
        remedy = "Use https: everybody on the network can read the key."
        checks.append(Check(f"site {site.name}", "warn", "its key travels without TLS", remedy))
    origins = {site.origin(operation.sub_domain): None for operation in OPERATIONS.values()}
    reached = [_check_origin(f"api {site.name}", url, timeout_s) for url in origins]
    checks += reached
    if calls and key.status != "fail" and reached[0].status == "ok":
        checks.append(_check_login(site, timeout_s))
    return checks


def _check_key(site: Site) -> Check:
    name = f"key {site.name}"
    try:
        key = site.api_key.read()
    except SettingsError as error:
        return Check(name, "fail", f"{error.variable} {error.problem}", error.remedy)
    other = "live_" if site.is_test else "test_"
    if key.startswith(other):
        remedy = "Test and live sites have different keys: use the key of this site."
        found = f"a {other[:-1]} key for a {'test' if site.is_test else 'live'} site"
        return Check(name, "warn", found, remedy)
    return Check(name, "ok", f"can be read ({site.api_key.reference})")


def _check_origin(name: str, origin: str, timeout_s: float) -> Check:
    parts = urlsplit(origin)
    host = parts.hostname or ""
    tls = parts.scheme == "https"
    started = time.monotonic()
    try:
        with socket.create_connection(
            (host, parts.port or (443 if tls else 80)), timeout=timeout_s
        ) as connection:
            if tls:
                context = ssl.create_default_context()
                context.wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLCertVerificationError:
        remedy = "Check the clock, the trusted certificates, and who answers on this host."
        return Check(name, "fail", f"{origin}: its certificate is not trusted", remedy)
    except OSError as error:
        return Check(name, "fail", f"{origin}: {_reason(error)}", _DNS_NOTE)
    took_ms = (time.monotonic() - started) * 1000
    return Check(name, "ok", f"{origin} takes connections ({took_ms:.0f} ms)")


def _check_login(site: Site, timeout_s: float) -> Check:
    name = f"login {site.name}"
    try:
        status, code = _ask(site, timeout_s)
    except (OSError, http.client.HTTPException) as error:
        found = f"no answer: {_reason(error) if isinstance(error, OSError) else 'not HTTP'}"
        return Check(name, "fail", found, "Check who answers on this host, and CHARGEBEE_API_URL.")
    found = f"status {status}{f', {code}' if code else ''}"
    if status == 404 and code == "site_not_found":
        return Check(name, "fail", found, "Check the name of the site: the API does not know it.")
    if status == 200 or (status == 404 and code is not None):
        return Check(name, "ok", "the API accepts the key")
    word, remedy = _judge(status)
    return Check(name, word, found, remedy)


def _judge(status: int) -> tuple[Status, str]:
    if status == 401:
        return "fail", "The key is wrong or was revoked: use a valid key of this site."
    if status == 403:
        return "warn", "The key may not read hosted pages: look at its permissions at the site."
    if status == 429:
        return "warn", "The site's limit is used up now: try again in a minute."
    if status >= 500:
        return (
            "warn",
            "The API does not work now: look at its status page, and try again in a minute.",
        )
    return "fail", "This answer is not from the API: check CHARGEBEE_API_URL and the site's name."


def _ask(site: Site, timeout_s: float) -> tuple[int, str | None]:
    """Give status and `api_error_code`; a text that is not the API's has none.

    Raises:
        OSError: no connection, or no answer in time.
        http.client.HTTPException: the answer is no HTTP.
    """
    parts = urlsplit(site.origin())
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = make(parts.hostname or "", parts.port, timeout=timeout_s)
    token = base64.b64encode(f"{site.api_key.read()}:".encode()).decode()
    try:
        connection.request("GET", PATH, headers={"Authorization": f"Basic {token}"})
        answer = connection.getresponse()
        body = answer.read(ANSWER_MAX)
    finally:
        connection.close()
    try:
        code = json.loads(body)["api_error_code"]
    except (ValueError, KeyError, TypeError):
        return answer.status, None
    # It is printed: nothing but a word of the API's may come through.
    return answer.status, code if isinstance(code, str) and code.isidentifier() else None


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is unknown"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror or type(error).__name__).lower()
