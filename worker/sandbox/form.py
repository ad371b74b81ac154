"""Decoding of form bodies in the bracket form: ``a``, ``a[b]``, ``a[0]`` and ``a[b][0]``."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from worker.sandbox.errors import Refusal

#: Brackets of a name. No parameter of the API is nested deeper.
MAX_DEPTH = 3

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]+\])*)\Z")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")

#: A decoded form: text at the leaves, groups by name, lists by index (int), which may have gaps.
Tree = dict[str | int, Any]


def decode(body: bytes) -> Tree:
    """Decode a form body into nested dicts with text at the leaves.

    Raises:
        Refusal: 400 for broken escapes, bytes that are not UTF-8, a name that is malformed, given
            twice, or both a value and a group.
    """
    tree: Tree = {}
    for pair in body.split(b"&"):
        if not pair:
            continue
        name, _, value = pair.partition(b"=")
        _put(tree, _text(name), _text(value))
    return tree


def _text(raw: bytes) -> str:
    if _BROKEN_ESCAPE.search(raw):
        raise Refusal(400, message="the body has a broken percent escape")
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(400, message="the body is not UTF-8") from None


def _put(tree: Tree, name: str, value: str) -> None:
    path = _path(name)
    place = tree
    for part in path[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise Refusal(400, message=f"{name} : both a value and a group", param=name)
    if path[-1] in place:
        raise Refusal(400, "duplicate_entry", message=f"{name} : given twice", param=name)
    place[path[-1]] = value


def _path(name: str) -> list[str | int]:
    match = _NAME.match(name)
    if match is None:
        raise Refusal(400, message=f"{name} : malformed parameter name", param=name)
    brackets = match[2][1:-1].split("][") if match[2] else []
    path: list[str | int] = [match[1]]
    path += [int(part) if _INDEX.fullmatch(part) else part for part in brackets]
    if len(path) > MAX_DEPTH:
        raise Refusal(400, message=f"{name} : nested too deep", param=name)
    return path
