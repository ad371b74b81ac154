"""`largesse sites`: limits, backlog and state of each site; pause, resume, change the rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from schemas import did_you_mean
from worker.cli.complete import complete_site
from worker.cli.operator_client import examples, facts, moment, operator, table
from worker.cli.output import fail, say_json

if TYPE_CHECKING:
    from worker.operator import OperatorClient, SiteState
    from worker.operator.worker_state import KeyHolder

__all__ = ["sites"]

sites = typer.Typer(
    help="Sites: list, show, pause, resume, change the rate.", no_args_is_help=True
)

Name = Annotated[
    str, typer.Argument(help="Name of a site.", metavar="SITE", autocompletion=complete_site)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for each site.")]


@sites.command("list", epilog=examples("sites list", "sites list --json"))
def list_sites(*, as_json: Json = False) -> None:
    """List the sites that workers know, with budget, backlog and state."""
    with operator() as client:
        found, now_ms = client.sites(), client.now_ms()
    if as_json:
        for one in found:
            say_json(one.as_json(now_ms))
        return
    table(
        ("site", "state", "a minute", "used", "in flight", "at most", "waiting", "until",
         "reason"),
        [
            (one.name, one.state(now_ms), rate_of(one), f"{one.budget_used:.0%}", one.in_flight,
             one.at_once or "no limit", one.backlog, _until(one, now_ms), one.reason)
            for one in found
        ],
        empty="No site yet. The first worker that starts writes the sites of its settings to "
        "Redis.",
    )  # fmt: skip


@sites.command("show", epilog=examples("sites show acme-test"))
def show_site(site: Name, *, as_json: Json = False) -> None:
    """Show one site, and which worker holds which key for it.

    A key shows as a mark: eight digits of a hash, which say nothing about the key.
    """
    from worker.operator.worker_state import key_holders  # noqa: PLC0415 - heavy

    with operator() as client:
        one, now_ms = _site(client, site), client.now_ms()
        holders = key_holders(client.workers(), site, now_ms)
    _show(one, now_ms, as_json, holders)


@sites.command("pause", epilog=examples("sites pause acme-test --reason 'price change'"))
def pause_site(
    site: Name,
    *,
    reason: Annotated[
        str, typer.Option(help="Why, for the next person who looks.")
    ] = "paused by hand",
    as_json: Json = False,
) -> None:
    """Stop handing out jobs of a site. They stay in their lines; running jobs end."""
    with operator() as client:
        _site(client, site)
        client.pause(site, reason=reason)
        one, now_ms = _site(client, site), client.now_ms()
    _show(one, now_ms, as_json)


@sites.command("resume", epilog=examples("sites resume acme-test"))
def resume_site(site: Name, *, as_json: Json = False) -> None:
    """Hand out the jobs of a paused, tripped or throttled site again."""
    with operator() as client:
        _site(client, site)
        client.resume(site)
        one, now_ms = _site(client, site), client.now_ms()
    _show(one, now_ms, as_json)


@sites.command("rate", epilog=examples("sites rate acme-test 60", "sites rate acme-test settings"))
def rate_site(
    site: Name,
    rate: Annotated[
        str,
        typer.Argument(
            help="Calls in any minute, 0 for no limit, or `settings` for the rate of the "
            "settings.",
            metavar="RATE",
        ),
    ],
    *,
    as_json: Json = False,
) -> None:
    """Change a site's rate for the whole fleet, at once; a restart of workers keeps it."""
    calls = None if rate == "settings" else _number(rate)
    with operator() as client:
        _site(client, site)
        client.set_rate(site, calls)
        one, now_ms = _site(client, site), client.now_ms()
    _show(one, now_ms, as_json)


_TIMES: Final = (
    "paused_at", "tripped_at", "probe_at", "unserved_since", "throttled_until", "next_at",
)  # fmt: skip


def _until(one: SiteState, now_ms: int) -> str | None:
    """Say when a site is called again: when the API asked, or at the next probe."""
    state = one.state(now_ms)
    if state == "throttled":
        return moment(one.throttled_until_ms)
    return f"probe {moment(one.probe_at_ms)}" if state == "tripped" else None


def rate_of(one: SiteState) -> str:
    """Write a site's rate for a person."""
    if one.hand_rate is not None:
        return f"{one.hand_rate:g} by hand" if one.hand_rate else "no limit by hand"
    rate = one.rate_per_minute
    if rate is None:
        return "no limit"
    return (
        f"{rate:g}" if one.adaptive_ratio >= 1 else f"{rate:g}, now {one.adaptive_ratio:.0%} of it"
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1_000_000:
        fail("RATE must be a number of calls a minute from 0, or the word settings.")
    return value


def _site(client: OperatorClient, name: str) -> SiteState:
    known = {one.name: one for one in client.sites()}
    if name not in known:
        names = ", ".join(known) or "none; start a worker"
        fail(f"there is no such SITE. Known sites: {names}.{did_you_mean(name, known)}")
    return known[name]


def _show(
    one: SiteState, now_ms: int, as_json: bool, holders: Sequence[KeyHolder] | None = None
) -> None:
    shown = one.as_json(now_ms)
    if holders is not None:
        shown["keys"] = [
            {"worker": key.worker, "mark": key.mark, "problem": key.problem or None}
            for key in holders
        ]
    if as_json:
        say_json(shown)
        return
    if holders is not None:
        shown["keys"] = "; ".join(map(str, holders)) or "no living worker knows the site"
    if one.next_at_ms <= now_ms:
        shown["next_at"] = None
    shown["lanes"] = ", ".join(f"{lane} {count}" for lane, count in one.lanes.items())
    facts(shown, times=_TIMES)
