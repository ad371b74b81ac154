"""Sites: addresses, keys by reference, the sites file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from worker.errors import SettingsError
from worker.settings.site import Secret, Site, check_api_url
from worker.settings.sites_file import load_sites

KEY = "test_CanaryKey0123456789abcdef"


def make_site(**changes: Any) -> Site:
    """Make a site with a key by reference."""
    values: dict[str, Any] = {"name": "acme-test", "api_key": Secret("env:ACME_KEY")}
    return Site(**(values | changes))


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write a sites file and give its path."""

    def write_file(text: str) -> str:
        path = tmp_path / "sites.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_file


@pytest.mark.parametrize(
    ("changes", "sub_domain", "origin"),
    [
        ({}, None, "https://acme-test.chargebee.com"),
        ({}, "grow", "https://acme-test.grow.chargebee.com"),
        ({"name": "acme"}, "grow", "https://acme.grow.chargebee.com"),
        ({"domain": "eu.example.com"}, "grow", "https://acme-test.grow.eu.example.com"),
        ({"port": 8443}, None, "https://acme-test.chargebee.com:8443"),
        ({"protocol": "http", "port": 8080}, "grow", "http://acme-test.grow.chargebee.com:8080"),
        ({"api_url": "http://127.0.0.1:8400/"}, "grow", "http://127.0.0.1:8400"),
        ({"api_url": "http://127.0.0.1:8400"}, None, "http://127.0.0.1:8400"),
        ({"api_url": "https://[::1]:8443"}, None, "https://[::1]:8443"),
    ],
)
def test_origin_follows_the_template_or_the_override(
    changes: dict[str, Any], sub_domain: str | None, origin: str
) -> None:
    """The sub-domain goes before the domain; an override replaces all of it."""
    assert make_site(**changes).origin(sub_domain) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8400",
        "ftp://h",
        "http://",
        "http://h/api",
        "http://h?x=1",
        "http://h?",
        "http://h#x",
        "http://u:p4ssw0rd@h",
        "http://h:0",
        "http://h:65536",
        "http://h:x",
        "http://h:",
        "http://h o",
        "http://h\r\nX: y",
        "http://h\\x",
        "http://[::1",
        "http://exa_mple",
        8400,
    ],
)
def test_api_url_must_be_an_origin(url: object) -> None:
    """Anything but scheme, host and port is refused and not repeated."""
    with pytest.raises(SettingsError) as caught:
        check_api_url(url, "CHARGEBEE_API_URL")
    assert caught.value.variable == "CHARGEBEE_API_URL"
    assert "p4ssw0rd" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        (None, False),
        ("http://127.0.0.1:8400", False),
        ("http://localhost:8400", False),
        ("http://api.localhost", False),
        ("http://[::1]:1", False),
        ("http://10.0.0.7", True),
        ("http://sandbox:8400", True),
        ("https://10.0.0.7", False),
    ],
)
def test_site_knows_when_its_key_would_travel_in_clear(url: str | None, clear: bool) -> None:
    """Plain HTTP is fine on loopback alone; elsewhere the doctor warns."""
    assert make_site(api_url=url).sends_key_in_clear is clear


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Acme"),
        ("name", "acme.chargebee.com"),
        ("name", "-acme"),
        ("name", "a" * 64),
        ("name", ""),
        ("name", "acme\n"),
        ("rate_per_minute", -1),
        ("rate_per_minute", 1.5),
        ("rate_per_minute", True),
        ("rate_per_minute", "150"),
        ("max_in_flight", -1),
        ("share", 0),
        ("share", 1.01),
        ("share", float("nan")),
        ("share", "1"),
        ("grow_budget", "yes"),
        ("port", 0),
        ("port", 65536),
        ("protocol", "ftp"),
        ("domain", "charge bee.com"),
        ("domain", "chargebee.com:8443"),
        ("business_entity_id", ""),
        ("business_entity_id", "x" * 51),
        ("business_entity_id", "be\r\n1"),
        ("brand_id", 7),
        ("skip", ("sms",)),
        ("skip", "email"),
    ],
)
def test_site_refuses_values_out_of_bounds(field: str, value: object) -> None:
    """Each field has its bounds; the error names the field and not the value."""
    with pytest.raises(SettingsError) as caught:
        make_site(**{field: value})
    assert caught.value.variable in {field, "CHARGEBEE_SITE"}


def test_site_shares_its_budget() -> None:
    """The share applies to rate and calls in flight; 0 stays "no limit"."""
    site = make_site(rate_per_minute=1000, max_in_flight=5, share=0.5)
    assert (site.budget_per_minute, site.in_flight_budget) == (500, 2)
    assert make_site(max_in_flight=1, share=0.1).in_flight_budget == 1
    free = make_site(rate_per_minute=0, max_in_flight=0, share=0.5)
    assert (free.budget_per_minute, free.in_flight_budget) == (0, 0)


def test_site_is_a_test_site_by_its_name() -> None:
    """`-test` is a part of the site's name."""
    assert make_site().is_test
    assert not make_site(name="acme").is_test


@pytest.mark.parametrize(
    "reference", [KEY, f"env:{KEY}", "env:", "env:A B", "file:rel", "x:y", ""]
)
def test_secret_refuses_a_literal_key_without_repeating_it(reference: str) -> None:
    """What is not a reference may be the key itself: it is refused and never shown."""
    with pytest.raises(SettingsError) as caught:
        Secret(reference, variable="sites.acme.api_key")
    assert caught.value.variable == "sites.acme.api_key"
    assert "CanaryKey" not in str(caught.value)
    assert "env:NAME" in str(caught.value)


