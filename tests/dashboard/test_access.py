"""The way in: who may see the dashboard, and what every answer says to the browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rig.shelf import Shelf
from rig.visitor import Visitor

from worker import Settings
from worker.dashboard.app import create_app
from worker.dashboard.dashboard import Dashboard
from worker.dashboard.options import VARIABLES, Options
from worker.demo.embedded import free_port
from worker.errors import SettingsError
from worker.operator import OperatorClient

Visit = Callable[..., Visitor]
ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct-horse-battery"
TOKEN = "0123456789abcdef-token"
PAGES = ("/", "/jobs", "/sites", "/dead", "/held", "/audit")


def csrf_of(text: str) -> str:
    """The secret of the first form on a page."""
    found = re.search(r'name="csrf" value="([^"]+)"', text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", [*PAGES, "/nothing-here", "/static/dashboard.css"])
def test_every_answer_has_strict_headers(visit: Visit, path: str) -> None:
    """No inline script or style, no frame, no cache, no foreign referrer; also on errors."""
    answer = visit().get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "server" not in answer.headers


def test_pages_have_nothing_inline(visit: Visit, shelf: Shelf) -> None:
    """The policy would block inline scripts, styles and handlers: there are none."""
    job = shelf.fail(shelf.gift())
    visitor = visit()
    for path in (*PAGES, f"/jobs/{job.id}"):
        text = visitor.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), path
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text), path


def test_without_a_password_only_this_machine_is_served(visit: Visit) -> None:
    """A foreign name that leads here gets nothing: it could be a page of somebody else's."""
    assert visit().get("/").status_code == 200
    assert visit(base_url="http://localhost:8500").get("/").status_code == 200
    assert visit(base_url="http://[::1]:8500").get("/").status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        answer = visit().get("/", headers={"host": host})
        assert answer.status_code == 421, host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "dashboard.example"])
def test_beyond_this_machine_a_password_is_needed(host: str) -> None:
    """It refuses to start, and says what to set."""
    with pytest.raises(SettingsError, match="LARGESSE_DASHBOARD_PASSWORD") as refused:
        Options(host=host)
    assert "LARGESSE_DASHBOARD_TOKEN" in str(refused.value)
    assert not Options(host=host, password=PASSWORD).is_open
    assert not Options(host=host, token=TOKEN).is_open


