"""Encryption keys of tests: the same id always stands for the same key."""

from __future__ import annotations

import base64
import hashlib


def keys(*ids: str) -> str:
    """Give what `LARGESSE_ENCRYPTION_KEYS` holds for keys of these ids, the first one first."""
    return ",".join(f"{one}:{_key(one)}" for one in ids)


def _key(key_id: str) -> str:
    return base64.b64encode(hashlib.sha256(key_id.encode()).digest()).decode()
