"""Settings from the environment: every variable, its bounds and its documentation."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from rig.keys import keys

from schemas import KINDS
from worker.errors import SettingsError
from worker.settings import Settings
from worker.settings.environment import SITE_VARIABLES, VARIABLES, retry_variables
from worker.settings.site import Secret, Site
from worker.settings.variable import Variable

REDIS = {"LARGESSE_REDIS_URL": "redis://u:S3cretWord@localhost:6379/0"}
SITE = {"CHARGEBEE_SITE": "acme-test", "CHARGEBEE_API_KEY": "test_CanaryKey0123456789abcdef"}
DOCS = Path(__file__).parents[2] / "docs" / "settings.md"
RETRY = [variable for kind in KINDS for variable in retry_variables(kind)]
TABLED = [*VARIABLES, *SITE_VARIABLES, *RETRY]
#: Variables that have no default and are read by hand.
BY_HAND = ["LARGESSE_REDIS_URL", "LARGESSE_SITES", "CHARGEBEE_SITE", "CHARGEBEE_API_KEY"]


#: Texts that say something, of the variables that do not take any.
TEXTS = {"api_url": "http://h", "encryption_keys": keys("k2", "k1")}


def default_text(variable: Variable) -> str:
    """Write a default as the documentation does."""
    if variable.default is None:
        return "none"
    if isinstance(variable.default, bool):
        return str(variable.default).lower()
    if isinstance(variable.default, float):
        return f"{variable.default:g}"
    return str(variable.default)


def test_settings_need_only_redis() -> None:
    """A producer or an operator needs no key and no site to start."""
    settings = Settings.from_env(REDIS)
    assert settings.sites == {}
    assert settings.namespace == "largesse"
    assert settings.redis.password == "S3cretWord"
    with pytest.raises(SettingsError, match="CHARGEBEE_SITE is not set"):
        settings.site()


@pytest.mark.parametrize("value", [None, "", "  "])
def test_settings_name_the_missing_redis(value: str | None) -> None:
    """A missing URL of Redis names itself and its remedy."""
    environ = {} if value is None else {"LARGESSE_REDIS_URL": value}
    with pytest.raises(SettingsError, match=r"LARGESSE_REDIS_URL is not set\. Set it to"):
        Settings.from_env(environ)


def test_settings_read_redis_from_a_file(tmp_path: Path) -> None:
    """The URL may lie in a file, as secrets of containers do."""
    path = tmp_path / "url"
    path.write_text("redis://:pw@h:7000/1\n", encoding="utf-8")
    settings = Settings.from_env({"LARGESSE_REDIS_URL": f"file:{path}"})
    assert settings.redis.hosts == (("h", 7000),)
    path.write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match="the URL of Redis"):
        Settings.from_env({"LARGESSE_REDIS_URL": f"file:{path}"})


def test_settings_read_one_site() -> None:
    """One site comes from its variables, with its key by reference."""
    environ = {
        **REDIS,
        **SITE,
        "CHARGEBEE_API_URL": "http://127.0.0.1:8400",
        "CHARGEBEE_RATE_PER_MINUTE": "1000",
        "CHARGEBEE_MAX_IN_FLIGHT": "0",
    }
    site = Settings.from_env(environ).site()
    assert site.origin("grow") == "http://127.0.0.1:8400"
    assert (site.rate_per_minute, site.max_in_flight) == (1000, 0)
    assert site.api_key.read() == SITE["CHARGEBEE_API_KEY"]


def test_settings_need_no_key_until_it_is_read() -> None:
    """Without the key, settings load; the key's absence is named when it is needed."""
    settings = Settings.from_env({**REDIS, "CHARGEBEE_SITE": "acme"})
    with pytest.raises(SettingsError, match="CHARGEBEE_API_KEY is not set"):
        settings.site("acme").api_key.read()


@pytest.fixture
def sites_file(tmp_path: Path) -> dict[str, str]:
    """Settings with a file of two sites."""
    path = tmp_path / "sites.toml"
    path.write_text(
        '[sites.acme]\napi_key="env:A"\n[sites.beta]\napi_key="env:B"\n', encoding="utf-8"
    )
    return {**REDIS, "LARGESSE_SITES": str(path)}


def test_settings_read_many_sites(sites_file: dict[str, str]) -> None:
    """With several sites a job names its own, or CHARGEBEE_SITE names the default one."""
    settings = Settings.from_env(sites_file)
    assert settings.site("beta").name == "beta"
    with pytest.raises(SettingsError, match="no default one"):
        settings.site()
    with pytest.raises(SettingsError, match="acme, beta"):
        settings.site("gamma")
    chosen = Settings.from_env({**sites_file, "CHARGEBEE_SITE": "beta"})
    assert chosen.site().name == "beta"
    with pytest.raises(SettingsError, match="CHARGEBEE_SITE names a site"):
        Settings.from_env({**sites_file, "CHARGEBEE_SITE": "gamma"})


