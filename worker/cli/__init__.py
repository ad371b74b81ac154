"""The command `largesse`."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from pathlib import Path

from worker.cli.exits import Exit, exit_of
from worker.cli.streams import flush_streams, open_streams
from worker.engine.redis_errors import only_our_errors
from worker.errors import BrokerUnavailableError, WorkerError

__all__ = ["main"]

#: Which extra brings an optional package.
_EXTRA_OF = {
    "httpx": "worker",
    "jinja2": "sandbox",
    "prometheus_client": "worker",
    "python_multipart": "sandbox",
    "rich": "cli",
    "starlette": "sandbox",
    "structlog": "worker",
    "typer": "cli",
    "uvicorn": "sandbox",
}


#: Causes for which a stream takes no more.
_UNWRITABLE = frozenset({errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})


def main() -> None:
    """Run the command line, then leave with an exit code of `worker.cli.exits`.

    An error of the `WorkerError` tree is one line on stderr that says what to do next. So is
    everything else: a traceback helps nobody at a terminal, and may show values.
    """
    open_streams()
    code, text = _run()
    if text:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"largesse: {text}\n")
    problem = flush_streams()
    if problem and not code:
        code = Exit.FAILED
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"largesse: the output cannot be written: {problem}.\n")
    sys.exit(code)


def _run() -> tuple[int | str | None, str]:
    """Run the command; gives its exit code, and what is to be told on stderr."""
    try:
        # The base install has no typer: a producer needs no command line.
        from worker.cli.app import app  # noqa: PLC0415

        with only_our_errors():
            app(prog_name="largesse")
    except SystemExit as end:
        return end.code, ""
    except WorkerError as error:
        return exit_of(error), _told(error)
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            return Exit.FAILED, _fault(error)
        missing = (
            f"{error.name} is not installed. Install it with: pip install 'largesse[{extra}]'"
        )
        return Exit.SETTINGS, missing
    except UnicodeEncodeError:
        return Exit.INVALID, "an argument is not UTF-8. Write it in UTF-8."
    except OSError as error:
        if error.errno in _UNWRITABLE and error.filename is None:
            return Exit.FAILED, f"the output cannot be written: {error.strerror}."
        return Exit.FAILED, _fault(error)
    except Exception as error:  # noqa: BLE001 - no command ends with a traceback
        return Exit.FAILED, _fault(error)
    return Exit.OK, ""


def _fault(error: Exception) -> str:
    """Tell a fault of our own by its place; its text may hold anything."""
    ours = Path(__file__).parents[1]
    places = [
        f"{path.relative_to(ours.parent)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if (path := Path(frame.filename)).is_relative_to(ours)
    ]
    where = f" at {places[-1]}" if places else ""
    return (
        f"unexpected {type(error).__name__}{where}. This is a fault of Largesse: please report it "
        "with the command that you gave."
    )


def _told(error: WorkerError) -> str:
    """Give an error's text; the next step of an unreachable Redis fits `enqueue` alone."""
    if isinstance(error, BrokerUnavailableError) and sys.argv[1:2] != ["enqueue"]:
        return f"{error.problem}. Look at it with: largesse doctor. Then do this again."
    return str(error)
