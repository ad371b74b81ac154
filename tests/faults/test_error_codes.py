"""Every status and api_error_code of docs/errors.md, over TCP through a worker to the queue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rig.invariants import PREFIX
from rig.sandbox import SandboxServer
from rig.server import RedisServer
from rig.tenants import Tenants
from rig.waiting import until
from rig.world import World

#: What the API documents, and what proxies add (no code: they answer with a page of their own).
DOCUMENTED: dict[int, list[str | None]] = {
    400: [
        "invalid_request", "param_wrong_value", "duplicate_entry", "resource_limit_exhausted",
        "resource_limit_exceeded", "configuration_incompatible", "payment_processing_failed",
        "payment_method_verification_failed", "payment_method_not_present",
        "payment_gateway_currency_incompatible", "payment_intent_invalid",
        "payment_intent_invalid_amount",
    ],
    401: ["api_authentication_failed", "basic_authentication_failed"],
    403: ["api_authorization_failed", "request_blocked"],
    404: ["resource_not_found", "site_not_found", None],
    405: ["http_method_not_supported"],
    407: [None],
    408: [None],
    409: ["invalid_state_for_request"],
    422: ["unable_to_process_request"],
    429: ["api_request_limit_exceeded", "lock_timeout", "third_party_api_request_limit_exceeded"],
    500: ["internal_error"],
    502: [None],
    503: [
        "internal_temporary_error", "db_connection_failure", "site_not_ready",
        "site_read_only_mode",
    ],
    504: [None],
}  # fmt: skip
CASES = [(status, code) for status, codes in DOCUMENTED.items() for code in codes]
TRIPS = {(404, "site_not_found"), (404, None), (407, None)}
MAINTENANCE = {"site_not_ready", "site_read_only_mode"}


@dataclass(frozen=True)
class Seen:
    """What one answer did to its job and its site."""

    state: str
    attempts: int
    unsure: bool
    tripped: str | None
    throttled: bool
    calls: int


def expected(status: int, code: str | None) -> Seen:
    """What docs/errors.md says of one answer to a gift's first attempt."""
    if status in {401, 403} or (status, code) in TRIPS or code in MAINTENANCE:
        reason = code or f"http_{status}"
        # The job waits in its line; the answer cost it nothing.
        return Seen("queued", 0, False, reason, False, 1)
    if status in {429, 503}:
        throttled = code == "api_request_limit_exceeded"
        return Seen("delayed", int(status == 503), False, None, throttled, 1)
    if status >= 500 or status == 408:
        return Seen("delayed", 1, True, None, False, 1)
    return Seen("failed", 1, False, None, False, 1)


def name_of(status: int, code: str | None) -> str:
    """The name of the site that answers so."""
    return f"s{status}-{(code or 'none').replace('_', '-')}"


def _fault(status: int, code: str | None) -> dict[str, Any]:
    body = {"body": "html"} if code is None else {"code": code}
    return {"status": status, "site": name_of(status, code), **body}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seen]]:
    """One gift to each site, and what became of it: waits are drawn from 20 minutes."""
    folder: Path = tmp_path_factory.mktemp("codes")
    server, sandbox = RedisServer(folder / "redis"), SandboxServer(folder / "sandbox")
    server.start()
    sandbox.start()
    world = World(folder / "world", server, sandbox, full=False)
    try:
        yield _ask_all(world)
    finally:
        world.close()
        sandbox.stop()
        server.stop()


def _ask_all(world: World) -> dict[str, Seen]:
    names = [name_of(*case) for case in CASES]
    tenants = Tenants(world, {name: {} for name in names})
    for case in CASES:
        world.api.admin.add_fault("error", **_fault(*case))
    minutes = {f"LARGESSE_GIFT_CHECKOUT_{one}_MS": 1_200_000 for one in ("BASE", "CAP")}
    world.started(env=tenants.env(**minutes), size=1)
    for name in names:
        tenants.produce(name, 1)
    ids = {name: tenants.ids(name)[0] for name in names}
    until(
        lambda: all(
            tenants.history(one) or world.client.exists(f"{PREFIX}out:{one}")
            for one in ids.values()
        ),
        what="an answer for each",
    )
    return {name: _look(tenants, name, job_id) for name, job_id in ids.items()}


def _look(tenants: Tenants, name: str, job_id: str) -> Seen:
    record = tenants.world.client.hgetall(f"{PREFIX}job:{job_id}")
    if tenants.field(name, "tripped"):  # it stands in its line again in a moment
        until(lambda: tenants.world.client.hget(f"{PREFIX}job:{job_id}", "state") == "queued")
        record = tenants.world.client.hgetall(f"{PREFIX}job:{job_id}")
    return Seen(
        state=record["state"],
        attempts=int(record.get("attempts", 0)),
        unsure="unsure_since" in record,
        tripped=tenants.field(name, "tripped"),
        throttled=tenants.field(name, "throttled_until") is not None,
        calls=len(tenants.requests(name)),
    )


@pytest.mark.parametrize(("status", "code"), CASES)
def test_answer_does_to_its_job_what_the_table_says(
    seen: dict[str, Seen], status: int, code: str | None
) -> None:
    """State, attempts, memory of an unknown outcome, throttling and trip after one such answer."""
    assert seen[name_of(status, code)] == expected(status, code)


def test_answers_are_those_that_are_documented() -> None:
    """The cases here are the rows of the table."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "errors.md").read_text("utf-8")
    rows = page.split("\n## One table\n")[1].split("\n## ")[0]
    missing = [case for case in CASES if f"| {case[0]} | {_cell(case[1])} |" not in rows]
    assert missing == []


def _cell(code: str | None) -> str:
    return "none" if code is None else f"`{code}`"