def test_settings_take_the_only_site_as_default(tmp_path: Path) -> None:
    """A file with one site needs no default."""
    path = tmp_path / "sites.toml"
    path.write_text('[sites.acme]\napi_key="env:A"\n', encoding="utf-8")
    assert Settings.from_env({**REDIS, "LARGESSE_SITES": str(path)}).site().name == "acme"


@pytest.mark.parametrize("variable", SITE_VARIABLES, ids=lambda variable: variable.name)
def test_settings_refuse_one_sites_variables_beside_a_file(
    sites_file: dict[str, str], variable: Variable
) -> None:
    """What would be ignored is refused: it belongs into the file."""
    with pytest.raises(SettingsError, match=variable.name):
        Settings.from_env({**sites_file, variable.name: "1"})


@pytest.mark.parametrize("stray", ["CHARGEBEE_API_KEY", "CHARGEBEE_API_URL"])
def test_settings_refuse_a_key_without_a_site(stray: str) -> None:
    """A key or an address without the name of its site is a mistake, not a default."""
    with pytest.raises(SettingsError, match=f"CHARGEBEE_SITE is not set, but {stray} is"):
        Settings.from_env({**REDIS, stray: "x"})


WRONG = [
    (variable, text)
    for variable in TABLED
    for text in {
        "int": ["x", "1.5", "-1", "1e3", "99999999999999999999"],
        "float": ["x", "-1", "nan", "inf"],
        "bool": ["maybe"],
        "choice": ["maybe", "STRICT"],
        "text": ["no good\tvalue", "é" * 300],
    }[variable.kind]
    if not (text == "99999999999999999999" and variable.high is None)
]


@pytest.mark.parametrize(
    ("variable", "text"), WRONG, ids=[f"{variable.name}={text[:8]}" for variable, text in WRONG]
)
def test_settings_refuse_wrong_values(variable: Variable, text: str) -> None:
    """Each wrong value names the variable and the remedy and is not repeated."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({**REDIS, **SITE, variable.name: text})
    assert caught.value.variable == variable.name
    assert caught.value.remedy
    if len(text) > 6:
        assert text not in str(caught.value)
    assert "S3cretWord" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("variable", TABLED, ids=lambda variable: variable.name)
def test_settings_take_each_variable(variable: Variable) -> None:
    """A value other than the default arrives in its field; empty means not set."""
    other: Any = {
        "int": 123,
        "float": 12.5,
        "bool": True,
        "choice": variable.choices[-1] if variable.choices else "",
        "text": TEXTS.get(variable.field, "other"),
    }[variable.kind]
    if variable.kind == "int":
        other = max(other, int(variable.low) + 1)
        other = other if variable.high is None else min(other, int(variable.high) - 1)
    environ = {**REDIS, **SITE}
    settings = Settings.from_env({**environ, variable.name: str(other)})
    plain = Settings.from_env({**environ, variable.name: ""})
    if variable in RETRY:
        kind = next(kind for kind in KINDS if variable in retry_variables(kind))
        factor = 1000 if variable.unit == "s" else 1
        assert getattr(settings.policy(kind), variable.field) == other * factor
        assert getattr(plain.policy(kind), variable.field) == variable.default * factor
    else:
        where: Any = (lambda one: one.site()) if variable in SITE_VARIABLES else (lambda one: one)
        assert getattr(where(settings), variable.field) == other
        assert getattr(where(plain), variable.field) == variable.default


def test_settings_fields_all_have_a_variable() -> None:
    """No field of the settings is out of reach, and no variable leads nowhere."""
    by_hand = {"redis_url", "redis", "encryption", "sites", "default_site", "retry"}
    assert {field.name for field in fields(Settings)} - by_hand == {
        variable.field for variable in VARIABLES
    }
    assert {variable.field for variable in SITE_VARIABLES} <= {f.name for f in fields(Site)}


def test_settings_defaults_are_the_same_in_code_and_table() -> None:
    """Settings made in code and settings read from nothing are equal."""
    made = Settings(redis_url=REDIS["LARGESSE_REDIS_URL"])
    read = Settings.from_env(REDIS)
    for field in fields(Settings):
        if field.name != "retry":
            assert getattr(made, field.name) == getattr(read, field.name), field.name
    assert [made.policy(kind) for kind in KINDS] == [read.policy(kind) for kind in KINDS]


def test_settings_made_in_code_are_checked_too() -> None:
    """The bounds hold for values that never were text."""
    with pytest.raises(SettingsError, match="LARGESSE_SHARDS"):
        Settings(redis_url="redis://h", shards=0)
    with pytest.raises(SettingsError, match="LARGESSE_NAMESPACE"):
        Settings(redis_url="redis://h", namespace="a{b}")
    with pytest.raises(SettingsError, match="LARGESSE_REDIS_URL"):
        Settings(redis_url="h")


def test_policy_carries_window_and_choice() -> None:
    """Window and choice are one setting each, for all kinds, a future one included."""
    environ = {**REDIS, "LARGESSE_WINDOW_MINUTES": "24.5", "LARGESSE_ON_AMBIGUOUS": "reissue"}
    settings = Settings.from_env(environ)
    for kind in (*KINDS, "a_third_kind"):
        policy = settings.policy(kind)
        assert (policy.window_ms, policy.on_ambiguous) == (1_470_000, "reissue")


def test_settings_show_neither_key_nor_password() -> None:
    """The repr of all settings can be logged."""
    settings = Settings.from_env({**REDIS, **SITE})
    assert "S3cretWord" not in repr(settings)
    assert "Canary" not in f"{settings!r} {settings}"
    assert b"Canary" not in pickle.dumps(settings)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_settings_read_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping, the variables are the process's own."""
    for name in [*BY_HAND, *(variable.name for variable in TABLED)]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LARGESSE_REDIS_URL", "redis://h/9")
    monkeypatch.setenv("LARGESSE_SHARDS", "4")
    settings = Settings.from_env()
    assert (settings.redis.db, settings.shards) == (9, 4)


