"""Variables that look like settings of Largesse and are none: mistyped, or of another version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from schemas import KINDS, did_you_mean
from worker.settings.environment import DASHBOARD_NAMES, VARIABLES, retry_variables
from worker.settings.settings import Settings

__all__ = ["unknown_variables"]

_PREFIX: Final = "LARGESSE_"
#: Read by hand, by the units and scripts that we ship, and by tests.
_OTHERS: Final = (
    "LARGESSE_REDIS_URL", "LARGESSE_SITES", "LARGESSE_WORKER_OPTIONS",
    "LARGESSE_DASHBOARD_OPTIONS", "LARGESSE_LUA", "LARGESSE_CRASH_AT",
)  # fmt: skip
_OF_TESTS: Final = "LARGESSE_TEST_"
#: Kubernetes and Docker describe a service named largesse-... to every container beside it.
_OF_SERVICES: Final = re.compile(
    r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT: Final = re.compile(r"(tcp|udp|sctp)://")


def unknown_variables(environ: Mapping[str, str], settings: Settings | None) -> dict[str, str]:
    """Find variables that are named like settings and that nothing reads.

    Args:
        environ: the variables.
        settings: those that were read from them, or None when they cannot be read; keys of sites
            may be in variables of any name.

    Returns:
        Name of each to what to do about it, sorted.
    """
    known = {*(variable.name for variable in VARIABLES), *DASHBOARD_NAMES, *_OTHERS}
    known |= {variable.name for kind in KINDS for variable in retry_variables(kind)}
    sites = settings.sites.values() if settings is not None else ()
    keys = {site.api_key.reference.removeprefix("env:") for site in sites}
    return {
        name: f"Remove it, or correct its name.{did_you_mean(name, known, prefix=_PREFIX)}"
        for name, text in sorted(environ.items())
        if name.startswith(_PREFIX)
        and name not in known | keys
        and not name.startswith(_OF_TESTS)
        and not _OF_SERVICES.fullmatch(name)
        and not (name.endswith("_PORT") and _SERVICE_PORT.match(text))
    }
