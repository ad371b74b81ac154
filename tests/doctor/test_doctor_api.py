"""`largesse doctor` at the API: whether each site's key is valid, told by one harmless request."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rig.sandbox import API_KEY, SITE, SandboxServer

from worker.doctor.api import check_site
from worker.process.check import Check
from worker.settings.site import Secret, Site


def site(url: str, key: str = API_KEY, name: str = SITE) -> Site:
    """Make a site with this key."""
    return Site(name=name, api_key=Secret("env:K", environ={"K": key}), api_url=url)


def login(one: Site, *, timeout_s: float = 5.0) -> Check:
    """Give the check of the key at the API."""
    checks = {check.name: check for check in check_site(one, timeout_s=timeout_s, calls=True)}
    return checks[f"login {one.name}"]


Serve = Callable[[int, bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer every request with a status and a body; gives the origin."""
    servers: list[http.server.HTTPServer] = []

    def start(status: int, body: bytes) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Keep quiet."""

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_valid_key_is_known_by_a_page_that_is_not_there(sandbox_server: SandboxServer) -> None:
    """The sandbox knows the key and no such page: all is well, and nothing was made."""
    check = login(site(sandbox_server.url))
    assert (check.status, check.found) == ("ok", "the API accepts the key")
    assert sandbox_server.admin.pages() == []


def test_wrong_key_is_a_fault(sandbox_server: SandboxServer) -> None:
    """It is refused by the API, and never shown."""
    check = login(site(sandbox_server.url, "test_wrong_key_1"))
    assert (check.status, check.found) == ("fail", "status 401, api_authentication_failed")
    assert "valid key" in check.remedy
    assert "wrong_key" not in repr(check)


@pytest.mark.parametrize(
    ("status", "body", "word", "said"),
    [
        (404, b'{"api_error_code": "site_not_found"}', "fail", "name of the site"),
        (403, b'{"api_error_code": "api_authorization_failed"}', "warn", "permissions"),
        (429, b'{"api_error_code": "api_request_limit_exceeded"}', "warn", "limit"),
        (503, b"<html>away</html>", "warn", "does not work now"),
        (404, b"<html>not here</html>", "fail", "not from the API"),
        (404, b'{"api_error_code": "private@example.com"}', "fail", "not from the API"),
        (302, b"", "fail", "not from the API"),
        (200, b'{"hosted_page": {}}', "ok", ""),
    ],
)
def test_answers_are_judged(serve: Serve, status: int, body: bytes, word: str, said: str) -> None:
    """Each answer says what to do next, and no text of a stranger is printed."""
    check = login(site(serve(status, body)))
    assert check.status == word
    assert said in check.remedy
    assert "private" not in repr(check)


def test_no_answer_is_a_fault(serve: Serve) -> None:
    """Somebody who takes connections and never answers is named as such."""
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        check = login(site(url), timeout_s=0.3)
    assert (check.status, check.found) == ("fail", "no answer: no answer in time")
