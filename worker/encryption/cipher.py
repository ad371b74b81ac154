"""The cipher: encrypts with the first key, decrypts with each, and gives digests their mark.

Without keys every text stays as it is. A text that was stored before there were keys is plain and
is read as such, so encryption can be turned on under load.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from worker.encryption.jwe import (
    NONCE_BYTES,
    MalformedError,
    Token,
    header_begin,
    header_end,
    is_encrypted,
    seal,
)
from worker.errors import (
    DecryptionError,
    EncryptionError,
    EncryptionKeyMissingError,
    SettingsError,
)
from worker.settings import Settings
from worker.settings.encryption_key import KEY_ID, VARIABLE, EncryptionKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: The two hashes of an HMAC, begun.
_Mac = tuple[Any, Any]

__all__ = ["PLAIN", "Cipher", "Part"]

#: What of a job a text is. A text that was moved to another place cannot be decrypted there.
Part = Literal["message", "key", "outcome", "attempt", "reason", "parts"]

_PARTS: Final[tuple[Part, ...]] = get_args(Part)

#: Tells the key of the marks from the one that encrypts: `info` of HKDF-SHA256 (RFC 5869).
MARK_INFO: Final = b"largesse digest"


@dataclass(frozen=True, slots=True)
class Cipher:
    """Encrypts and decrypts what is private. Equal keys make equal ciphers; threads may share one.

    Args:
        keys: the first one encrypts, all of them decrypt; none leaves every text as it is.

    Raises:
        SettingsError: there are keys, and the extra `encryption` is not installed.
    """

    keys: tuple[EncryptionKey, ...] = ()
    _gcms: Mapping[str, AESGCM] = field(init=False, repr=False, compare=False)
    _macs: Mapping[str, _Mac] = field(init=False, repr=False, compare=False)
    _begins: Mapping[str, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_gcms", {key.id: _gcm(key) for key in self.keys})
        object.__setattr__(self, "_macs", {key.id: _mac(_mark_key(key)) for key in self.keys})
        begins = {part: header_begin(key.id, part) for key in self.keys[:1] for part in _PARTS}
        object.__setattr__(self, "_begins", begins)

    @staticmethod
    def of(settings: Settings) -> Cipher:
        """Give the cipher that the settings ask for."""
        return _cipher(settings.encryption) if settings.encryption else PLAIN

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of the keys, the one that encrypts first."""
        return tuple(key.id for key in self.keys)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Cipher, (self.keys,))

    def encrypt(self, text: bytes, *, job_id: str, part: Part) -> bytes:
        """Encrypt a text of a job with the first key; without keys it stays as it is.

        Args:
            text: any bytes; nothing at all stays nothing.
            job_id: the job's id.
            part: what of the job it is.
        """
        if not self.keys or not text:
            return text
        protected = self._begins[part] + header_end(job_id)
        return seal(self._gcms[self.keys[0].id], os.urandom(NONCE_BYTES), protected, text)

    def encrypt_job(self, message: bytes, key: bytes, *, job_id: str) -> tuple[bytes, bytes]:
        """Encrypt the message and the caller's key of a job: cheaper than one after the other.

        Args:
            message: the encoded message.
            key: the caller's key; nothing at all stays nothing.
            job_id: the job's id.
        """
        if not self.keys:
            return message, key
        gcm, begins, end = self._gcms[self.keys[0].id], self._begins, header_end(job_id)
        random = os.urandom(2 * NONCE_BYTES)
        sealed = seal(gcm, random[:NONCE_BYTES], begins["message"] + end, message)
        return sealed, key and seal(gcm, random[NONCE_BYTES:], begins["key"] + end, key)

    def decrypt(self, data: bytes, *, job_id: str, part: Part) -> bytes:
        """Give a stored text of a job as it was; one that is not encrypted is given as it is.

        Raises:
            EncryptionKeyMissingError: its key is not among the keys.
            DecryptionError: it was changed or moved, or its key is another one of the same id.
        """
        if not is_encrypted(data):
            return data
        key_id = "?"
        try:
            token = Token(data)
            if self.keys and token.protected == self._begins[part] + header_end(job_id):
                key_id = self.keys[0].id  # what is encrypted most is not looked into
            else:
                key_id = self._checked(token.header(), job_id, part)
            return token.open(self._gcms[key_id])
        except MalformedError:
            raise DecryptionError(job_id, key_id) from None

    def _checked(self, found: Mapping[str, Any], job_id: str, part: Part) -> str:
        """Give the id of the key that a header names, if the header is of this place."""
        key_id = _shown(found.get("kid"))
        if key_id not in self._gcms:
            raise EncryptionKeyMissingError(job_id, key_id)
        if (found.get("job"), found.get("part")) != (job_id, part):
            raise DecryptionError(job_id, key_id)
        return key_id

    def shown(self, data: bytes, *, job_id: str, part: Part) -> str:
        """Give a stored text for a person: as it was, or with which key it is encrypted."""
        try:
            return self.decrypt(data, job_id=job_id, part=part).decode(errors="replace")
        except EncryptionError as error:
            return error.brief

    def mark(self, digest: str) -> str:
        """Give what is stored of a digest: itself, or the id of the first key and a keyed hash.

        With a plain digest, people who read Redis could confirm a guess of the payload.
        """
        return f"{self.keys[0].id}:{self._hash(self.keys[0].id, digest)}" if self.keys else digest

    def is_mark_of(self, mark: str, digest: str) -> bool:
        """Say whether a mark is this digest's, under whichever key it was made.

        Args:
            mark: what is stored.
            digest: of the request at hand.

        Raises:
            KeyError: the mark's key is not among the keys; the error's argument is its id.
        """
        key_id, colon, stored = mark.rpartition(":")
        own = self._hash(key_id, digest) if colon else digest
        return hmac.compare_digest(stored.encode(), own.encode())

    def _hash(self, key_id: str, digest: str) -> str:
        inner, outer = self._macs[key_id]
        inner, outer = inner.copy(), outer.copy()
        inner.update(digest.encode())
        outer.update(inner.digest())
        return str(outer.hexdigest())


@lru_cache(maxsize=16)
def _cipher(keys: tuple[EncryptionKey, ...]) -> Cipher:
    return Cipher(keys)


def _gcm(key: EncryptionKey) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        remedy = "Install it with: pip install 'largesse[encryption]'"
        raise SettingsError(VARIABLE, "needs the extra encryption", remedy) from None
    return AESGCM(key.secret)


def _mark_key(key: EncryptionKey) -> bytes:
    """Derive the key of the marks: HKDF-SHA256 without a salt, one block."""
    extracted = hmac.digest(bytes(hashlib.sha256().digest_size), key.secret, "sha256")
    return hmac.digest(extracted, MARK_INFO + b"\x01", "sha256")


def _mac(key: bytes) -> _Mac:
    """Begin the two hashes of HMAC-SHA256 (RFC 2104); each time it would cost twice as much."""
    block = key.ljust(hashlib.sha256().block_size, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
    return hashlib.sha256(inner), hashlib.sha256(outer)


def _shown(key_id: object) -> str:
    """Give the id of a key, if it is one: anybody may have written it."""
    return key_id if isinstance(key_id, str) and KEY_ID.fullmatch(key_id) else "?"


#: Encrypts nothing.
PLAIN: Final = Cipher()
