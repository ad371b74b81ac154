"""Encryption at rest: what is private in Redis, and the keys that open it."""

from worker.encryption.cipher import PLAIN, Cipher, Part

__all__ = ["PLAIN", "Cipher", "Part"]
