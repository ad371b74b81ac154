"""JWE, compact form (RFC 7516), `alg` "dir" and `enc` "A256GCM": how an encrypted text is written.

    BASE64URL(header) .. BASE64URL(nonce) . BASE64URL(ciphertext) . BASE64URL(tag)

A library for JOSE of any language reads and writes it. The header names the key (`kid`), the job
(`job`) and what of the job the text is (`part`). It is authenticated: a text that was moved to
another job or another place is refused like one that was changed.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = [
    "NONCE_BYTES",
    "MalformedError",
    "Token",
    "header_begin",
    "header_end",
    "is_encrypted",
    "seal",
]

#: Bytes of a nonce: 96 bits at random. One key is good for 2^32 texts (NIST SP 800-38D).
NONCE_BYTES: Final = 12
#: Bytes of the tag, which GCM puts behind the ciphertext.
TAG_BYTES: Final = 16
#: How base64 writes `{"`, with which every header begins. Plain JSON and bare words do not.
_BEGIN: Final = b"eyJ"

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
#: What base64 has and BASE64URL has not.
_NOT_URL: Final = b"=\n"
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


class MalformedError(ValueError):
    """A text begins like a JWE and is none that opens here."""


def is_encrypted(data: bytes) -> bool:
    """Say whether a stored text is encrypted."""
    return data.startswith(_BEGIN) and data.count(b".") == 4


def header_begin(key_id: str, part: str) -> bytes:
    """Give the encoded header of a text up to the id of its job: it is the same for all jobs.

    Args:
        key_id: id of the key.
        part: what of a job the text is.
    """
    begin = f'{{"alg":"dir","enc":"A256GCM","kid":"{key_id}","part":"{part}","job":'
    return _encode(begin.encode() + b" " * (-len(begin) % 3))  # so that more may be put behind it


def header_end(job_id: str) -> bytes:
    """Give the rest of the encoded header: it is the same for all texts of a job.

    Args:
        job_id: id of the job.
    """
    return _encode(b"%b}" % encode_basestring_ascii(job_id).encode())


def seal(gcm: AESGCM, nonce: bytes, protected: bytes, text: bytes) -> bytes:
    """Encrypt a text.

    Args:
        gcm: the key.
        nonce: `NONCE_BYTES` at random; never the same again.
        protected: the encoded header.
        text: any bytes.
    """
    sealed = gcm.encrypt(nonce, text, protected)
    body, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
    pieces = (protected, b"", b2a_base64(nonce), b2a_base64(body), b2a_base64(tag))
    return b".".join(pieces).translate(_TO_URL, _NOT_URL)


class Token:
    """An encrypted text, taken apart.

    Args:
        data: a text for which `is_encrypted` is true.

    Attributes:
        protected: the encoded header.

    Raises:
        MalformedError: it is no JWE of this kind.
    """

    __slots__ = ("_nonce", "_sealed", "protected")

    def __init__(self, data: bytes) -> None:
        try:
            self.protected, wrapped, nonce, body, tag = data.split(b".")
            self._nonce, self._sealed = _decode(nonce), _decode(body) + _decode(tag)
        except ValueError:
            raise MalformedError from None
        if wrapped or len(self._nonce) != NONCE_BYTES:
            raise MalformedError

    def header(self) -> Mapping[str, Any]:
        """Give the members of the header.

        Raises:
            MalformedError: it is no header of this kind.
        """
        try:
            found: Mapping[str, Any] = json.loads(_decode(self.protected))
            if (found["alg"], found["enc"]) == ("dir", "A256GCM"):
                return found
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        raise MalformedError

    def open(self, gcm: AESGCM) -> bytes:
        """Decrypt it.

        Raises:
            MalformedError: it was changed, or this is not its key.
        """
        try:
            return gcm.decrypt(self._nonce, self._sealed, self.protected)
        except _invalid_tag():
            raise MalformedError from None


def _encode(data: bytes) -> bytes:
    return b2a_base64(data).translate(_TO_URL, _NOT_URL)


def _decode(data: bytes) -> bytes:
    padded = data.translate(_FROM_URL) + b"=" * (-len(data) % 4)
    return a2b_base64(padded, strict_mode=True)


def _invalid_tag() -> type[Exception]:
    """Give what the library raises; asked for only when it raises."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

    return InvalidTag
