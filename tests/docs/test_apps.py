"""The apps of docs/examples, each a web server of its own, on a real queue and the sandbox."""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rig.command import clean
from rig.system import System
from rig.waiting import until

from worker.demo.embedded import free_port

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
APPS = {
    "django": ["django_app.py", "runserver", "--noreload", "{port}"],
    "fastapi": ["-m", "uvicorn", "fastapi_app:app", "--port", "{port}", "--log-level", "warning"],
    "flask": ["-m", "flask", "--app", "flask_app", "run", "--port", "{port}"],
}


class App:
    """One app as a process; `ask` waits until it answers.

    Args:
        system: where it gets its settings.
        name: one of `APPS`.
    """

    def __init__(self, system: System, name: str) -> None:
        self.name = name
        self.port = free_port()
        words = [word.format(port=self.port) for word in APPS[name]]
        # An app needs no key of the API, nor its address.
        told = {name: system.environ[name] for name in ("LARGESSE_REDIS_URL", "CHARGEBEE_SITE")}
        self.process = system.spawn(["python", *words], env=clean(told), name=name, cwd=EXAMPLES)

    def ask(self, method: str, path: str) -> tuple[int, dict[str, str]]:
        """Send a request; gives status and headers, their names in lower case."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            link.request(method, path)
            answer = link.getresponse()
            answer.read()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}
        finally:
            link.close()

    def answers(self) -> bool:
        """Say whether it is up."""
        assert self.process.running, self.process.output()
        try:
            return self.ask("GET", "/")[0] == 404
        except OSError:
            return False


@pytest.fixture
def apps(system: System) -> list[App]:
    """All of them, up; no worker runs yet."""
    started = [App(system, name) for name in APPS]
    for app in started:
        until(app.answers, timeout_s=30, what=f"the {app.name} app")
    return started


def test_apps_lead_each_shopper_to_one_page(apps: list[App], system: System) -> None:
    """Wait, look again, reload: one page; and every trouble has an answer of its own."""
    with ThreadPoolExecutor() as pool:
        first = list(pool.map(lambda app: app.ask("POST", f"/orders/{app.name}/gift"), apps))
    assert {status for status, _ in first} == {202}
    later = [headers["refresh"].partition("url=")[2] for _, headers in first]

    system.worker()
    for app, path in zip(apps, later, strict=True):
        system.producer().job(path.removeprefix("/gifts/")).result(timeout=20)
        asked = [app.ask("GET", path), app.ask("POST", f"/orders/{app.name}/gift")]
        assert {status for status, _ in asked} <= {302, 303}, app.name
        assert len({headers["location"] for _, headers in asked}) == 1
    assert len(system.admin.pages()) == len(apps)

    missing = {"subscription_items": [{"item_price_id": "missing_plan"}]}
    failed = system.producer().gift_checkout(missing, key="order-8")
    until(lambda: failed.state() == "failed", what="the failure")
    for app in apps:
        assert app.ask("GET", f"/gifts/{'0' * 32}")[0] == 404, app.name
        assert app.ask("GET", f"/gifts/{failed.id}")[0] == 502, app.name
    with system.redis() as client:
        client.config_set("maxmemory", 1)
        try:
            refused = {app.ask("POST", "/orders/9/gift")[0] for app in apps}
        finally:
            client.config_set("maxmemory", 0)
    assert refused == {503}
