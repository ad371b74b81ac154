"""The cipher: what is encrypted, what opens it, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable

import pytest
from rig.keys import keys
from rig.producing import OFFER

from worker.encryption import PLAIN, Cipher
from worker.errors import DecryptionError, EncryptionKeyMissingError, SettingsError
from worker.jobs.job import Job
from worker.settings import Settings

JOB = "ab12" * 8
TEXT = b'{"email":"kanari.bird@example.com"}'
URL = "redis://127.0.0.1:1/0"


def settings(*ids: str, **more: object) -> Settings:
    """Settings with keys of these ids."""
    return Settings(redis_url=URL, encryption_keys=keys(*ids), **more)  # type: ignore[arg-type]


def cipher(*ids: str) -> Cipher:
    """A cipher with keys of these ids."""
    return Cipher.of(settings(*ids))


def sealed(*ids: str) -> bytes:
    """The text as the message of the job."""
    return cipher(*ids).encrypt(TEXT, job_id=JOB, part="message")


def test_first_key_encrypts_and_all_decrypt() -> None:
    """A text opens with its key, wherever that stands in the list."""
    data = sealed("new", "old")
    assert TEXT not in data
    for ids in (("new", "old"), ("old", "new"), ("new",)):
        assert cipher(*ids).decrypt(data, job_id=JOB, part="message") == TEXT
    with pytest.raises(EncryptionKeyMissingError):
        cipher("old").decrypt(data, job_id=JOB, part="message")


def test_record_names_its_key_and_its_place() -> None:
    """The header of the JWE says key, job and part; two texts never look alike."""
    data = sealed("k1")
    head = json.loads(base64.urlsafe_b64decode(data.split(b".")[0] + b"=="))
    assert head == {"alg": "dir", "enc": "A256GCM", "kid": "k1", "part": "message", "job": JOB}
    assert sealed("k1") != data


def test_without_keys_everything_stays_as_it_is() -> None:
    """No key: texts, digests and nothing at all pass through; so do plain texts with keys."""
    assert PLAIN.encrypt(TEXT, job_id=JOB, part="message") is TEXT
    assert PLAIN.decrypt(TEXT, job_id=JOB, part="message") is TEXT
    assert PLAIN.mark("d1") == "d1"
    assert Cipher.of(Settings(redis_url=URL)) is PLAIN
    assert cipher("k1").decrypt(TEXT, job_id=JOB, part="message") is TEXT
    assert cipher("k1").encrypt(b"", job_id=JOB, part="outcome") == b""


def test_missing_key_is_named_with_the_next_step() -> None:
    """Without any key, and with others: the error names the id and what to do."""
    for one in (PLAIN, cipher("k2")):
        with pytest.raises(EncryptionKeyMissingError, match="key k1, which") as caught:
            one.decrypt(sealed("k1"), job_id=JOB, part="message")
        assert "LARGESSE_ENCRYPTION_KEYS" in str(caught.value)
        assert (caught.value.job_id, caught.value.key_id) == (JOB, "k1")
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def _flipped(place: int) -> Callable[[bytes], bytes]:
    def flip(data: bytes) -> bytes:
        pieces = data.split(b".")
        piece = bytearray(pieces[place])
        piece[0] = ord("B") if piece[0] == ord("A") else ord("A")
        pieces[place] = bytes(piece)
        return b".".join(pieces)

    return flip


def _renamed(data: bytes) -> bytes:
    header, rest = data.split(b".", 1)
    text = base64.urlsafe_b64decode(header + b"==").replace(b'"k1"', b'"k2"')
    return base64.urlsafe_b64encode(text).rstrip(b"=") + b"." + rest


@pytest.mark.parametrize(
    "change",
    [_flipped(2), _flipped(3), _flipped(4), _renamed, lambda data: data[:-6],
     lambda data: data.replace(b"..", b".AA."), lambda _: b"eyJ.a.b.c.d"],
    ids=["nonce", "ciphertext", "tag", "key id", "cut", "wrapped key", "no header"],
)  # fmt: skip
def test_changed_text_is_refused(change: Callable[[bytes], bytes]) -> None:
    """One changed character, another key id, a cut: never a text, always the same error."""
    with pytest.raises(DecryptionError):
        cipher("k1", "k2").decrypt(change(sealed("k1")), job_id=JOB, part="message")


def test_moved_text_is_refused() -> None:
    """A text of another job, or of another place of the same job, does not open."""
    data = sealed("k1")
    with pytest.raises(DecryptionError):
        cipher("k1").decrypt(data, job_id="cd" * 16, part="message")
    with pytest.raises(DecryptionError):
        cipher("k1").decrypt(data, job_id=JOB, part="outcome")


def test_other_key_under_the_same_id_is_told() -> None:
    """Two hosts with two keys of one id: the error says so and names the id."""
    other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    wrong = Cipher.of(Settings(redis_url=URL, encryption_keys=f"k1:{other}"))
    with pytest.raises(DecryptionError, match="another key under the id k1"):
        wrong.decrypt(sealed("k1"), job_id=JOB, part="message")


def test_key_id_of_a_stranger_is_not_repeated() -> None:
    """What stands in the place of the key's id is shown only if it can be one."""
    text = b'{"alg":"dir","enc":"A256GCM","kid":"a b\\n@c"}'
    data = base64.urlsafe_b64encode(text).rstrip(b"=") + b"..AAAAAAAAAAAAAAAA.AA." + b"A" * 22
    with pytest.raises(EncryptionKeyMissingError, match=r"key \?"):
        cipher("k1").decrypt(data, job_id=JOB, part="message")


