"""Many jobs at once: validated together, refused together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from schemas import did_you_mean
from worker.errors import ArgumentError, InvalidJobError
from worker.jobs.job import Job
from worker.settings import Settings

__all__ = ["prepare_many"]

#: Paths that the error of a batch lists: enough to see what is wrong with it.
FAULTS_MAX: Final = 100
_SPEC_FIELDS: Final = {"kind", "payload", "key", "site", "options"}


def prepare_many(settings: Settings, specs: Iterable[Mapping[str, Any]]) -> list[Job]:
    """Validate many jobs.

    Args:
        settings: sites and how strict to be.
        specs: mappings of `kind`, `payload` and, optional, `key`, `site`, `options`.

    Raises:
        InvalidJobError: paths start with the place of the job, such as `3.payload.customer_id`.
    """
    if not isinstance(specs, Iterable):
        raise ArgumentError("specs", f"must be a list of mappings, not {type(specs).__name__}")
    jobs: list[Job] = []
    faults: dict[str, list[str]] = {}
    faulty = 0
    for place, spec in enumerate(specs):
        try:
            if not isinstance(spec, Mapping):
                raise InvalidJobError({"job": ["Must be a mapping with kind and payload."]})
            unknown = spec.keys() - _SPEC_FIELDS
            if unknown or "kind" not in spec:
                problem = (
                    f"Must have kind and payload; may have {', '.join(sorted(_SPEC_FIELDS))}."
                )
                near = did_you_mean(next(iter(unknown), None), _SPEC_FIELDS)
                raise InvalidJobError({"job": [problem + near]})
            jobs.append(
                Job.prepare(
                    settings,
                    spec["kind"],
                    spec.get("payload"),  # type: ignore[arg-type]  # told by the check
                    key=spec.get("key"),
                    site=spec.get("site"),
                    options=spec.get("options"),
                )
            )
        except InvalidJobError as error:
            faulty += 1
            if len(faults) < FAULTS_MAX:
                for path, texts in error.messages.items():
                    faults[f"{place}.{path}"] = texts
    if faulty and len(faults) >= FAULTS_MAX:
        faults["jobs"] = [f"{faulty} are not valid; not all faults are listed."]
    if faults:
        raise InvalidJobError(faults)
    return jobs
