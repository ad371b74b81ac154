"""The audit list: who did what to the queue, kept in Redis, bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import redis

from worker.engine.keys import Keyspace
from worker.engine.redis_errors import speaking_to_redis

__all__ = ["Audit", "AuditEntry"]

#: Entries that are kept, about; at some 200 bytes each, 2 MB.
MAX_LEN: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One move of a person.

    Attributes:
        at_ms: when, Unix ms.
        who: who, as the dashboard or the command line knows it.
        action: "replay", "discard", "cancel", "pause", "resume", "rate", "reveal" or "login".
        target: id of the job or name of the site.
        detail: the rest: the reason, the rate, which key.
        result: "done", or why it was refused.
    """

    at_ms: int
    who: str
    action: str
    target: str
    detail: str
    result: str

    def as_json(self) -> dict[str, Any]:
        """Give it as one JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


class Audit:
    """Writes and reads the list; it is on shard 0.

    Args:
        client: a client whose replies are bytes.
        keyspace: names of the keys.

    Raises:
        BrokerUnavailableError: from every method, while Redis is unreachable.
    """

    def __init__(self, client: redis.Redis, keyspace: Keyspace) -> None:
        self._client = client
        self._key = f"{keyspace.prefix(0)}audit"

    def write(
        self, who: str, action: str, target: str, *, detail: str = "", result: str = "done"
    ) -> None:
        """Write down one move."""
        entry: Any = {
            "who": who, "action": action, "target": target, "detail": detail, "result": result,
        }  # fmt: skip
        with speaking_to_redis():
            self._client.xadd(self._key, entry, maxlen=MAX_LEN, approximate=True)

    def read(self, limit: int = 100) -> list[AuditEntry]:
        """Give the newest entries, the newest first."""
        with speaking_to_redis():
            rows: Any = self._client.xrevrange(self._key, count=limit)
        return [
            AuditEntry(
                at_ms=int(entry_id.split(b"-")[0]),
                **{name.decode(): value.decode(errors="replace") for name, value in row.items()},
            )
            for entry_id, row in rows
        ]
