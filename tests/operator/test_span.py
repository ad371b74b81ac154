"""Points in time and lengths of time, as people write and read them."""

from __future__ import annotations

import pytest

from worker.operator.durations import parse_since, spell_ms

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", NOW - 90_000),
        ("30m", NOW - 1_800_000),
        (" 2 h ", NOW - 7_200_000),
        ("7d", NOW - 604_800_000),
        ("2026-01-31", 1_769_817_600_000),
        ("2026-01-31T09:00", 1_769_850_000_000),
        ("2026-01-31T10:00+01:00", 1_769_850_000_000),
    ],
)
def test_since_is_read(text: str, at: int) -> None:
    """So long ago, or a date; without an offset it is UTC."""
    assert parse_since(text, NOW) == at


@pytest.mark.parametrize("text", ["", "yesterday", "-2h", "2w", "h", "2026-13-01"])
def test_since_is_refused(text: str) -> None:
    """What is neither is refused, with what to write."""
    with pytest.raises(ValueError, match="2h"):
        parse_since(text, NOW)


@pytest.mark.parametrize(
    ("length_ms", "text"),
    [
        (-5, "0 s"), (999, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (3_599_000, "59 min"),
        (3_600_000, "1 h"), (7_500_000, "2 h 5 min"), (86_400_000, "1 d"),
        (349_200_000, "4 d 1 h"),
    ],
)  # fmt: skip
def test_lengths_are_spelled(length_ms: int, text: str) -> None:
    """The two largest units are enough."""
    assert spell_ms(length_ms) == text
