"""The benchmark's own server, once for all of its tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.server import Server, serving


@pytest.fixture(scope="module")
def bench_server() -> Iterator[Server]:
    """A server as the benchmark starts it."""
    with serving() as server:
        yield server
