"""The sites file: many sites in one TOML file, named by `LARGESSE_SITES`.

    default_site = "acme"             # optional: the site of jobs that name none

    [sites.acme]
    api_key = "env:ACME_KEY"          # or "file:/run/secrets/acme"
    rate_per_minute = 1000            # every field of `worker.settings.site.Site` may stand here

A key that is not known is refused by its path (`sites.acme.rate_per_minut`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from schemas import did_you_mean
from worker.errors import SettingsError
from worker.settings.secret import Secret
from worker.settings.site import Site, check_site_name

__all__ = ["load_sites"]

VARIABLE = "LARGESSE_SITES"

_SITE_KEYS = tuple(field.name for field in fields(Site) if field.name != "name")
_TOP_KEYS = ("default_site", "sites")
_POSITION = re.compile(r"at line \d+, column \d+")


def load_sites(
    path: str, environ: Mapping[str, str] | None = None
) -> tuple[dict[str, Site], str | None]:
    """Read the sites file.

    Args:
        path: of the file.
        environ: the variables that `env:` references are read from; the process's when None.

    Returns:
        Name to site, in the order of the file, and the name of the default site or None.

    Raises:
        SettingsError: the file or something in it is wrong; names the path inside the file.
    """
    document = _read(path)
    _refuse_unknown(document, _TOP_KEYS, "")
    tables = document.get("sites")
    if not isinstance(tables, dict) or not tables:
        problem = "names a file without a site"
        raise SettingsError(VARIABLE, problem, "Add a table such as [sites.acme] to it.")
    sites = {name: _read_site(name, table, environ) for name, table in tables.items()}
    default = document.get("default_site")
    if default is not None and default not in list(sites):
        known = ", ".join(sites)
        remedy = f"Choose from {known}.{did_you_mean(default, sites)}"
        raise SettingsError("default_site", "names no site of the file", remedy)
    return sites, default


def _read(path: str) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        problem = f"names a file that cannot be read ({type(error).__name__})"
        remedy = "Check the path and who may read the file."
        raise SettingsError(VARIABLE, problem, remedy) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The parser's text may quote the file, and the file may hold a key by mistake.
        where = _POSITION.search(str(error))
        problem = f"names a file that is not TOML ({where.group() if where else 'at its end'})"
        raise SettingsError(VARIABLE, problem, "Correct that line of the file.") from None


def _read_site(name: str, table: object, environ: Mapping[str, str] | None) -> Site:
    path = f"sites.{name}"
    check_site_name(name, path if name.isprintable() else "sites")
    if not isinstance(table, dict):
        raise SettingsError(path, "is not a table", f"Write [{path}] and its settings below it.")
    _refuse_unknown(table, _SITE_KEYS, f"{path}.")
    reference = table.get("api_key")
    if not isinstance(reference, str):
        problem = "is missing" if reference is None else "is not a text"
        raise SettingsError(f"{path}.api_key", problem, 'Write api_key = "env:NAME".')
    values = dict(table) | {
        "api_key": Secret(reference, variable=f"{path}.api_key", environ=environ),
    }
    if isinstance(table.get("skip"), list):
        values["skip"] = tuple(table["skip"])
    try:
        return Site(name=name, **values)
    except SettingsError as error:
        raise SettingsError(f"{path}.{error.variable}", error.problem, error.remedy) from None


def _refuse_unknown(table: Mapping[str, object], known: tuple[str, ...], prefix: str) -> None:
    for name in table:
        if name not in known:
            near = did_you_mean(name, known).lstrip()
            remedy = near or f"Choose from {', '.join(known)}."
            raise SettingsError(f"{prefix}{name}", "is not known", remedy)
