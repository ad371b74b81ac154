"""`largesse request`: the documentation's "Test request", without a queue."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.complete import complete_kind, complete_site
from worker.cli.exits import Exit
from worker.cli.inputs import kind_of, read_object
from worker.cli.output import note, say, say_json

if TYPE_CHECKING:
    from worker.api import ApiAnswer, ApiRequest
    from worker.operations import Operation
    from worker.settings import Settings
    from worker.settings.site import Site

__all__ = ["request"]

MASKED = "Basic ****"
_OPTIONS_HELP = "JSON file with options, as in a line of a job file."


def request(
    kind: Annotated[
        str,
        typer.Argument(
            help="gift-checkout or personalized-offer.",
            metavar="KIND",
            autocompletion=complete_kind,
        ),
    ],
    payload: Annotated[
        str, typer.Argument(help="JSON file of the body, or - for stdin.", metavar="PAYLOAD")
    ],
    *,
    options: Annotated[str | None, typer.Option(help=_OPTIONS_HELP, metavar="FILE")] = None,
    site: Annotated[
        str | None,
        typer.Option(help="Site; default: the default site.", autocompletion=complete_site),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Key of a job: shows the request that this job sends."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the request and send nothing.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object; body is the exact text of the request."
        ),
    ] = False,
) -> None:
    """Show the exact request of a job, and send it once.

    Then show the answer. Nothing is enqueued or repeated; the API key is masked.
    """
    from worker.api import build_request  # noqa: PLC0415 - heavy
    from worker.jobs.job import Job, idempotency_key  # noqa: PLC0415
    from worker.operations import operation  # noqa: PLC0415

    settings = _settings()
    chosen, where = operation(kind_of(kind)), settings.site(site)
    body = read_object(payload, "PAYLOAD")
    given = read_object(options, "--options") if options is not None else {}
    job = Job.prepare(settings, chosen.kind, body, key=key, site=where.name, options=given)
    keyed = chosen.idempotent or settings.offers_idempotency_key
    built = build_request(
        chosen,
        site=where,
        payload=job.payload,
        options=job.options,
        idempotency_key=idempotency_key(job.id, 0) if keyed else None,
    )
    if dry_run:
        _show(built, as_json=as_json)
    else:
        _send(settings, chosen, where, built, as_json=as_json)


def _settings() -> Settings:
    from worker.settings import Settings  # noqa: PLC0415 - heavy

    # Redis has no part in this: a request can be tried before there is one.
    return Settings.from_env({"LARGESSE_REDIS_URL": "redis://127.0.0.1/0", **os.environ})


def _send(
    settings: Settings, operation: Operation, site: Site, built: ApiRequest, *, as_json: bool
) -> None:
    import asyncio  # noqa: PLC0415 - only what sends pays for it

    from worker.api.client import ApiClient  # noqa: PLC0415
    from worker.errors import ApiError  # noqa: PLC0415

    async def once() -> ApiAnswer:
        client = ApiClient(
            connect_timeout_s=settings.connect_timeout_s,
            attempt_timeout_s=settings.attempt_timeout_s,
            max_body_bytes=settings.max_body_bytes,
        )
        try:
            return await client.call(built, api_key=site.api_key.read())
        finally:
            await client.aclose()

    try:
        answer = asyncio.run(once())
        operation.read_answer(answer.body)
    except ApiError as error:
        failure = {
            "class": type(error).__name__,
            "reason": error.reason,
            "status": error.status,
            "api_error_code": error.api_error_code,
            "param": error.param,
        }
        _show(built, {"error": failure}, as_json=as_json)
        if not as_json:
            note(f"largesse: {error}. Correct the request or the settings, then send it again.")
        raise typer.Exit(Exit.FAILED) from None
    shown = {
        "status": answer.status,
        "replayed": answer.replayed,
        "elapsed_ms": answer.elapsed_ms,
        "body": answer.body,
    }
    _show(built, shown, as_json=as_json)


def _show(
    built: ApiRequest, answer: Mapping[str, Any] | None = None, *, as_json: bool = False
) -> None:
    headers = {**dict(built.headers), "Authorization": MASKED}
    body = built.body.decode()
    if as_json:
        shown = {"method": built.method, "url": built.url, "headers": headers, "body": body}
        say_json(shown if answer is None else {**shown, "answer": answer})
        return
    say(f"{built.method} {built.url}")
    for name, value in headers.items():
        say(f"{name}: {value}")
    say(f"\n{body}")
    if answer is not None and "error" not in answer:
        replayed = ", replayed" if answer["replayed"] else ""
        say(f"\n{answer['status']} in {answer['elapsed_ms']} ms{replayed}")
        say(json.dumps(answer["body"], indent=2, ensure_ascii=False))
