"""The list of encryption keys: its forms, and what is refused."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from rig.keys import keys

from worker.errors import SettingsError
from worker.settings import Settings

REDIS = {"LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0"}
RAW = bytes(range(240, 256)) * 2
KEY = base64.b64encode(RAW).decode()


def read(text: str) -> list[tuple[str, bytes]]:
    """Ids and keys out of the variable."""
    known = Settings.from_env({**REDIS, "LARGESSE_ENCRYPTION_KEYS": text})
    return [(one.id, one.secret) for one in known.encryption]


def test_keys_keep_their_order() -> None:
    """The first of the list is the first of the settings; nothing set is no key."""
    assert [key_id for key_id, _ in read(keys("b", "a", "2026-05_x"))] == ["b", "a", "2026-05_x"]
    assert read("") == []
    assert Settings.from_env(REDIS).encryption == ()


def test_keys_come_from_files_too(tmp_path: Path) -> None:
    """One key in a file, or the whole list in one; both alphabets of base64, padded or not."""
    for text in (KEY, KEY.rstrip("="), base64.urlsafe_b64encode(RAW).decode()):
        assert read(f"k1:{text}") == [("k1", RAW)]
    one, whole = tmp_path / "one", tmp_path / "whole"
    one.write_text(f"{KEY}\n")
    whole.write_text(f"{keys('k2')},k1:file:{one}\n")
    assert read(f"k1:file:{one}") == [("k1", RAW)]
    assert [key_id for key_id, _ in read(f"file:{whole}")] == ["k2", "k1"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (KEY, "no ID:KEY"),
        (f":{KEY}", "no ID:KEY"),
        (f"a b:{KEY}", "no ID:KEY"),
        (f"{'k' * 33}:{KEY}", "no ID:KEY"),
        (f"env:{KEY}", "no ID:KEY"),
        (f"k1:{KEY}!", "no base64"),
        (f"k1:{KEY[:20]}", "15 bytes instead of 32"),
        (f"k1:{KEY},k1:{KEY}", "key k1 twice"),
        ("k1:file:/nowhere/key", "cannot be read"),
        ("file:/nowhere/keys", "cannot be read"),
    ],
)
def test_wrong_keys_are_refused_and_not_repeated(text: str, problem: str) -> None:
    """Each fault has its words and a remedy; none repeats a key."""
    with pytest.raises(SettingsError, match=problem) as caught:
        read(text)
    assert KEY[:12] not in f"{caught.value} {caught.value!r}"
