"""The proof of a run: whatever is wrong with its pages is found."""

from __future__ import annotations

import pytest

from benchmarks.proof import WrongPagesError, prove

JOBS = range(1, 4)
MADE = {1: ["a"], 2: ["b"], 3: ["c"]}


def test_proof_passes_one_page_a_job() -> None:
    """One call and one page for each job, its own: nothing is wrong."""
    prove(JOBS, MADE, dict(MADE))


@pytest.mark.parametrize(
    ("made", "given", "fault"),
    [
        (MADE, {1: ["a"], 2: ["b"]}, "without a published page, such as [3]"),
        (MADE, {**MADE, 3: []}, "without a published page, such as [3]"),
        (MADE, {**MADE, 2: ["b", "b"]}, "published more than once, such as [2]"),
        ({**MADE, 2: ["b", "d"]}, MADE, "called more than once, such as [2]"),
        ({1: ["a"], 2: ["b"]}, MADE, "never called, such as [3]"),
        (MADE, {**MADE, 1: ["b"], 2: ["a"]}, "not made for it, such as [1, 2]"),
        ({**MADE, 9: ["z"]}, {**MADE, 9: ["z"]}, "that nobody enqueued, such as [9]"),
    ],
    ids=["lost", "empty", "doubled", "called twice", "made up", "mixed up", "foreign"],
)
def test_proof_finds(made: dict[int, list[str]], given: dict[int, list[str]], fault: str) -> None:
    """A page that is lost, doubled, mixed up or foreign fails the run, with the job's number."""
    with pytest.raises(WrongPagesError) as caught:
        prove(JOBS, made, given)
    assert fault in str(caught.value)
