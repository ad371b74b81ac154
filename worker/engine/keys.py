"""Names of the Redis keys, and the cipher of their values.

The scripts build the same names; `docs/redis_keys.md` lists them all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Self

from worker.encryption import PLAIN, Cipher
from worker.settings import Settings

__all__ = ["DEFAULT_NAMESPACE", "RECORD_VERSION", "Keyspace", "site_tag"]

#: First part of every key; another one keeps two fleets on one Redis apart.
DEFAULT_NAMESPACE: Final = "largesse"
#: Version of the job record this code writes, and the highest it reads. A record of the next one
#: is left to workers that know it; what readers may ignore is added without a new version.
RECORD_VERSION: Final = 1
#: Hex digits of a job id that say its site, and with it its shard.
TAG_LENGTH: Final = 4


def site_tag(site: str) -> str:
    """Give the hex digits that a job id of this site starts with.

    Args:
        site: name of the site; "" for messages that have none.

    Returns:
        `TAG_LENGTH` lower-case hex digits.
    """
    return hashlib.sha256(site.encode()).hexdigest()[:TAG_LENGTH]


@dataclass(frozen=True, slots=True)
class Keyspace:
    """The keys of one namespace, spread over a fixed number of shards.

    A shard is one hash tag, so that all keys of a site are in one slot of a Cluster.

    Args:
        namespace: first part of every key.
        shards: how many hash tags the sites are spread over; it must never change under a
            namespace.
        cipher: encrypts what is private in the values, and decrypts it.
    """

    namespace: str = DEFAULT_NAMESPACE
    shards: int = 1
    cipher: Cipher = PLAIN

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Make the keyspace that the settings describe.

        Raises:
            SettingsError: there are keys, and the extra `encryption` is not installed.
        """
        return cls(settings.namespace, settings.shards, Cipher.of(settings))

    def prefix(self, shard: int) -> str:
        """Give what every key of the shard starts with, such as `{largesse:0}:`."""
        return f"{{{self.namespace}:{shard}}}:"

    def shard_of_site(self, site: str) -> int:
        """Give the shard of a site, or of a budget of its own such as `acme/grow`."""
        return int(site_tag(site.partition("/")[0]), 16) % self.shards

    def shard_of_job(self, job_id: str) -> int:
        """Give the shard of a job out of its id; foreign ids are all on shard 0."""
        try:
            return int(job_id[:TAG_LENGTH], 16) % self.shards if len(job_id) == 32 else 0
        except ValueError:
            return 0

    def job(self, job_id: str) -> str:
        """Give the key of a job's record."""
        return f"{self.prefix(self.shard_of_job(job_id))}job:{job_id}"

    def outcome(self, job_id: str) -> str:
        """Give the key of a job's outcome."""
        return f"{self.prefix(self.shard_of_job(job_id))}out:{job_id}"

    def history(self, job_id: str) -> str:
        """Give the key of a job's earlier attempts."""
        return f"{self.prefix(self.shard_of_job(job_id))}hist:{job_id}"

    def message(self, job_id: str) -> str:
        """Give the key of a job's message."""
        return f"{self.prefix(self.shard_of_job(job_id))}msg:{job_id}"

    def channel(self, job_id: str) -> str:
        """Give the channel on which the ending of a job is announced."""
        return f"{self.prefix(self.shard_of_job(job_id))}done:{job_id}"

    def stream(self, shard: int) -> str:
        """Give the key of a shard's stream of outcomes."""
        return f"{self.prefix(shard)}outcomes"

    def bell(self, shard: int, queue: str, *, choosy: bool = False) -> str:
        """Give the key of the list that idle workers of a queue block on.

        Args:
            shard: shard of the queue's sites.
            queue: name of the queue.
            choosy: they leave out a site at present, whose jobs must not wake them.
        """
        return f"{self.prefix(shard)}q:{queue}:{'choosy_bell' if choosy else 'bell'}"

    def site(self, site: str) -> str:
        """Give the key of a site's budget and state."""
        return f"{self.prefix(self.shard_of_site(site))}site:{site}"
