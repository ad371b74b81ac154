"""Charts: numbers to places."""

from __future__ import annotations

import pytest

from worker.dashboard.chart import HEIGHT, WIDTH, bars, levels, lines

MINUTE = 60_000
#: Three minutes up to 00:15.
MINUTES = [13 * MINUTE, 14 * MINUTE, 15 * MINUTE]


def test_bars_stand_on_each_other() -> None:
    """The outcomes of a minute fill it from the axis up, without a gap, in a fixed order."""
    chart = bars(MINUTES, {MINUTES[1]: {"failed": 1, "succeeded": 3}})
    low, high = chart.bars
    assert (low.name, high.name) == ("succeeded", "failed")
    assert low.y + low.height == pytest.approx(HEIGHT, abs=0.02)
    assert high.y + high.height == pytest.approx(low.y, abs=0.02)
    assert high.y == pytest.approx(0, abs=0.02)
    assert WIDTH / 3 < low.x < WIDTH * 2 / 3
    assert [tick.text for tick in chart.y_ticks] == ["0", "2", "4"]
    assert chart.rows == [("00:13", [0, 0]), ("00:14", [3, 1]), ("00:15", [0, 0])]


def test_bars_of_nothing() -> None:
    """An hour without a job has axes and no bar."""
    chart = bars(MINUTES, {})
    assert (chart.bars, chart.names) == ([], [])
    assert [tick.text for tick in chart.x_ticks] == ["00:15"]


def test_lines_break_where_nothing_was_measured() -> None:
    """A gap is a gap and not a line to zero; what stands alone is a dot."""
    minutes = [MINUTE * n for n in range(5)]
    chart = lines(minutes, {"p50": {0: 0.1, MINUTE: 0.2, 3 * MINUTE: 1.0}})
    assert len(chart.paths["p50"]) == 1
    assert len(chart.paths["p50"][0].split()) == 2
    (dot,) = chart.dots["p50"]
    assert dot[1] == 0
    assert [values for _, values in chart.rows] == [[0.1], [0.2], [None], [1.0], [None]]


def test_lines_show_the_quick_beside_the_slow() -> None:
    """Times stand on a logarithmic axis between whole powers of ten."""
    chart = lines([0, MINUTE], {"p50": {0: 0.09}, "p99": {0: 900.0, MINUTE: 0.0}})
    places = {name: dots for name, dots in chart.dots.items() if dots}
    assert 0 < places["p50"][0][1] < HEIGHT
    slow, nothing = (float(pair.split(",")[1]) for pair in chart.paths["p99"][0].split())
    assert 0 < slow < places["p50"][0][1]
    assert nothing == HEIGHT
    assert [tick.text for tick in chart.y_ticks] == ["1 ms", "100 ms", "10 s", "1000 s"]
    assert chart.y_ticks[-1].at == 0


def test_lines_of_nothing() -> None:
    """An hour without a job has an axis and no line."""
    chart = lines(MINUTES, {"p50": {}, "p99": {}})
    assert (chart.paths, chart.dots) == ({"p50": [], "p99": []}, {"p50": [], "p99": []})
    assert [tick.text for tick in chart.y_ticks] == ["10 ms", "100 ms", "1 s"]


@pytest.mark.parametrize(
    ("value", "top"), [(0, 2), (1, 2), (3, 4), (5, 6), (7, 10), (11, 20), (61, 100), (1234, 2000)]
)
def test_axis_ends_at_a_round_number(value: int, top: int) -> None:
    """The top is the next round number, and its half is whole."""
    chart = bars([0], {0: {"succeeded": value}})
    assert chart.y_ticks[-1].text == f"{top}"
    assert float(chart.y_ticks[1].text) == top / 2


def test_levels_stand_on_zero() -> None:
    """Numbers are drawn from zero up to a round number; what was not noted is a gap."""
    chart = levels(MINUTES, {"waiting": {MINUTES[0]: 0, MINUTES[2]: 7}})
    low, high = chart.dots["waiting"]
    assert (low[1], high[1]) == (HEIGHT, pytest.approx(HEIGHT * 0.3))
    assert [tick.text for tick in chart.y_ticks] == ["0", "5", "10"]
    assert chart.rows == [("00:13", [0]), ("00:14", [None]), ("00:15", [7])]


def test_bars_take_other_names() -> None:
    """What is stacked and in which order is the caller's."""
    chart = bars(MINUTES, {MINUTES[0]: {"a": 1, "b": 2, "c": 9}}, order=("b", "a"))
    assert chart.names == ["b", "a"]
    assert [bar.name for bar in chart.bars] == ["b", "a"]