def test_mark_is_the_same_request_under_any_key() -> None:
    """A mark hides the digest, and is compared under the key that it names."""
    mark = cipher("old").mark("d1")
    assert mark.startswith("old:")
    assert "d1" not in mark
    assert cipher("new", "old").mark("d1") != mark
    assert cipher("new", "old").is_mark_of(mark, "d1")
    assert not cipher("new", "old").is_mark_of(mark, "d2")
    assert cipher("new").is_mark_of("d1", "d1")  # of before there were keys
    for one in (cipher("new"), PLAIN):
        with pytest.raises(KeyError, match="old"):
            one.is_mark_of(mark, "d1")


def test_shared_offers_hide_their_digest() -> None:
    """The id of a job that equal requests share does not follow from a plain digest."""

    def prepared(*ids: str) -> Job:
        known = settings(*ids, share_offers_s=3600.0)
        return Job.prepare(known, "personalized_offer", OFFER, site="acme-test")

    assert prepared("k1").id == prepared("k1").id
    assert len({prepared().id, prepared("k1").id, prepared("k2").id}) == 3
    assert prepared().digest == prepared("k1").digest


def test_equal_keys_make_equal_ciphers() -> None:
    """Ciphers are values: compared, hashed, pickled; no repr shows a key."""
    one = cipher("k1", "k2")
    assert one == Cipher.of(settings("k1", "k2")) == pickle.loads(pickle.dumps(one))
    assert hash(one) == hash(cipher("k1", "k2"))
    shown = repr(one) + repr(settings("k1", "k2"))
    assert "k1" in shown
    assert keys("k1").partition(":")[2] not in shown
    assert repr(hashlib.sha256(b"k1").digest()) not in shown


def test_missing_extra_is_a_settings_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys without the library: refused at the start, with the package to install."""
    for name in ("cryptography.hazmat.primitives.ciphers.aead",):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingsError, match=r"needs the extra encryption.*largesse\[encryption\]"):
        Cipher(settings("k1").encryption)


def test_library_is_not_loaded_without_keys() -> None:
    """A producer and a reader without keys never import it."""
    code = (
        "import sys; from worker import Producer, Settings\n"
        f"Producer(Settings(redis_url={URL!r})).close()\n"
        "print('cryptography.hazmat' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
