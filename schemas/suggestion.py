"""Suggestions for names that nobody knows: they are mistyped more often than made up."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

__all__ = ["did_you_mean"]

#: Longest name that is compared: no name of ours is longer, and comparing takes its square.
_LENGTH_MAX: Final = 64
#: How alike two names are, of 1: a slip or two in a name, one in a short one.
_NEAR: Final = 0.7


def did_you_mean(name: object, known: Iterable[str], *, prefix: str = "") -> str:
    """Ask whether a name that is known was meant.

    Args:
        name: what was given.
        known: the names there are.
        prefix: what all of them begin with, which says nothing about how near they are.

    Returns:
        A sentence such as " Did you mean quantity?", with a blank in front; "" when no name is
        near. What was given is not in it.
    """
    if not isinstance(name, str) or len(name) > _LENGTH_MAX:
        return ""
    folded = {_folded(one.removeprefix(prefix)): one for one in known}
    near = difflib.get_close_matches(_folded(name.removeprefix(prefix)), folded, n=1, cutoff=_NEAR)
    return f" Did you mean {folded[near[0]]}?" if near else ""


def _folded(name: str) -> str:
    """Leave out what spellings differ in: itemPriceId, Item-Price-ID, item_price_id."""
    return name.lower().replace("-", "").replace("_", "")
