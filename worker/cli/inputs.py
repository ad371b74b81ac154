"""What commands read: JSON from a file or stdin, names of kinds, lists of job ids."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker.cli.output import fail
from worker.jobs.job_file import JsonError, parse_json

__all__ = ["kind_of", "read_ids", "read_lines", "read_object"]

STDIN = "-"


def read_object(source: str, what: str) -> dict[str, Any]:
    """Read one JSON object.

    Args:
        source: path of a file, or `-` for stdin.
        what: names the input in errors, such as `PAYLOAD`.

    Raises:
        typer.Exit: it cannot be read or is no JSON object (code 2, one line on stderr).
    """
    try:
        value = parse_json("\n".join(read_lines(source, what)))
    except JsonError as error:
        fail(f"{what} {error}. Give a file with one JSON object, or - for stdin.")
    if not isinstance(value, dict):
        fail(f"{what} is not a JSON object. Give a file with one JSON object, or - for stdin.")
    return value


def read_lines(source: str, what: str) -> Iterator[str]:
    """Give the lines of a file or of stdin, without their ends.

    Raises:
        typer.Exit: it cannot be read or is no UTF-8 (code 2, one line on stderr).
    """
    try:
        with contextlib.ExitStack() as stack:
            stdin = source == STDIN
            file = sys.stdin.buffer if stdin else stack.enter_context(Path(source).open("rb"))
            for number, raw in enumerate(file):
                line = raw.decode().rstrip("\r\n")
                yield line if number else line.removeprefix("\ufeff")
    except UnicodeDecodeError:
        fail(f"{what} is not UTF-8. Save it as UTF-8.")
    except OSError as error:
        fail(f"{what} cannot be read: {error.strerror}. Give the path of a file, or - for stdin.")


def read_ids(source: str) -> list[str]:
    """Read job ids, one a line: bare, or the objects that `enqueue --json` prints.

    Raises:
        typer.Exit: a line holds neither (code 2).
    """
    ids = []
    for number, line in enumerate(read_lines(source, "FILE"), start=1):
        text = line.strip()
        if not text:
            continue
        if text.startswith("{"):
            text = _id_of(text, number)
        ids.append(text)
    return ids


def kind_of(text: str) -> str:
    """Give the kind that a word of the command line names: `gift-checkout` or `gift_checkout`.

    Raises:
        typer.Exit: there is no such kind (code 2).
    """
    from schemas import KINDS, did_you_mean  # noqa: PLC0415 - `largesse --help` needs none

    kind = text.replace("-", "_")
    if kind not in KINDS:
        names = [name.replace("_", "-") for name in KINDS]
        fail(f"there is no such KIND. Use {' or '.join(names)}.{did_you_mean(text, names)}")
    return kind


def _id_of(text: str, number: int) -> str:
    try:
        job_id = parse_json(text).get("job_id")
    except JsonError as error:
        fail(f"line {number} {error}.")
    if not isinstance(job_id, str):
        fail(f"line {number} has no job_id. Give one id a line, or what enqueue --json prints.")
    return job_id
