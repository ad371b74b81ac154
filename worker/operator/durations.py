"""Points in time as a person writes them: `90s`, `30m`, `2h`, `7d`, or a date."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

__all__ = ["parse_since", "spell_ms"]

_UNITS_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AGO: Final = re.compile(r"(\d{1,9})\s*([smhd])")


def parse_since(text: str, now_ms: int) -> int:
    """Read a point in time.

    Args:
        text: so long ago (`90s`, `30m`, `2h`, `7d`), or an ISO date or time, UTC without an
            offset.
        now_ms: Unix ms.

    Returns:
        Unix ms.

    Raises:
        ValueError: it is neither; the text of the error says what to write.
    """
    wanted = text.strip()
    ago = _AGO.fullmatch(wanted)
    if ago is not None:
        return now_ms - int(ago[1]) * _UNITS_MS[ago[2]]
    try:
        at = datetime.fromisoformat(wanted)
    except ValueError:
        raise ValueError("is no time: write 30m, 2h, 7d or 2026-01-31T09:00") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def spell_ms(length_ms: int) -> str:
    """Write a length of time for people: `12 s`, `3 min`, `2 h 5 min`, `4 d 1 h`."""
    left_s = max(0, length_ms) // 1000
    if left_s < 60:
        return f"{left_s} s"
    minutes, hours, days = left_s // 60, left_s // 3600, left_s // 86_400
    if hours == 0:
        return f"{minutes} min"
    if days == 0:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"
