"""A line between two network namespaces: real packets of real connections, some lost or late.

`tc netem` does this in the kernel, where the kernel has it; this line needs TUN devices alone.
Each end is one, and what arrives at the one goes to the other through this process: at once, late,
out of order, or never. Nobody outside of the two namespaces sees it, and it goes with them.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from rig.namespaces import TUN

NEAR, FAR = "10.9.0.1", "10.9.0.2"

_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_SIOCSIFADDR, _SIOCSIFDSTADDR = 0x8916, 0x8918
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_NETNS = "/proc/thread-self/ns/net"
_TCP = 6


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to packets from or to one TCP port; `up` is far to near.

    Attributes:
        port: the port; 0 for none.
        loss: share 0..1 of packets that never arrive.
        jitter_ms: each is up to so much late, so they overtake each other.
        drop_up, drop_down: nothing arrives that way.
    """

    port: int = 0
    loss: float = 0.0
    jitter_ms: float = 0.0
    drop_up: bool = False
    drop_down: bool = False


class Wire:
    """Puts this thread, and whatever it starts from now on, at the near end of a line.

    Args:
        seed: of losses and delays.
    """

    def __init__(self, *, seed: int = 1) -> None:
        self.weather = Weather()
        self.lost = 0
        self._rng = random.Random(seed)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._home = os.open(_NETNS, os.O_RDONLY)
        self._far_tun = self._new_end(FAR, NEAR)
        self._far = os.open(_NETNS, os.O_RDONLY)
        self._near_tun = self._new_end(NEAR, FAR)
        self._over, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="wire", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stop)
        self._thread.join(5)
        self._check(self._libc.setns(self._home, _CLONE_NEWNET))
        for handle in (self._over, self._far_tun, self._near_tun, self._far, self._home):
            os.close(handle)

    def set(self, **changes: Any) -> None:
        """Change the weather, named as in `Weather`."""
        self.weather = replace(self.weather, **changes)

    def heal(self) -> None:
        """Let every packet through at once."""
        self.weather = Weather()

    def far(self, words: Sequence[str]) -> list[str]:
        """Give the command that runs these words at the far end."""
        program = sys.executable if words[0] == "python" else words[0]
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self._far}", program, *words[1:]]

    def _new_end(self, address: str, other: str) -> int:
        """Move this thread to a new namespace with one end of the line in it."""
        self._check(self._libc.unshare(_CLONE_NEWNET))
        tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", b"line0", _IFF_TUN | _IFF_NO_PI))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for name, request in ((address, _SIOCSIFADDR), (other, _SIOCSIFDSTADDR)):
                there = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(name))
                fcntl.ioctl(sock, request, struct.pack("16s16s8x", b"line0", there))
            for device in (b"lo", b"line0"):
                asked = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sH22x", device, 0))
                flags = struct.unpack("16sH22x", asked)[1]
                fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH22x", device, flags | _IFF_UP))
        return tun

    def _check(self, result: int) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def _carry(self) -> None:
        """Bring packets from each end to the other until the end."""
        under_way: list[tuple[float, int, int, bytes]] = []
        count = 0
        while True:
            wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
            ready, _, _ = select.select(
                [self._far_tun, self._near_tun, self._over], [], [], wait_s
            )
            if self._over in ready:
                return
            for source in ready:
                packet = os.read(source, 65_536)
                up = source == self._far_tun
                late_s = self._lateness_s(packet, up=up)
                if late_s is not None:
                    count += 1
                    to = self._near_tun if up else self._far_tun
                    heapq.heappush(under_way, (time.monotonic() + late_s, count, to, packet))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, to, packet = heapq.heappop(under_way)
                os.write(to, packet)

    def _lateness_s(self, packet: bytes, *, up: bool) -> float | None:
        """Seconds that the packet is late; None when it is lost."""
        now = self.weather
        if packet[0] >> 4 != 4 or packet[9] != _TCP:
            return 0.0
        start = (packet[0] & 0xF) * 4
        if now.port not in struct.unpack("!HH", packet[start : start + 4]):
            return 0.0
        dropped = now.drop_up if up else now.drop_down
        if dropped or self._rng.random() < now.loss:
            self.lost += 1
            return None
        return self._rng.random() * now.jitter_ms / 1000
