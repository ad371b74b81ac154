"""The outbox of docs/examples: order and job are written together, and no cut makes two jobs."""

from __future__ import annotations

import importlib.util
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import marshmallow
import pytest
from rig.command import clean
from rig.system import System

OUTBOX = Path(__file__).resolve().parents[2] / "docs" / "examples" / "outbox.py"
ITEM = "basic-USD-monthly"


@pytest.fixture(scope="module")
def outbox() -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("outbox_example", OUTBOX)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shop(outbox: ModuleType, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The data base of a shop."""
    db: sqlite3.Connection = outbox.open_shop(str(tmp_path / "shop.db"))
    yield db
    db.close()


def relay(system: System, folder: Path, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run the relay as a process; gives exit code and output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(OUTBOX), "shop.db", "relay"],
        cwd=folder, env=clean({**system.environ, **(env or {})}), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def rows(shop: sqlite3.Connection, what: str) -> list[tuple[object, ...]]:
    """Read columns of the outbox."""
    return shop.execute(f"SELECT {what} FROM outbox ORDER BY key").fetchall()


def test_order_and_job_are_written_together_or_not(
    outbox: ModuleType, shop: sqlite3.Connection
) -> None:
    """A transaction that breaks off and a payload that is refused leave neither."""
    outbox.order(shop, "1", ITEM)
    shop.execute("CREATE TRIGGER full BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'x'); END")
    with pytest.raises(sqlite3.IntegrityError):
        outbox.order(shop, "2", ITEM)
    with pytest.raises(marshmallow.ValidationError):
        outbox.order(shop, "3", "x" * 101)
    assert shop.execute("SELECT id FROM orders").fetchall() == [("1",)]
    assert rows(shop, "key, job_id") == [("order-1", None)]


def test_relay_that_is_killed_in_between_makes_no_second_job(
    outbox: ModuleType, shop: sqlite3.Connection, system: System, tmp_path: Path
) -> None:
    """Killed before or after Redis took the jobs: the next run goes on, one page an order."""
    for number in range(3):
        outbox.order(shop, str(number), ITEM)
    for point in ("producer_before_enqueue", "producer_after_enqueue"):
        code, _ = relay(system, tmp_path, {"LARGESSE_CRASH_AT": point})
        assert code == -signal.SIGKILL
        assert rows(shop, "job_id") == [(None,)] * 3
    with system.redis() as client:
        assert len(list(client.scan_iter("*}:job:*"))) == 3

    assert relay(system, tmp_path) == (0, "sent 3, ended 0\n")
    system.worker()
    for (job_id,) in rows(shop, "job_id"):
        system.producer().job(str(job_id)).result(timeout=20)
    assert relay(system, tmp_path) == (0, "sent 0, ended 3\n")
    assert relay(system, tmp_path) == (0, "sent 0, ended 0\n")
    assert {state for (state,) in rows(shop, "state")} == {"succeeded"}
    pages = system.admin.pages()
    assert len(pages) == 3
    for (url,) in rows(shop, "page_url"):
        assert sum(page["id"] in str(url) for page in pages) == 1
