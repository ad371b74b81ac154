"""Headers that are bytes already, as httpx keeps them: nothing is converted on the way."""

from __future__ import annotations

from collections.abc import Iterable

import httpx

__all__ = ["RawHeaders"]


class RawHeaders(httpx.Headers):
    """What httpx makes of pairs of bytes, without looking at the type of each.

    A request and its answer have some fifteen headers; to convert them, one by one, took a sixth
    of a call's time.

    Args:
        pairs: names and values as they are sent.
    """

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        super().__init__()
        self._list = [(name, name.lower(), value) for name, value in pairs]
