"""`largesse result`: outcomes of jobs, by id."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from worker.cli.exits import Exit
from worker.cli.inputs import read_ids
from worker.cli.output import fail, note, say, say_json

if TYPE_CHECKING:
    from worker.client.result_reader import JobResult, ResultReader
    from worker.settings import Settings

__all__ = ["line_of", "result", "show_results"]

#: Jobs that are read, waited for and printed together.
LOT: Final = 500
#: From the best to the worst: the exit code of several jobs is the worst one's.
_ORDER: Final = (Exit.OK, Exit.NO_OUTCOME, Exit.NO_RESULT, Exit.FAILED, Exit.SETTINGS)
#: Class of the error in the place of an outcome that cannot be decrypted here.
_ENCRYPTED: Final = "encrypted"
_WITHOUT_OUTCOME: Final = ("queued", "delayed", "running", "held")


def result(
    job_ids: Annotated[
        list[str] | None, typer.Argument(help="Ids that enqueue printed.", metavar="[JOB_ID]...")
    ] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            help="File of ids, one a line, or of what enqueue --json printed; - for stdin.",
        ),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Wait for outcomes, this long in total."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each job.")
    ] = False,
) -> None:
    """Show the outcomes of jobs, in the order of the ids."""
    from worker.settings import Settings  # noqa: PLC0415 - heavy

    ids = [*(job_ids or ()), *(read_ids(file) if file is not None else ())]
    if not ids:
        fail("give one JOB_ID or more, or --file IDS. See: largesse result --help")
    raise typer.Exit(show_results(Settings.from_env(), ids, wait, as_json=as_json))


def show_results(
    settings: Settings, ids: Sequence[str], wait_s: float | None, *, as_json: bool
) -> Exit:
    """Print the results of jobs, as soon as each lot of them is there.

    Args:
        settings: where Redis is.
        ids: ids of jobs.
        wait_s: most seconds to wait for all of them; None does not wait.
        as_json: one JSON object a job instead of a line.

    Returns:
        The exit code: that of the worst job.
    """
    from worker.client.result_reader import ResultReader  # noqa: PLC0415 - heavy

    deadline = None if wait_s is None else time.monotonic() + wait_s
    worst = 0
    with ResultReader(settings) as reader:
        for job_id, found in _read(reader, ids, deadline):
            worst = max(worst, _ORDER.index(_exit_of(found)))
            if as_json:
                say_json(found.as_json() if found is not None else _missing(job_id))
            else:
                say(line_of(job_id, found))
    return _ORDER[worst]


def _read(
    reader: ResultReader, ids: Sequence[str], deadline: float | None
) -> Iterator[tuple[str, JobResult | None]]:
    from worker.errors import EncryptionError, ResultTimeoutError  # noqa: PLC0415 - with the reader

    for start in range(0, len(ids), LOT):
        lot = ids[start : start + LOT]
        found = _get_many(reader, lot)
        while deadline is not None and (pending := [one for one in lot if _goes_on(found[one])]):
            try:
                reader.wait(pending[0], timeout=max(0.0, deadline - time.monotonic()))
            except ResultTimeoutError as error:
                deadline = None
                note(str(error))
            except EncryptionError:
                pass  # it has ended: told in its line
            # Others have ended meanwhile: one round trip reads them all.
            found |= _get_many(reader, pending)
        yield from ((job_id, found[job_id]) for job_id in lot)


def _get_many(reader: ResultReader, ids: Sequence[str]) -> dict[str, JobResult | None]:
    """Read jobs; what cannot be decrypted here does not keep the others back."""
    from worker.errors import EncryptionError  # noqa: PLC0415 - with the reader

    try:
        return reader.get_many(ids)
    except EncryptionError:
        return {job_id: _get(reader, job_id) for job_id in ids}


def _get(reader: ResultReader, job_id: str) -> JobResult | None:
    from worker.client.result_reader import Failure, JobResult  # noqa: PLC0415 - heavy
    from worker.errors import EncryptionError, ResultMissingError  # noqa: PLC0415 - heavy

    try:
        return reader.get(job_id)
    except ResultMissingError:
        return None
    except EncryptionError as error:
        record = reader.record(job_id)
        failure = Failure(
            cls=_ENCRYPTED, status=None, api_error_code=None, param=None, reason=error.brief,
            retryable=False,
        )  # fmt: skip
        return JobResult(
            job_id=job_id, kind=record.kind, site=record.site, key=record.key, state=record.state,
            attempts=record.attempts, error=failure,
        )  # fmt: skip


def _goes_on(found: JobResult | None) -> bool:
    return found is not None and found.state in {"queued", "delayed", "running"}


def _exit_of(found: JobResult | None) -> Exit:
    if found is not None and _is_encrypted(found):
        return Exit.SETTINGS
    if found is None or found.is_expired:
        return Exit.NO_RESULT
    if found.state in _WITHOUT_OUTCOME:
        return Exit.NO_OUTCOME
    return Exit.OK if found.state == "succeeded" else Exit.FAILED


def _is_encrypted(found: JobResult) -> bool:
    return found.error is not None and found.error.cls == _ENCRYPTED


def _missing(job_id: str) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "kind": None,
        "site": None,
        "state": "missing",
        "attempts": 0,
        "hosted_page": None,
        "offers": None,
        "error": None,
    }


def line_of(job_id: str, found: JobResult | None) -> str:
    """Write a result as one line for a person; None is a job that is not known."""
    if found is None:
        return f"{job_id} missing: never enqueued here, or dropped by age"
    words = [job_id, found.kind.replace("_", "-"), str(found.state)]
    if found.hosted_page is not None:
        words += [found.hosted_page.id, found.hosted_page.url]
        if found.hosted_page.expires_at is not None:
            until = datetime.fromtimestamp(found.hosted_page.expires_at, UTC)
            words.append(f"until {until:%Y-%m-%d %H:%M:%S} UTC")
    if found.offers is not None:
        count = len(found.offers)
        words.append(f"{count} offer{'' if count == 1 else 's'}")
        words += [str(offer["id"]) for offer in found.offers if "id" in offer]
    if found.error is not None:
        words.append(f"({found.error.reason if _is_encrypted(found) else found.error})")
    return " ".join(words)
