"""What differs between a request and the one that holds its key, by path and never by value.

Nobody keeps the payload of a job that has succeeded. So its record has a sketch: 3 bytes for each
path, in base64. The byte of a value shows that it changed and is too short to confirm a guess.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from zlib import crc32

import schemas

__all__ = ["differences", "sketch"]

#: Bytes of a sketch before base64: a value of more than 64 characters would make Redis keep the
#: whole record in a larger form.
SKETCH_MAX: Final = 48
#: Names in a path before the whole rest is one value: a request that has too many paths is
#: sketched with fewer. At the last one there are at most as many as the schemas have fields.
_DEPTHS: Final = (9, 3, 2)
_TOKEN: Final = 3

_BYTES: Final = tuple(bytes((value,)) for value in range(256))

Part = Mapping[str, Any]


def sketch(kind: str, payload: Part, options: Part) -> bytes:
    """Sketch a request.

    Args:
        kind: of the job.
        payload: canonical.
        options: canonical, those that shape the request.

    Returns:
        Base64 of the depth of its paths, then for each path 2 bytes of its hash and 1 of its
        value's.
    """
    whole = _whole(kind, payload, options)
    for depth in _DEPTHS:
        found: list[tuple[str, Any]] = []
        _collect(whole, "", depth, found)
        if len(found) * _TOKEN < SKETCH_MAX:
            break
    tokens = [_name(path) + _value(value) for path, value in found]
    return b64encode(b"".join((bytes((depth,)), *tokens)))


def differences(stored: bytes, kind: str, payload: Part, options: Part) -> tuple[str, ...]:
    """Name the paths in which a request differs from one that was sketched.

    Args:
        stored: the sketch of the other one; anything else tells nothing.
        kind: of both.
        payload: canonical.
        options: canonical, those that shape the request.

    Returns:
        Paths such as `payload.subscription_items.0.quantity` and `options.skip`, sorted. One of
        256 changes is not seen, and free names inside `custom` that were left out are not known.
    """
    try:
        depth, *tokens = b64decode(stored, validate=True)
    except ValueError:  # there is none, or it is of another make
        return ()
    there = {
        bytes(tokens[at : at + 2]): bytes(tokens[at + 2 : at + 3])
        for at in range(0, len(tokens), _TOKEN)
    }
    here: list[tuple[str, Any]] = []
    _collect(_whole(kind, payload, options), "", depth, here)
    found = {path for path, value in here if there.get(_name(path)) != _value(value)}
    gone = there.keys() - {_name(path) for path, _ in here}
    if gone:
        found |= {path for path in schemas.paths(kind) if _name(path) in gone}
    return tuple(sorted(schemas.shown(path) for path in found))


def _whole(kind: str, payload: Part, options: Part) -> Part:
    parts = {"payload": schemas.rows_form(kind, payload), "options": options}
    return {name: part for name, part in parts.items() if part}


def _collect(value: Any, path: str, depth: int, found: list[tuple[str, Any]]) -> None:
    """Add the paths of a request and what is there; what is skipped is one value."""
    if depth and value and path != "options.skip":
        kind = type(value)
        if kind is dict:
            for name, one in value.items():
                _collect(one, f"{path}.{name}" if path else name, depth - 1, found)
            return
        if kind is list:
            for place, one in enumerate(value):
                _collect(one, f"{path}.{place}", depth - 1, found)
            return
    if path:
        found.append((path, value))


@lru_cache(maxsize=4096)
def _name(path: str) -> bytes:
    return (crc32(path.encode()) & 0xFFFF).to_bytes(2, "big")


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        text = value
    elif isinstance(value, dict | list):
        text = json.dumps(value, sort_keys=True)
    else:
        text = repr(value)
    return _BYTES[crc32(text.encode()) & 0xFF]
