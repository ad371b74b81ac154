"""Jobs to look at, and the command in this process: quicker than a process for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from rig.command import FOREIGN, Ran
from rig.shelf import Shelf

Typed = Callable[..., Ran]


@pytest.fixture
def shelf(redis_url: str) -> Iterator[Shelf]:
    """Jobs in any state, on an empty database."""
    made = Shelf(redis_url)
    yield made
    made.close()


@pytest.fixture
def typed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Typed:
    """Run `largesse WORDS` in this process, on the shelf's database."""
    from worker.cli import main

    for name in os.environ:
        if name.startswith(FOREIGN) and not name.startswith("LARGESSE_TEST_"):
            monkeypatch.delenv(name)
    for name, value in shelf.environ.items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> Ran:
        monkeypatch.setattr("sys.argv", ["largesse", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capfd.readouterr()
        return Ran(int(ended.value.code or 0), shown.out, shown.err)

    return run
