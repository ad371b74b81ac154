"""A master, its replica and a Sentinel that changes their parts when the master is gone."""

from __future__ import annotations

from pathlib import Path

import redis

from rig.processes import Process
from rig.server import RedisServer, server_binary
from rig.waiting import until
from worker.demo.embedded import free_port

SERVICE = "largesse-test"


class Sentinels:
    """Two servers and one Sentinel that watches them.

    Args:
        folder: for data and logs.
    """

    def __init__(self, folder: Path) -> None:
        config = {"appendonly": "yes", "repl-diskless-sync-delay": 0}
        self.master = RedisServer(folder / "one", config=config).start()
        self.replica = RedisServer(folder / "other", config=config)
        self._follow()
        self.port = free_port()
        path = folder / "sentinel.conf"
        path.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.master.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 1000\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        words = [server_binary(), str(path), "--sentinel"]
        self.process = Process(words, output=folder / "sentinel.log")

    @property
    def url(self) -> str:
        """URL of the service."""
        return f"redis+sentinel://127.0.0.1:{self.port}/{SERVICE}/0"

    def wait_ready(self) -> None:
        """Wait until the Sentinel knows who is who, and the replica follows."""
        until(self._watches, timeout_s=40, every_s=0.1, what="the Sentinel")

    def kill_master(self) -> None:
        """SIGKILL the master; the replica is the one to be promoted."""
        self.master.kill()
        self.master, self.replica = self.replica, self.master

    def bring_back(self) -> None:
        """Start the one that was killed as a replica of the new master."""
        self._follow()
        self.wait_ready()

    def confirm(self) -> bool:
        """Say whether all that the master has taken so far is on the replica too."""
        with self.master.client() as client:
            client.set("confirmed", "so far")  # WAIT is about the writes of its own connection
            found = int(client.wait(1, 2_000))
            client.delete("confirmed")
        return found == 1

    def stop(self) -> None:
        """End all three."""
        self.process.end()
        self.replica.stop()
        self.master.stop()

    def _follow(self) -> None:
        self.master.config.pop("replicaof", None)
        self.replica.config["replicaof"] = f"127.0.0.1 {self.master.port}"
        self.replica.start()

    def _watches(self) -> bool:
        with redis.Redis(port=self.port) as sentinel, self.replica.client() as replica:
            try:
                _, port = sentinel.sentinel_get_master_addr_by_name(SERVICE)  # type: ignore[misc]
                found = sentinel.sentinel_slaves(SERVICE)
                status = replica.info("replication")["master_link_status"]
            except redis.RedisError:
                return False
        alive = [one for one in found if not one["is_sdown"]]  # type: ignore[union-attr]
        return port == self.master.port and bool(alive) and status == "up"
