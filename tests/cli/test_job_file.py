"""Files of jobs: every line is read, checked and named by its number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from worker.errors import InvalidJobError, SettingsError
from worker.job_file import BadLine, JobLine, read_jobs


def accept(job: Mapping[str, Any]) -> str:
    """Accept every job; its payload tells it from others."""
    return repr(job.get("payload"))


def read(*lines: str, **options: Any) -> list[JobLine | BadLine]:
    """Read lines with a check that accepts everything."""
    return list(read_jobs(lines, options.pop("check", accept), **options))


def test_lines_become_jobs_with_their_numbers() -> None:
    """Empty lines are counted and passed over; members that are null are left out."""
    found = read('{"kind": "gift_checkout", "key": null}', "", ' {"kind": "x", "payload": {}}')
    assert found == [
        JobLine(1, {"kind": "gift_checkout"}),
        JobLine(3, {"kind": "x", "payload": {}}),
    ]


def test_lines_without_a_site_take_the_default() -> None:
    """A line's own site wins over the command's."""
    found = read('{"kind": "x"}', '{"kind": "x", "site": "own"}', default_site="shop")
    assert [line.job["site"] for line in found if isinstance(line, JobLine)] == ["shop", "own"]


@pytest.mark.parametrize(
    ("line", "path", "problem"),
    [
        ("{", "json", "is no JSON at column 2"),
        ("[]", "json", "is no JSON object"),
        ('{"kind": "x", "kind": "y"}', "json", "twice"),
        ("{}", "kind", "Missing."),
        ('{"kind": 7}', "kind", "Not a string."),
        ('{"kind": "x", "key": 1}', "key", "Not a string."),
        ('{"kind": "x", "payload": []}', "payload", "Not an object."),
        ('{"kind": "x", "options": "skip"}', "options", "Not an object."),
        ('{"kind": "x", "extra": 1}', "extra", "Unknown field."),
    ],
)
def test_line_of_another_shape_is_bad(line: str, path: str, problem: str) -> None:
    """A line is refused with the field at fault."""
    (found,) = read(line)
    assert isinstance(found, BadLine)
    assert problem in found.messages[path][0]
    assert found.texts()[0].startswith(f"line 1: {path}: ")


def test_line_that_the_check_refuses_is_bad() -> None:
    """What the producer would refuse is refused here, path by path."""

    def refuse(job: Mapping[str, Any]) -> str:
        raise InvalidJobError({"coupon_id": ["Unknown field."], "options.skip": ["No."]})

    (found,) = read('{"kind": "x"}', check=refuse)
    assert isinstance(found, BadLine)
    assert found.texts() == ["line 1: coupon_id: Unknown field.", "line 1: options.skip: No."]


def test_line_of_an_unknown_site_is_bad() -> None:
    """A site that the settings do not have makes the line bad, not the file."""

    def refuse(job: Mapping[str, Any]) -> str:
        raise SettingsError("LARGESSE_SITES", "has no such site", "Add it.")

    (found,) = read('{"kind": "x"}', check=refuse)
    assert isinstance(found, BadLine)
    assert "no such site" in found.messages["site"][0]


def test_key_may_repeat_for_the_same_request_only() -> None:
    """The same line twice is one job; the key with another payload is a bad line."""
    same = '{"kind": "x", "key": "k", "payload": {"a": 1}}'
    found = read(same, same, '{"kind": "x", "key": "k", "payload": {"a": 2}}')
    assert [type(line) for line in found] == [JobLine, JobLine, BadLine]
    assert isinstance(found[2], BadLine)
    assert "since line 1" in found[2].messages["key"][0]


def test_key_is_free_for_each_kind_and_site() -> None:
    """A key belongs to one kind at one site."""
    found = read(
        '{"kind": "x", "key": "k", "payload": {"a": 1}}',
        '{"kind": "y", "key": "k", "payload": {"a": 2}}',
        '{"kind": "x", "key": "k", "site": "s", "payload": {"a": 3}}',
    )
    assert all(isinstance(line, JobLine) for line in found)