def test_settings_need_no_extra() -> None:
    """Settings and retry decisions work in an install that has only what a producer needs."""
    code = (
        "import sys, worker.settings, worker.retry.rules, worker.settings.sites_file\n"
        "banned = {'httpx', 'structlog', 'rich', 'typer', 'starlette'}\n"
        "sys.exit(', '.join(sorted(banned & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_variable_is_documented() -> None:
    """docs/settings.md has each variable with its default and unit, and no other."""
    rows = {
        row[0].strip("`"): row
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
        and (row := [cell.strip() for cell in line.strip("|").split("|")])
    }
    names = [name for name in rows if re.fullmatch(r"(?:LARGESSE|CHARGEBEE)_[A-Z_]+", name)]
    assert names == [*BY_HAND[:1], *(v.name for v in VARIABLES), *BY_HAND[1:],
                     *(v.name for v in SITE_VARIABLES), *(v.name for v in RETRY)]  # fmt: skip
    for variable in TABLED:
        _, default, unit, reason = rows[variable.name]
        assert default.strip("`") == default_text(variable), variable.name
        assert unit == (variable.unit or "-"), variable.name
        assert reason == variable.reason, variable.name


def test_every_site_field_is_documented() -> None:
    """docs/settings.md lists each key that a site may have in the sites file."""
    text = DOCS.read_text(encoding="utf-8")
    section = text.split("## The sites file")[1].split("\n## ")[0]
    keys = re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)
    assert keys == [field.name for field in fields(Site) if field.name != "name"]


@pytest.mark.parametrize("field", [one.name for one in fields(Settings) if one.init])
def test_settings_of_wrong_types_are_refused(field: str) -> None:
    """Settings that are made in code are checked as those of the environment: by our errors."""
    for value in (None, True, 10**400, float("nan"), b"x", "", [], {}, ..., [None], {1: 2}):
        with suppress(SettingsError):
            Settings(**{"redis_url": "redis://localhost", field: value})
    with pytest.raises(SettingsError):
        Settings(**{"redis_url": "redis://localhost", field: ...})


@pytest.mark.parametrize("name", ["", 5, [], ..., "acme-tset"], ids=repr)
def test_site_that_is_not_configured_is_refused(name: Any) -> None:
    """An empty name is no name: it does not stand for the default site."""
    site = Site(name="acme", api_key=Secret("env:KEY"))
    settings = Settings(redis_url="redis://x", sites={"acme": site}, default_site="acme")
    assert settings.site() is site
    with pytest.raises(SettingsError, match="is not configured"):
        settings.site(name)


@pytest.mark.parametrize("reference", [None, 5, b"env:KEY", []], ids=repr)
def test_secret_that_is_no_text_is_refused(reference: Any) -> None:
    """A reference of another type is told as any other that is none."""
    with pytest.raises(SettingsError, match="must be a reference"):
        Secret(reference)
