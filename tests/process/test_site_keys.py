"""The keys of one process: missing, refused, replaced, accepted again."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from worker import Settings
from worker.engine.exclusions import Exclusions
from worker.errors import SettingsError
from worker.process.site_keys import NO_KEY, SiteKeys, key_mark, require_key

REDIS = {"LARGESSE_REDIS_URL": "redis://127.0.0.1:6379/0"}
SITES = """
default_site = "one"
[sites.one]
api_key = "env:KEY_ONE"
[sites.two]
api_key = "file:{file}"
"""


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Where the key of the second site is; there is none yet."""
    return tmp_path / "key"


@pytest.fixture
def settings(tmp_path: Path, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Two sites, one with a key."""
    sites = tmp_path / "sites.toml"
    sites.write_text(SITES.format(file=key_file))
    monkeypatch.setenv("KEY_ONE", "test_one")
    return Settings.from_env({**REDIS, "LARGESSE_SITES": str(sites), "KEY_ONE": "test_one"})


@pytest.fixture
def exclusions() -> Exclusions:
    """What the process leaves to others."""
    return Exclusions()


@pytest.fixture
def keys(settings: Settings, exclusions: Exclusions) -> SiteKeys:
    """The keys of the process."""
    return SiteKeys(settings, exclusions)


def test_worker_needs_the_key_of_one_site(settings: Settings) -> None:
    """With one of two keys it may start; with none it may not, and hears which one is missing."""
    require_key(settings)
    bare = Settings.from_env({**REDIS, "CHARGEBEE_SITE": "acme-test"})
    with pytest.raises(SettingsError, match="CHARGEBEE_API_KEY"):
        require_key(bare)


def test_key_mark_tells_keys_and_sites_apart() -> None:
    """Eight digits, which differ by key and by site, and hold no part of the key."""
    marks = {key_mark("one", "a"), key_mark("one", "b"), key_mark("two", "a")}
    assert len(marks) == 3
    assert all(len(mark) == 8 and int(mark, 16) >= 0 for mark in marks)


def test_site_without_a_key_is_left_to_others_until_it_has_one(
    settings: Settings, keys: SiteKeys, exclusions: Exclusions, key_file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """It is logged once; a key that turns up is used."""
    two = settings.sites["two"]
    with caplog.at_level(logging.ERROR):
        assert keys.mark(two) == keys.mark(two) == NO_KEY
    assert len(caplog.records) == 1
    assert exclusions.limits() == {"two": 0}
    assert keys.told()["two"] == [NO_KEY, "missing"]
    key_file.write_text("test_two")
    mark = keys.mark(two)
    keys.learn(two, mark, refused=False)
    assert not exclusions
    assert keys.told()["two"] == [key_mark("two", "test_two"), ""]


def test_refused_key_is_left_to_probes_until_it_is_accepted(
    settings: Settings, keys: SiteKeys, exclusions: Exclusions
) -> None:
    """What Redis still says of it does not exclude the site again."""
    one = settings.sites["one"]
    mark = keys.refuse("one", "test_one")
    assert mark == keys.mark(one)
    assert exclusions.allowed("one") == 0
    assert keys.told()["one"] == [mark, "refused"]
    keys.answered("one", "test_one")
    assert exclusions.allowed("one") is None
    assert keys.accepted("one") == mark
    keys.learn(one, mark, refused=True)
    assert exclusions.allowed("one") is None
    keys.learn(one, mark, refused=False)
    assert keys.accepted("one") is None


def test_tripped_site_is_probed_by_its_circuit_breaker(
    settings: Settings, keys: SiteKeys, exclusions: Exclusions
) -> None:
    """With every key refused there is nobody to leave it to."""
    one = settings.sites["one"]
    mark = keys.refuse("one", "test_one")
    keys.learn(one, mark, refused=True, tripped=True)
    assert not exclusions
    assert keys.told()["one"] == [mark, "refused"]
    keys.learn(one, mark, refused=True)
    assert exclusions.allowed("one") == 0


def test_key_that_other_workers_found_refused_is_not_tried(
    settings: Settings, keys: SiteKeys, exclusions: Exclusions
) -> None:
    """A process that starts with a revoked key sends no job of the site but probes."""
    one = settings.sites["one"]
    keys.learn(one, keys.mark(one), refused=True)
    assert exclusions.allowed("one") == 0


def test_refusal_of_a_key_that_was_replaced_excludes_nothing(
    keys: SiteKeys, exclusions: Exclusions
) -> None:
    """The answer of a call that was under way is about the old key."""
    keys.refuse("one", "test_before")
    assert not exclusions


def test_site_that_is_not_configured_is_left_to_others(
    keys: SiteKeys, exclusions: Exclusions
) -> None:
    """Its jobs wait for a worker that knows it."""
    error = SettingsError(variable="LARGESSE_SITES", problem="has no site three", remedy="Add it.")
    keys.cannot_serve("three", error)
    assert exclusions.limits() == {"three": 0}
