"""Headers of bytes: what httpx would have made of them."""

from __future__ import annotations

import httpx
from hypothesis import given
from hypothesis import strategies as st

from worker.api.raw_headers import RawHeaders

NAMES = st.sampled_from([b"Date", b"date", b"Set-Cookie", b"X-Test", b"Retry-After"])
PAIRS = st.lists(st.tuples(NAMES, st.binary(max_size=12)), max_size=8)


@given(PAIRS)
def test_raw_headers_are_those_of_httpx(pairs: list[tuple[bytes, bytes]]) -> None:
    """They read as if httpx had taken them in itself, alone and in a request or an answer."""
    ours, theirs = RawHeaders(pairs), httpx.Headers(pairs)
    assert ours.raw == theirs.raw
    assert ours.multi_items() == theirs.multi_items()
    assert ours == theirs
    assert httpx.Request(
        "GET", "http://a", headers=ours, stream=httpx.ByteStream(b"")
    ).headers == (theirs)
    assert httpx.Response(200, headers=ours, stream=httpx.ByteStream(b"")).headers == theirs
