"""`largesse stats`: what happened in the last minutes and what waits now; with --watch, live."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from worker.cli.output import note, say_json, stdout_console

if TYPE_CHECKING:
    import redis
    from rich.console import RenderableType

    from worker.engine.keys import Keyspace
    from worker.metrics.counts import Times
    from worker.metrics.gauges import QueueGauges
    from worker.metrics.minutes import Point

__all__ = ["stats"]

#: Seconds between two looks of --watch: workers add their counts every five.
EVERY_S: Final = 2.0
#: Minutes of the picture of the last hour, one character each.
SPARK_MINUTES: Final = 60

#: Columns from which on every outcome has one.
WIDE: Final = 130

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_STATES: Final = ("busy", "idle", "stopping", "stuck", "lost", "silent")
_OUTCOMES: Final = ("succeeded", "failed", "expired", "cancelled", "held")


def stats(
    *,
    minutes: Annotated[
        int, typer.Option("--minutes", "-m", min=1, max=120, help="Minutes to look back.")
    ] = 60,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Refresh every two seconds until Ctrl-C.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object; with --watch one every two seconds."),
    ] = False,
) -> None:
    """Show what happened in the last hour, and what waits now."""
    from worker.engine.connection import PRODUCER, connect  # noqa: PLC0415 - heavy
    from worker.engine.keys import Keyspace  # noqa: PLC0415 - heavy
    from worker.settings import Settings  # noqa: PLC0415 - heavy

    settings = Settings.from_env()
    client = connect(settings.redis, PRODUCER)
    keyspace = Keyspace.of(settings)
    try:
        if watch:
            _watch(client, keyspace, minutes, as_json=as_json)
        else:
            _show(_look(client, keyspace, minutes), as_json=as_json)
    finally:
        client.close()


def _look(client: redis.Redis, keyspace: Keyspace, minutes: int) -> dict[str, Any]:
    from worker.metrics.gauges import read_queue  # noqa: PLC0415 - heavy
    from worker.metrics.minutes import read_minutes  # noqa: PLC0415 - heavy
    from worker.operator.worker_state import read_workers  # noqa: PLC0415 - heavy

    queue = read_queue(client, keyspace)
    states = Counter(one.state(queue.now_ms) for one in read_workers(client, keyspace))
    return summary(queue, read_minutes(client, keyspace, minutes), minutes, states)


def _show(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(found)
        return
    console = stdout_console()
    console.print(picture(found, console.width))
    if not found["places"]:
        note("Nothing happened in this time. Start a worker: largesse worker")


def _watch(client: redis.Redis, keyspace: Keyspace, minutes: int, *, as_json: bool) -> None:
    from rich.live import Live  # noqa: PLC0415 - heavy
    from rich.text import Text  # noqa: PLC0415 - heavy

    from worker.errors import BrokerError  # noqa: PLC0415 - with the rest

    if as_json:
        while True:
            _show(_look(client, keyspace, minutes), as_json=True)
            time.sleep(EVERY_S)
    console = stdout_console()
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            try:
                shown: RenderableType = picture(_look(client, keyspace, minutes), console.width)
            except BrokerError as error:  # it may come back while somebody watches
                shown = Text(str(error))
            live.update(shown, refresh=True)
            time.sleep(EVERY_S)


def summary(
    queue: QueueGauges, points: Sequence[Point], minutes: int, workers: Mapping[str, int]
) -> dict[str, Any]:
    """Sum up what was read.

    Args:
        queue: the queue as it is.
        points: what happened.
        minutes: how far back that goes.
        workers: how many workers are in which state.

    Returns:
        What `--json` prints; docs/cli.md has its shape.
    """
    from worker.metrics.minutes import merge  # noqa: PLC0415 - heavy

    places = sorted({(one.site, one.kind) for one in points})
    starts = sorted({one.minute_ms for one in points})
    by_minute = {start: merge(one for one in points if one.minute_ms == start) for start in starts}
    by_place = {
        place: merge(one for one in points if (one.site, one.kind) == place) for place in places
    }
    return {
        "at": queue.now_ms,
        "minutes": minutes,
        "queue": {
            "waiting": queue.waiting,
            "oldest_s": round(queue.oldest_age_s, 3),
            "delayed": queue.delayed,
            "running": queue.leased,
            "dead": queue.dead,
            "held": queue.held,
        },
        "workers": {state: workers.get(state, 0) for state in _STATES},
        "sites": [_site(queue, one.name) for one in queue.sites],
        "places": [
            {"site": site, "kind": kind, **_figures(by_place[site, kind])} for site, kind in places
        ],
        "total": _figures(merge(points)),
        "by_minute": [{"minute": start, **_figures(by_minute[start])} for start in starts],
    }


def _site(queue: QueueGauges, name: str) -> dict[str, Any]:
    site = next(one for one in queue.sites if one.name == name)
    lines = [one for one in queue.lines if one.site == name]
    return {
        "site": name,
        "waiting": sum(one.waiting for one in lines),
        "oldest_s": round(max((one.oldest_age_s for one in lines), default=0.0), 3),
        "in_flight": site.in_flight,
        "max_in_flight": site.max_in_flight,
        "rate_per_minute": round(site.rate_per_minute, 3),
        "adaptive_ratio": round(site.adaptive_ratio, 4),
        "budget_used": round(site.budget_used, 3),
        "throttled_s": round(site.throttled_s, 3),
        "paused_reason": site.paused_reason,
        "tripped_reason": site.tripped_reason,
        "unserved_s": round(queue.unserved[name], 3) if name in queue.unserved else None,
    }


def _figures(point: Point | None) -> dict[str, Any]:
    """Give the figures of a sum; all zero when nothing happened."""
    outcomes = {} if point is None else point.outcomes
    counts = ("attempts", "retries", "calls", "throttled", "replayed")
    return {
        **{name: outcomes.get(name, 0) for name in _OUTCOMES},
        **{name: 0 if point is None else getattr(point, name) for name in counts},
        "api_ms": _quantiles(None if point is None else point.api),
        "total_latency_ms": _quantiles(None if point is None else point.total_latency),
    }


def _quantiles(times: Times | None) -> dict[str, float | None]:
    found = {"p50": 0.5, "p99": 0.99}
    values = {name: times.quantile_s(part) if times else None for name, part in found.items()}
    return {name: None if one is None else round(one * 1000, 1) for name, one in values.items()}


def picture(found: Mapping[str, Any], width: int) -> RenderableType:
    """Draw a summary.

    Args:
        found: what `summary` gave.
        width: columns of the terminal.

    Returns:
        Something that rich prints.
    """
    from rich.console import Group  # noqa: PLC0415 - heavy
    from rich.text import Text  # noqa: PLC0415 - heavy

    queue = found["queue"]
    head = (
        f"waiting {queue['waiting']} (oldest {_span(queue['oldest_s'])})   "
        f"running {queue['running']}   delayed {queue['delayed']}   "
        f"dead {queue['dead']}   held {queue['held']}"
    )
    there = "   ".join(f"{count} {state}" for state, count in found["workers"].items() if count)
    ended = {one["minute"]: sum(one[name] for name in _OUTCOMES) for one in found["by_minute"]}
    newest = found["at"] // 60_000
    minutes = range(newest - min(SPARK_MINUTES, found["minutes"]) + 1, newest + 1)
    bars = spark([ended.get(minute * 60_000, 0) for minute in minutes])
    return Group(
        Text(head, style="bold"),
        Text(f"workers  {there or 'none'}"),
        Text(f"jobs a minute  {bars}  most {max(ended.values(), default=0)}"),
        _places(found, width),
        *([_sites(found["sites"])] if found["sites"] else []),
    )


def _places(found: Mapping[str, Any], width: int) -> RenderableType:
    """Draw a row for each site and kind; narrow, without outcomes that nothing had."""
    total = found["total"]
    narrow = width < WIDE
    outcomes = [
        name for name in _OUTCOMES if not narrow or total[name] or name in {"succeeded", "failed"}
    ]
    rows = [
        (one["site"], one["kind"].replace("_", "-"), *(str(one[name]) for name in outcomes),
         str(one["retries"]), str(one["throttled"]),
         *_shown(one["api_ms"]), *_shown(one["total_latency_ms"]))
        for one in (*found["places"], {"site": "all", "kind": "", **total})
    ]  # fmt: skip
    between = "\n" if narrow else " "
    names = ["ok" if narrow and name == "succeeded" else name for name in outcomes]
    times = [f"{what}{between}{part}" for what in ("API", "total") for part in ("p50", "p99")]
    headers = ("site", "kind", *names, "retries", "429s", *times)
    return _table(f"the last {found['minutes']} minutes", headers, rows, 2)


def _sites(sites: Sequence[Mapping[str, Any]]) -> RenderableType:
    rows = [
        (one["site"], str(one["waiting"]), _span(one["oldest_s"]),
         f"{one['in_flight']}/{one['max_in_flight'] or '-'}",
         f"{one['rate_per_minute']:g}" if one["rate_per_minute"] else "-",
         f"{one['budget_used']:.0%}", _state(one))
        for one in sites
    ]  # fmt: skip
    headers = ("site", "waiting", "oldest", "in flight", "rate/min", "budget used", "state")
    return _table("now", headers, rows, 1)


def _state(site: Mapping[str, Any]) -> str:
    for state in ("paused", "tripped"):
        if site[f"{state}_reason"] is not None:
            return f"{state}: {site[f'{state}_reason']}"
    if site["unserved_s"] is not None:
        return f"unserved for {_span(site['unserved_s'])}"
    return f"throttled for {_span(site['throttled_s'])}" if site["throttled_s"] else "open"


def _shown(quantiles: Mapping[str, float | None]) -> list[str]:
    return ["-" if one is None else _span(one / 1000) for one in quantiles.values()]


def _span(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def spark(values: Sequence[int]) -> str:
    """Draw numbers as a row of blocks, the highest at full height; zero is a blank."""
    most = max(values, default=0)
    return "".join(
        _BLOCKS[max(0, -(-value * len(_BLOCKS) // most) - 1)] if value else " " for value in values
    )


def _table(
    title: str, headers: Sequence[str], rows: Iterable[Sequence[str]], words: int
) -> RenderableType:
    from rich import box  # noqa: PLC0415 - heavy
    from rich.table import Table  # noqa: PLC0415 - heavy
    from rich.text import Text  # noqa: PLC0415 - heavy

    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for place, name in enumerate(headers):
        left = place < words or name == "state"
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
