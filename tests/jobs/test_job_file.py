"""Files of jobs: every line is read, checked and named by its number."""

from __future__ import annotations

import pytest

from worker.jobs.job_file import BadLine, JobLine, read_jobs
from worker.settings import Settings

OFFER = '"kind": "personalized_offer", "payload": {"customer_id": "c_1"}'
SETTINGS = Settings.from_env(
    {"LARGESSE_REDIS_URL": "redis://localhost/0", "CHARGEBEE_SITE": "acme-test"}
)


def read(*lines: str, default_site: str | None = None) -> list[JobLine | BadLine]:
    """Read lines with one site configured."""
    return list(read_jobs(lines, SETTINGS, default_site=default_site))


def test_lines_become_jobs_with_their_numbers() -> None:
    """Empty lines are counted and passed over; members that are null are left out."""
    found = read(f'{{{OFFER}, "key": null}}', "", ' {"kind": "gift_checkout", "key": "k"}')
    assert [line.line for line in found] == [1, 3]
    jobs = [line.job for line in found if isinstance(line, JobLine)]
    assert [(job.kind, job.key, job.site) for job in jobs] == [
        ("personalized_offer", None, "acme-test"),
        ("gift_checkout", "k", "acme-test"),
    ]


def test_lines_without_a_site_take_the_default() -> None:
    """A line's own site wins over the command's."""
    found = read(f"{{{OFFER}}}", f'{{{OFFER}, "site": "acme-test"}}', default_site="shop")
    assert isinstance(found[0], BadLine)
    assert "not configured" in found[0].messages["site"][0]
    assert isinstance(found[1], JobLine)


@pytest.mark.parametrize(
    ("line", "path", "problem"),
    [
        ("{", "json", "is no JSON at column 2"),
        ("[]", "json", "is no JSON object"),
        ('{"kind": "x", "kind": "y"}', "json", "twice"),
        ("{}", "kind", "Missing."),
        ('{"kind": 7}', "kind", "Must be a string."),
        ('{"kind": "x"}', "kind", "Must be one of"),
        (f'{{{OFFER}, "key": 1}}', "key", "Must be a string."),
        (f'{{{OFFER}, "key": ""}}', "key", "Must be 1 to"),
        ('{"kind": "gift_checkout", "payload": []}', "payload", "Not an object."),
        (f'{{{OFFER}, "options": "skip"}}', "options", "Not an object."),
        (f'{{{OFFER}, "options": {{"skip": ["sms"]}}}}', "options.skip", "Must be any of"),
        (f'{{{OFFER}, "extra": 1}}', "extra", "Unknown field."),
        ('{"kind": "personalized_offer", "payload": {}}', "customer_id", "is required"),
        (
            '{"kind": "gift_checkout", "payload": {"subscription_items": [{"quantity": 0}]}}',
            "subscription_items.0.quantity",
            "Must be",
        ),
    ],
)
def test_line_with_a_fault_is_bad(line: str, path: str, problem: str) -> None:
    """A line is refused with the field at fault, named by its path."""
    (found,) = read(line)
    assert isinstance(found, BadLine)
    assert problem in found.messages[path][0]
    assert any(text.startswith(f"line 1: {path}: ") for text in found.texts())


def test_line_with_a_fault_is_never_repeated() -> None:
    """What stands in a bad line is not part of what is said of it."""
    secret = "ada@example.com"
    lines = [
        f'{{"kind": "{secret}"}}',
        f'{{"kind": "personalized_offer", "payload": {{"customer_id": ["{secret}"]}}}}',
        f'{{{OFFER}, "options": {{"origin": {{"ip": "{secret}"}}}}}}',
        f'{{"kind": "personalized_offer", "{secret}',
    ]
    for found in read(*lines):
        assert isinstance(found, BadLine)
        assert secret not in repr(found.texts())


def test_key_may_repeat_for_the_same_request_only() -> None:
    """The same line twice is one job; the key with another payload is a bad line."""
    same = f'{{{OFFER}, "key": "k"}}'
    other = same.replace("c_1", "c_2")
    found = read(same, same, other)
    assert [type(line) for line in found] == [JobLine, JobLine, BadLine]
    assert isinstance(found[2], BadLine)
    assert "since line 1" in found[2].messages["key"][0]


def test_key_is_free_for_each_kind() -> None:
    """A key belongs to one kind at one site."""
    found = read(f'{{{OFFER}, "key": "k"}}', '{"kind": "gift_checkout", "key": "k"}')
    assert all(isinstance(line, JobLine) for line in found)
