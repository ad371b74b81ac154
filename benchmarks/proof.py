"""The proof of a run: one page for each job, the page that was made for it, and no other call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["WrongPagesError", "prove"]

#: Jobs that an error lists.
_SHOWN = 5


class WrongPagesError(Exception):
    """A run lost, doubled or mixed up pages: its figures are worth nothing.

    Args:
        faults: what was found, one sentence each.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = list(faults)


def prove(
    jobs: Sequence[int],
    made: Mapping[int, Sequence[str]],
    given: Mapping[int, Sequence[str]],
) -> None:
    """Compare what the API made with what was published.

    Args:
        jobs: numbers of the jobs that were enqueued.
        made: job to the pages that the API made for it.
        given: job to the pages that were published for it.

    Raises:
        WrongPagesError: not exactly one page was made and published for each job.
    """
    wanted = set(jobs)
    tests = {
        "never called": [job for job in jobs if not made.get(job)],
        "called more than once": [job for job in jobs if len(made.get(job, ())) > 1],
        "without a published page": [job for job in jobs if not given.get(job)],
        "published more than once": [job for job in jobs if len(given.get(job, ())) > 1],
        "with a page that was not made for it": [
            job for job in jobs if set(given.get(job, ())) - set(made.get(job, ()))
        ],
        "that nobody enqueued": [job for job in {*made, *given} if job not in wanted],
    }
    faults = [
        f"{len(found)} of {len(wanted)} jobs {name}, such as {sorted(found)[:_SHOWN]}"
        for name, found in tests.items()
        if found
    ]
    if faults:
        raise WrongPagesError(faults)
