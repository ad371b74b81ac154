"""Every form of the URL of Redis, and that no password shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import SettingsError
from worker.settings.redis_address import RedisAddress

PASSWORD = "p@ss/w:rd#1"
ENCODED = "p%40ss%2Fw%3Ard%231"
TLS_URL = (
    "rediss://h:6380/1?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem"
    "&ssl_check_hostname=false"
)
SENTINEL_URL = (
    f"redis+sentinel://u:{ENCODED}@a:26380,b/mymaster/5?sentinel_username=s"
    f"&sentinel_password={ENCODED}"
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", RedisAddress(kind="single", hosts=(("localhost", 6379),))),
        ("redis://h:7000/3", RedisAddress(kind="single", hosts=(("h", 7000),), db=3)),
        ("redis://h?db=4", RedisAddress(kind="single", hosts=(("h", 6379),), db=4)),
        ("redis://[::1]:7000/", RedisAddress(kind="single", hosts=(("::1", 7000),))),
        (
            f"redis://us%40er:{ENCODED}@h",
            RedisAddress(kind="single", hosts=(("h", 6379),), username="us@er", password=PASSWORD),
        ),
        (
            f"redis://:{ENCODED}@h",
            RedisAddress(kind="single", hosts=(("h", 6379),), password=PASSWORD),
        ),
        (
            TLS_URL,
            RedisAddress(
                kind="single",
                hosts=(("h", 6380),),
                db=1,
                tls=True,
                ca_file="/ca.pem",
                cert_file="/c.pem",
                key_file="/k.pem",
                check_hostname=False,
            ),
        ),
        (
            "rediss://h?ssl_cert_reqs=none",
            RedisAddress(kind="single", hosts=(("h", 6379),), tls=True, verify=False),
        ),
        ("unix:///run/redis.sock", RedisAddress(kind="unix", path="/run/redis.sock")),
        (
            f"unix://:{ENCODED}@/run/r%20s.sock?db=2",
            RedisAddress(kind="unix", path="/run/r s.sock", db=2, password=PASSWORD),
        ),
        (
            SENTINEL_URL,
            RedisAddress(
                kind="sentinel",
                hosts=(("a", 26380), ("b", 26379)),
                service="mymaster",
                db=5,
                username="u",
                password=PASSWORD,
                sentinel_username="s",
                sentinel_password=PASSWORD,
            ),
        ),
        (
            "rediss+sentinel://a/mymaster",
            RedisAddress(kind="sentinel", hosts=(("a", 26379),), service="mymaster", tls=True),
        ),
        (
            "redis+cluster://a:7001,b:7002",
            RedisAddress(kind="cluster", hosts=(("a", 7001), ("b", 7002))),
        ),
        (
            "rediss+cluster://[::1]:7001/",
            RedisAddress(kind="cluster", hosts=(("::1", 7001),), tls=True),
        ),
    ],
)
def test_address_is_read_from_each_form(url: str, expected: RedisAddress) -> None:
    """Server, TLS, socket, Sentinel and Cluster, with users, passwords and databases."""
    assert RedisAddress.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://h",
        "redis://",
        "redis://h:0",
        "redis://h:99999",
        "redis://h:x",
        "redis://h/x",
        "redis://h/-1",
        "redis://h/0/1",
        "redis://a,b/0",
        "redis://h?ssl_ca_certs=/ca.pem",
        "redis://h?socket_timeout=1",
        "redis://u:p#w@h",
        "rediss://h?ssl_cert_reqs=maybe",
        "redis://[::1",
        "unix://run/redis.sock",
        "unix://",
        "redis+sentinel://a:26379",
        "redis+sentinel://a/m/0/1",
        "redis+sentinel://a,,b/m",
        "redis+cluster://a/1",
        "redis+cluster://a?db=1",
        "redis+cluster://a?sentinel_password=x",
    ],
)
def test_address_refuses_what_it_cannot_read(url: str) -> None:
    """A wrong URL is a typed error that names the variable."""
    with pytest.raises(SettingsError) as caught:
        RedisAddress.parse(url)
    assert caught.value.variable == "LARGESSE_REDIS_URL"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://u:{ENCODED}@h/x",
        f"redis://u:{ENCODED}@h:bad",
        f"http://u:{ENCODED}@h",
        f"redis://u:{PASSWORD}@h",
        f"redis+sentinel://u:{ENCODED}@h",
    ],
)
def test_address_error_repeats_no_password(url: str) -> None:
    """The error text and its chain show nothing of the URL."""
    with pytest.raises(SettingsError) as caught:
        RedisAddress.parse(url)
    shown = f"{caught.value!s} {caught.value!r} {caught.value.__cause__!r}"
    assert "ss/w" not in shown
    assert "p%40" not in shown


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (f"redis://u:{ENCODED}@h:7000/3", "redis://u:***@h:7000/3"),
        (f"rediss://:{ENCODED}@h", "rediss://:***@h:6379/0"),
        ("redis://u@[::1]", "redis://u@[::1]:6379/0"),
        (f"unix://:{ENCODED}@/s?db=1", "unix://:***@/s?db=1"),
        (f"redis+sentinel://:{ENCODED}@a,b/m", "redis+sentinel://:***@a:26379,b:26379/m/0"),
        (f"rediss+cluster://:{ENCODED}@a,b", "rediss+cluster://:***@a:6379,b:6379"),
    ],
)
def test_address_is_shown_without_its_password(url: str, text: str) -> None:
    """Doctor and logs show the address; neither str nor repr shows the password."""
    address = RedisAddress.parse(url)
    assert str(address) == text
    assert PASSWORD not in repr(address)


@given(user=st.text(min_size=1, max_size=20), password=st.text(min_size=8, max_size=20))
def test_address_takes_any_user_and_password(user: str, password: str) -> None:
    """Percent-encoded credentials come out as they went in, and the password never shows."""
    from urllib.parse import quote

    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    address = RedisAddress.parse(f"redis://{login}@host/0")
    assert (address.username, address.password) == (user, password)
    assert ":***@" in str(address)
    if password not in f"{user}{address!s}":
        assert password not in repr(address)
