"""What commands read: files, stdin, ids, names of kinds."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import typer

from worker.cli import inputs


def refused(capsys: pytest.CaptureFixture[str], excinfo: pytest.ExceptionInfo[typer.Exit]) -> str:
    """Give the one line on stderr of a command that ended with exit code 2."""
    assert excinfo.value.exit_code == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    return text


def test_object_is_read_from_a_file(tmp_path: Path) -> None:
    """A file with a byte order mark and Windows line ends is one JSON object."""
    file = tmp_path / "payload.json"
    file.write_bytes(b'\xef\xbb\xbf{"customer_id":\r\n "\xc3\xa4"}\r\n')
    assert inputs.read_object(str(file), "PAYLOAD") == {"customer_id": "ä"}


def test_object_is_read_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash stands for stdin."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}')))
    assert inputs.read_object("-", "PAYLOAD") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": ', "is no JSON at column 7"),
        (b'{"a": 1,\n "b": }', "is no JSON at line 2, column 7"),
        (b'{"a": 1,\n "a": 2}', "names a member twice"),
        (b'{"a": NaN}', "NaN or Infinity"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "is not a JSON object"),
        (b'"text"', "is not a JSON object"),
        (b'{"a": "\xff"}', "is not UTF-8"),
        (b"", "is no JSON"),
    ],
)
def test_object_that_cannot_be_used_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, reason: str
) -> None:
    """One line says where the fault is, and never what stands there."""
    file = tmp_path / "payload.json"
    file.write_bytes(content)
    with pytest.raises(typer.Exit) as excinfo:
        inputs.read_object(str(file), "PAYLOAD")
    assert reason in refused(capsys, excinfo)


def test_object_of_a_missing_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not there is named by what it was for."""
    with pytest.raises(typer.Exit) as excinfo:
        inputs.read_object(str(tmp_path / "nowhere.json"), "PAYLOAD")
    assert "PAYLOAD cannot be read: No such file" in refused(capsys, excinfo)


def test_ids_are_bare_or_what_enqueue_prints(tmp_path: Path) -> None:
    """Both spellings mix in one file, empty lines are passed over."""
    file = tmp_path / "ids"
    file.write_text('one\n\n{"job_id": "two", "line": 3}\n  three  \n')
    assert inputs.read_ids(str(file)) == ["one", "two", "three"]


@pytest.mark.parametrize("line", ['{"id": "x"}', '{"job_id": 7}', '{"job_id": "x"'])
def test_ids_of_another_shape_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """A line without a job id is named by its number."""
    file = tmp_path / "ids"
    file.write_text(f"one\n{line}\n")
    with pytest.raises(typer.Exit) as excinfo:
        inputs.read_ids(str(file))
    assert "line 2" in refused(capsys, excinfo)