def test_options_are_read_from_the_environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Secrets may be in files; what the command line says wins; short ones are refused."""
    file = tmp_path_factory.mktemp("secret") / "password"
    file.write_text(f"{PASSWORD}\n")
    environ = {
        "LARGESSE_DASHBOARD_PASSWORD": f"file:{file}",
        "LARGESSE_DASHBOARD_TOKEN": TOKEN,
        "LARGESSE_DASHBOARD_READ_ONLY": "true",
    }
    options = Options.from_env(environ, host="0.0.0.0", port=0)
    assert (options.password, options.token, options.read_only) == (PASSWORD, TOKEN, True)
    assert (options.reveal, options.https) == (False, False)
    assert PASSWORD not in repr(options)
    assert TOKEN not in repr(options)
    with pytest.raises(SettingsError, match="too short"):
        Options.from_env({"LARGESSE_DASHBOARD_PASSWORD": "short"})


def test_variables_are_documented() -> None:
    """docs/dashboard.md lists each with its default, and no other."""
    page = (ROOT / "docs" / "dashboard.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(LARGESSE_\w+)` \| `?(.*?)`? \|", page, re.MULTILINE))
    wanted = {one.name: str(one.default).lower() for one in VARIABLES}
    assert rows == {**wanted, "LARGESSE_DASHBOARD_PASSWORD": "not set",
                    "LARGESSE_DASHBOARD_TOKEN": "not set"}  # fmt: skip


def test_password_opens_the_pages(visit: Visit) -> None:
    """Without it every page leads to the login; with it the page that was asked for opens."""
    visitor = visit(password=PASSWORD)
    for path in PAGES:
        answer = visitor.get(path)
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/login?next=%2F")
    assert visitor.get("/live", headers={"accept": "text/event-stream"}).status_code == 401
    assert visitor.post("/sites/acme-test/pause", data={"csrf": ""}).status_code in {303, 401}
    wrong = visitor.post("/login", data={"password": "wrong-password", "next": "/jobs"})
    assert wrong.status_code == 403
    assert "not the password" in wrong.text
    assert "set-cookie" not in wrong.headers
    entered = visitor.post(
        "/login", data={"password": PASSWORD, "next": "/jobs?state=held", "name": "Ada"}
    )
    assert (entered.status_code, entered.headers["location"]) == (303, "/jobs?state=held")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert visitor.get("/jobs").status_code == 200


def test_logging_out_ends_the_session(visit: Visit) -> None:
    """The cookie of before opens nothing any more."""
    visitor = visit(password=PASSWORD)
    visitor.post("/login", data={"password": PASSWORD})
    text = visitor.get("/").text
    kept = dict(visitor.cookies)
    assert visitor.post("/logout", data={"csrf": csrf_of(text)}).status_code == 303
    for name, value in kept.items():
        visitor.cookies.set(name, value)
    assert visitor.get("/").status_code == 303


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "/\\evil.example", "x"])
def test_login_leads_nowhere_else(visit: Visit, to: str) -> None:
    """A link with a foreign target leads to the overview."""
    answer = visit(password=PASSWORD).post("/login", data={"password": PASSWORD, "next": to})
    assert answer.headers["location"] == "/"


def test_wrong_passwords_have_to_wait(visit: Visit) -> None:
    """After five within a minute not even the right one is looked at."""
    visitor = visit(password=PASSWORD)
    for _ in range(5):
        assert visitor.post("/login", data={"password": "a" * 12}).status_code == 403
    answer = visitor.post("/login", data={"password": PASSWORD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60


def test_token_opens_for_programs(visit: Visit, shelf: Shelf) -> None:
    """A bearer token needs neither cookie nor form secret; a wrong one gets 401."""
    job = shelf.fail(shelf.gift())
    visitor = visit(token=TOKEN)
    right = {"authorization": f"Bearer {TOKEN}"}
    assert visitor.get("/", headers=right).status_code == 200
    assert visitor.post(f"/jobs/{job.id}/replay", headers=right).status_code == 303
    assert job.state() == "queued"
    for wrong in ("Bearer nope", "Basic abc", "Bearer", f"bearer {TOKEN}x"):
        assert visitor.get("/", headers={"authorization": wrong}).status_code == 401


def test_https_makes_the_cookie_strict(visit: Visit) -> None:
    """Behind a proxy that speaks HTTPS the cookie goes nowhere else."""
    visitor = visit(password=PASSWORD, https=True, base_url="https://ops.example")
    answer = visitor.post("/login", data={"password": PASSWORD})
    assert answer.headers["set-cookie"].startswith("__Host-largesse=")
    assert "Secure" in answer.headers["set-cookie"]
    assert "max-age" in answer.headers["strict-transport-security"]
    assert visitor.get("/").status_code == 200


def test_actions_need_the_secret_of_the_session(visit: Visit, shelf: Shelf) -> None:
    """A form without it, with a foreign one, or from another site does nothing."""
    job = shelf.fail(shelf.gift())
    visitor, other = visit(), visit()
    secret = csrf_of(visitor.get(f"/jobs/{job.id}").text)
    foreign = csrf_of(other.get(f"/jobs/{job.id}").text)
    path = f"/jobs/{job.id}/replay"
    for data in ({}, {"csrf": ""}, {"csrf": foreign}):
        assert visitor.post(path, data=data).status_code == 403
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert visitor.post(path, data={"csrf": secret}, headers=headers).status_code == 403
    assert job.state() == "failed"
    same = {"origin": "http://127.0.0.1:8500", "sec-fetch-site": "same-origin"}
    assert visitor.post(path, data={"csrf": secret}, headers=same).status_code == 303
    assert job.state() == "queued"


def test_a_header_alone_is_no_token(visit: Visit, shelf: Shelf) -> None:
    """Where all of this machine are let in, some Authorization does not replace the secret."""
    job = shelf.fail(shelf.gift())
    visitor = visit()
    for header in ("Basic YTpi", "Bearer x", "Bearer"):
        answer = visitor.post(f"/jobs/{job.id}/replay", headers={"authorization": header})
        assert answer.status_code == 403, header
    assert job.state() == "failed"


def test_programs_do_not_push_out_people(visit: Visit) -> None:
    """Who asks for no page gets no session: a probe every second logs nobody out."""
    visitor = visit()
    for path in ("/static/dashboard.css", "/jobs"):
        assert "set-cookie" not in visitor.get(path, headers={"accept": "*/*"}).headers
    assert "set-cookie" in visitor.get("/jobs").headers


def test_login_is_in_the_audit_list(visit: Visit, shelf: Shelf) -> None:
    """Who came in, by the name that was given."""
    visit(password=PASSWORD).post("/login", data={"password": PASSWORD, "name": "Ada"})
    with shelf.operator() as operator:
        (one,) = operator.audit.read()
    assert (one.who, one.action, one.target) == ("dashboard Ada", "login", "dashboard")


def test_read_only_forbids_every_move(visit: Visit, shelf: Shelf) -> None:
    """No page has a form for it, and a form made by hand is refused."""
    job = shelf.fail(shelf.gift())
    visitor = visit(read_only=True, reveal=True)
    pages = {path: visitor.get(path).text for path in (*PAGES, f"/jobs/{job.id}")}
    forms = {
        a for text in pages.values() for a in re.findall(r'method="post" action="([^"]+)', text)
    }
    assert {path for path in forms if not path.endswith("/reveal")} == set()
    secret = csrf_of(pages[f"/jobs/{job.id}"])
    for path in (
        f"/jobs/{job.id}/replay", f"/jobs/{job.id}/discard", f"/jobs/{job.id}/cancel",
        "/sites/acme-test/pause", "/sites/acme-test/resume", "/sites/acme-test/rate",
        "/dead/plan", "/dead/act", "/held/act",
    ):  # fmt: skip
        answer = visitor.post(path, data={"csrf": secret, "job": job.id, "verb": "replay"})
        assert answer.status_code == 403, path
    assert job.state() == "failed"


def test_forms_are_bounded(visit: Visit) -> None:
    """A body that is too large, or no form, is refused."""
    visitor = visit()
    visitor.get("/")
    assert visitor.post("/dead/plan", content=b"x=" + b"a" * 300_000).status_code == 413
    assert visitor.post("/dead/plan", content=b"\xff\xfe").status_code == 400


def test_unreachable_redis_is_told() -> None:
    """A page that cannot be read says why, with 503."""
    settings = Settings.from_env({"LARGESSE_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"})
    with OperatorClient(settings) as operator:
        dashboard = Dashboard(options=Options(), settings=settings, operator=operator)
        visitor = Visitor(create_app(dashboard), base_url="http://127.0.0.1")
        answer = visitor.get("/")
        visitor.close()
    assert answer.status_code == 503
    assert "Cannot reach Redis" in answer.text
