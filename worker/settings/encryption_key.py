"""The keys that encrypt what is private in Redis, as `LARGESSE_ENCRYPTION_KEYS` lists them.

    2026-05:BASE64                        one key: an id, and 32 bytes in base64
    2026-05:BASE64,2025-11:BASE64         the first one encrypts, all of them decrypt
    2026-05:file:/run/secrets/key         the base64 is in a file
    file:/run/secrets/keys                the whole list is in a file

Keys are read once, at the start of a process.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final

from worker.errors import SettingsError
from worker.settings.secret import Secret

__all__ = ["KEY_ID", "EncryptionKey", "parse_keys"]

VARIABLE: Final = "LARGESSE_ENCRYPTION_KEYS"
#: Bytes of a key of AES-256.
KEY_BYTES: Final = 32
#: What an id of a key looks like. It stands in every record, and in errors and logs.
KEY_ID: Final = re.compile(r"(?!file\Z|env\Z)[A-Za-z0-9_-]{1,32}")

_FORM: Final = (
    "Write ID:KEY, with an ID of 1 to 32 letters, digits, - and _, and a KEY of 32 bytes in "
    "base64 or file:/path; separated by commas. Make a key with: openssl rand -base64 32"
)


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """One key. Its repr shows the id alone.

    Attributes:
        id: names the key in each record; it never stands for another key.
        secret: the 32 bytes.
    """

    id: str
    secret: bytes = field(repr=False)


def parse_keys(text: str | None) -> tuple[EncryptionKey, ...]:
    """Read the list of keys.

    Args:
        text: what the variable holds; None and "" are no keys.

    Raises:
        SettingsError: it cannot be read. No key is repeated.
    """
    if text is not None and text.startswith("file:/"):
        text = _of_file(text, "the encryption keys")
    keys = tuple(_parse(item.strip()) for item in (text or "").split(",") if item.strip())
    ids = [key.id for key in keys]
    for key_id in ids:
        if ids.count(key_id) > 1:
            remedy = "Give each key an id of its own: a record names its key by it."
            raise SettingsError(VARIABLE, f"has key {key_id} twice", remedy)
    return keys


def _parse(item: str) -> EncryptionKey:
    key_id, colon, text = item.partition(":")
    if not colon or not KEY_ID.fullmatch(key_id):
        raise SettingsError(VARIABLE, "has an entry that is no ID:KEY", _FORM)
    if text.startswith("file:"):
        text = _of_file(text, f"encryption key {key_id}")
    try:
        plain = text.rstrip("=").translate(_TO_STANDARD)
        secret = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise SettingsError(VARIABLE, f"has a key {key_id} that is no base64", _FORM) from None
    if len(secret) != KEY_BYTES:
        problem = f"has a key {key_id} of {len(secret)} bytes instead of {KEY_BYTES}"
        raise SettingsError(VARIABLE, problem, _FORM)
    return EncryptionKey(key_id, secret)


def _of_file(reference: str, holds: str) -> str:
    return Secret(reference, variable=VARIABLE, holds=holds).read()


_TO_STANDARD: Final = str.maketrans("-_", "+/")
