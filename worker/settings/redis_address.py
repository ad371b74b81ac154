"""Where Redis is: one address out of one URL, for a server, a socket, Sentinel or a Cluster.

    redis://[user:password@]host[:6379][/0]              one server
    rediss://...                                         the same over TLS
    unix://[user:password@]/run/redis.sock[?db=0]        a socket of this machine
    redis+sentinel://[user:password@]host[:26379][,host...]/service[/0]
    redis+cluster://[user:password@]host[:6379][,host...]
    rediss+sentinel://, rediss+cluster://                both over TLS

Users and passwords are percent-encoded. The engine makes its clients from a `RedisAddress`; no
module but the engine's opens a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from worker.errors import SettingsError

__all__ = ["RedisAddress", "RedisKind"]

#: TCP port of a Redis or Valkey server.
DEFAULT_PORT: Final = 6379
#: TCP port of a Sentinel.
DEFAULT_SENTINEL_PORT: Final = 26379

RedisKind = Literal["single", "unix", "sentinel", "cluster"]

_KINDS: Mapping[str, tuple[RedisKind, bool]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_TLS_QUERY = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL_QUERY = ("sentinel_username", "sentinel_password")
_REMEDY = (
    "Write redis://host:6379/0, rediss:// for TLS, unix:///path, "
    "redis+sentinel://host:26379,host:26379/service/0 or redis+cluster://host:6379."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """How to reach Redis. Its repr and str never show a password.

    Attributes:
        kind: one server, a socket, Sentinel or a Cluster.
        hosts: the server; the sentinels; or some nodes of the Cluster: (host, port) each.
        path: file of the socket, for kind `unix`.
        service: name of the master that Sentinel watches, for kind `sentinel`.
        db: number of the logical database; 0 in a Cluster.
        username: user of Redis, or None.
        password: password of Redis, or None.
        sentinel_username: user of the sentinels, or None.
        sentinel_password: password of the sentinels, or None.
        tls: True when every connection is encrypted.
        ca_file: certificates to trust, PEM; the system's when None.
        cert_file: our own certificate, PEM, or None.
        key_file: its key, PEM, or None.
        verify: whether the server's certificate is checked.
        check_hostname: whether the certificate must be made out to the host.
    """

    kind: RedisKind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    service: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    check_hostname: bool = True

    @classmethod
    def parse(cls, url: str, variable: str = "LARGESSE_REDIS_URL") -> RedisAddress:
        """Read an address from its URL.

        Args:
            url: one of the forms at the top of this module.
            variable: where the URL was written, for error texts.

        Raises:
            SettingsError: the URL cannot be read. It is not repeated: it may hold a password.
        """
        if not isinstance(url, str):
            raise SettingsError(variable, "is not a text", _REMEDY)
        try:
            parts = urlsplit(url.strip())
        except ValueError:
            raise SettingsError(variable, "is not a URL", _REMEDY) from None
        if parts.scheme not in _KINDS:
            raise SettingsError(variable, "has a scheme that is not known", _REMEDY)
        if parts.fragment:
            problem = "holds a # that starts a fragment"
            raise SettingsError(variable, problem, "Write %23 for a # in a password.")
        return _read(parts, variable)

    def __str__(self) -> str:
        scheme = "unix" if self.kind == "unix" else f"redis{'s' if self.tls else ''}"
        if self.kind in {"sentinel", "cluster"}:
            scheme += f"+{self.kind}"
        user = quote(self.username or "", safe="")
        login = f"{user}:***@" if self.password is not None else f"{user}@" if user else ""
        if self.kind == "unix":
            return f"{scheme}://{login}{self.path}?db={self.db}"
        hosts = ",".join(f"{_bracketed(host)}:{port}" for host, port in self.hosts)
        tail = {"single": f"/{self.db}", "sentinel": f"/{self.service}/{self.db}"}
        return f"{scheme}://{login}{hosts}{tail.get(self.kind, '')}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _read(parts: SplitResult, variable: str) -> RedisAddress:
    kind, tls = _KINDS[parts.scheme]
    login, _, netloc = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    query = _read_query(parts.query, kind, tls, variable)
    path = unquote(parts.path)
    service: str | None = None
    db = query.pop("db", "")
    hosts: tuple[tuple[str, int], ...] = ()
    if kind == "unix":
        if netloc or not path.startswith("/"):
            raise SettingsError(variable, "does not name a socket by its whole path", _REMEDY)
    else:
        default_port = DEFAULT_SENTINEL_PORT if kind == "sentinel" else DEFAULT_PORT
        hosts = _read_hosts(netloc, default_port, variable)
        if kind == "single" and len(hosts) != 1:
            raise SettingsError(variable, "names several hosts for one server", _REMEDY)
        rest = [part for part in path.split("/") if part]
        if kind == "sentinel":
            if not rest:
                raise SettingsError(variable, "does not name the service to ask for", _REMEDY)
            service = rest.pop(0)
        if len(rest) > (0 if kind == "cluster" else 1):
            raise SettingsError(variable, "has more parts than an address", _REMEDY)
        db = rest[0] if rest else db
    return RedisAddress(
        kind=kind,
        hosts=hosts,
        path=path if kind == "unix" else None,
        service=service,
        db=_read_db(db, kind, variable),
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=query.get("sentinel_username"),
        sentinel_password=query.get("sentinel_password"),
        tls=tls,
        ca_file=query.get("ssl_ca_certs"),
        cert_file=query.get("ssl_certfile"),
        key_file=query.get("ssl_keyfile"),
        verify=query.get("ssl_cert_reqs", "required") != "none",
        check_hostname=query.get("ssl_check_hostname", "true") != "false",
    )


def _read_hosts(netloc: str, default_port: int, variable: str) -> tuple[tuple[str, int], ...]:
    hosts = []
    for one in netloc.split(","):
        try:
            parts = urlsplit(f"//{one}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or port == 0 or not _is_host(host):
            raise SettingsError(variable, "has a host or a port that cannot be read", _REMEDY)
        hosts.append((host, port or default_port))
    return tuple(hosts)


def _is_host(text: str) -> bool:
    """Say whether a name server can be asked for it: no label is empty or too long."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return text.isprintable() and " " not in text


def _read_db(text: str, kind: RedisKind, variable: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise SettingsError(variable, "has a database that is not a number", _REMEDY)
    if kind == "cluster" and int(text) != 0:
        raise SettingsError(variable, "names a database", "A Cluster has only database 0.")
    return int(text)


def _read_query(query: str, kind: RedisKind, tls: bool, variable: str) -> dict[str, str]:
    allowed = {"db", *(_TLS_QUERY if tls else ()), *(_SENTINEL_QUERY * (kind == "sentinel"))}
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    choices = {"ssl_cert_reqs": {"required", "none"}, "ssl_check_hostname": {"true", "false"}}
    if not pairs.keys() <= allowed:
        remedy = f"After ? these are understood here: {', '.join(sorted(allowed))}."
        raise SettingsError(variable, "has an option that is not known", remedy)
    for name, values in choices.items():
        if name in pairs and pairs[name] not in values:
            remedy = f"Write {name}={' or '.join(sorted(values))}."
            raise SettingsError(variable, f"has a wrong {name}", remedy)
    return pairs