def test_secret_is_read_when_needed(tmp_path: Path) -> None:
    """A rotated key is taken up at once, from a variable or a file, without its newline."""
    environ = {"ACME_KEY": f"{KEY}\n"}
    secret = Secret("env:ACME_KEY", environ=environ)
    assert secret.read() == KEY
    environ["ACME_KEY"] = "rotated"
    assert secret.read() == "rotated"
    path = tmp_path / "key"
    path.write_text(f"{KEY}\r\n", encoding="utf-8")
    assert Secret(f"file:{path}").read() == KEY
    environ["ACME_KEY"] = f"file:{path}"
    assert secret.read() == KEY


def test_secret_reads_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping, the variables are the process's own."""
    monkeypatch.setenv("ACME_KEY", "from-the-process")
    assert Secret("env:ACME_KEY").read() == "from-the-process"


@pytest.mark.parametrize("value", ["", "  ", "two words", "a\nb", "schlüssel", "x" * 4097])
def test_secret_refuses_what_no_key_is(value: str, tmp_path: Path) -> None:
    """Empty, broken or far too long: refused, naming the file, not the value."""
    path = tmp_path / "key"
    path.write_text(value, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        Secret(f"file:{path}").read()
    assert caught.value.variable == str(path)
    assert not value.strip() or value not in str(caught.value)


def test_secret_names_what_is_missing(tmp_path: Path) -> None:
    """A missing variable or file is named with its remedy."""
    with pytest.raises(SettingsError, match="ACME_KEY is not set"):
        Secret("env:ACME_KEY", environ={}).read()
    with pytest.raises(SettingsError, match="FileNotFoundError"):
        Secret(f"file:{tmp_path}/none").read()


def test_secret_never_shows_its_value() -> None:
    """Neither repr, str, format nor a pickle holds the key, also inside a site."""
    secret = Secret("env:ACME_KEY", environ={"ACME_KEY": KEY})
    assert secret.read() == KEY
    site = make_site(api_key=secret)
    shown = f"{secret} {secret!r} {site} {site!r}"
    assert "Canary" not in shown
    assert b"Canary" not in pickle.dumps(site)
    assert pickle.loads(pickle.dumps(site)) == site


def test_sites_file_is_read(write: Any) -> None:
    """All fields of a site may stand in the file."""
    path = write(
        """
        default_site = "beta-test"
        [sites.acme]
        api_key = "env:ACME_KEY"
        api_url = "http://127.0.0.1:8400"
        rate_per_minute = 0
        max_in_flight = 0
        share = 0.5
        grow_budget = true
        business_entity_id = "be_1"
        brand_id = "br_1"
        skip = ["webhooks", "email"]
        [sites.beta-test]
        api_key = "file:/run/secrets/beta"
        domain = "example.com"
        port = 8443
        """
    )
    sites, default = load_sites(path, {"ACME_KEY": "k"})
    assert default == "beta-test"
    assert list(sites) == ["acme", "beta-test"]
    acme = sites["acme"]
    assert acme.skip == ("email", "webhooks")
    assert (acme.share, acme.grow_budget, acme.brand_id) == (0.5, True, "br_1")
    assert acme.api_key.read() == "k"
    assert sites["beta-test"].origin("grow") == "https://beta-test.grow.example.com:8443"


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ('[sites.acme]\nrate_per_minut=1', "sites.acme.rate_per_minut", "rate_per_"),
        ('[sites.acme]\napi_key="env:A"\nzzz=1', "sites.acme.zzz", "Choose from"),
        ('[sites.acme]\napi_key="env:A"\nname="x"', "sites.acme.name", "Choose from"),
        ('[site.acme]\napi_key="env:A"', "site", "Did you mean sites?"),
        ("[sites.acme]\nshare=1", "sites.acme.api_key", "env:NAME"),
        ("[sites.acme]\napi_key=7", "sites.acme.api_key", "env:NAME"),
        (f'[sites.acme]\napi_key="{KEY}"', "sites.acme.api_key", "env:NAME"),
        ('[sites.acme]\napi_key="env:A"\nshare=2', "sites.acme.share", "up to 1"),
        ('[sites.acme]\napi_key="env:A"\nskip=["sms"]', "sites.acme.skip", "webhooks"),
        ('[sites.acme]\napi_key="env:A"\nskip="email"', "sites.acme.skip", "webhooks"),
        ('[sites.acme]\napi_key="env:A"\nskip=[["email"]]', "sites.acme.skip", "webhooks"),
        ('[sites.acme]\napi_key="env:A"\napi_url="x"', "sites.acme.api_url", "scheme"),
        ('[sites.acme]\napi_key="env:A"\nprotocol=["https"]', "sites.acme.protocol", "Leave"),
        ('[sites.Acme]\napi_key="env:A"', "sites.Acme", "lower case"),
        ("[sites]\nacme=1", "sites.acme", "[sites.acme]"),
        ("", "LARGESSE_SITES", "[sites.acme]"),
        ("sites=3", "LARGESSE_SITES", "[sites.acme]"),
        ('default_site="b"\n[sites.acme]\napi_key="env:A"', "default_site", "acme"),
        ('default_site=[1]\n[sites.acme]\napi_key="env:A"', "default_site", "acme"),
        (f'[sites.acme]\napi_key = {KEY}', "LARGESSE_SITES", "line"),
    ],
)  # fmt: skip
def test_sites_file_names_what_is_wrong(write: Any, text: str, path: str, hint: str) -> None:
    """Each mistake is named by its path in the file with what to do; no key is repeated."""
    with pytest.raises(SettingsError) as caught:
        load_sites(write(text))
    assert caught.value.variable == path
    assert hint in str(caught.value)
    assert "Canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_sites_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """A path that leads nowhere names the variable."""
    with pytest.raises(SettingsError, match="LARGESSE_SITES names a file that cannot be read"):
        load_sites(str(tmp_path / "none.toml"))
