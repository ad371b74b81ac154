"""Time zones and locales that exist.

Both lists come from data packages (`tzdata`, `babel`), not from the machine: a producer and a
worker on different systems agree on what is valid.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib import resources

from babel import Locale
from babel.core import get_global

# Language, script, territory, variants, then extensions and private use (RFC 5646).
_LOCALE = re.compile(
    r"(?P<language>[a-z]{2,3})(?:[-_](?P<script>[a-z]{4}))?(?:[-_](?P<territory>[a-z]{2}|[0-9]{3}))?"
    r"(?:[-_](?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"
    r"(?:[-_][a-wyz0-9](?:[-_][a-z0-9]{2,8})+)*(?:[-_]x(?:[-_][a-z0-9]{1,8})+)?",
    re.ASCII | re.IGNORECASE,
)

#: Codes that stand for "none", "several" or "unknown" rather than for a language or a place.
_NO_LANGUAGE = frozenset({"mis", "mul", "und", "zxx"})
_NO_SCRIPT = frozenset({"Zxxx", "Zyyy", "Zzzz"})
_NO_TERRITORY = frozenset({"XA", "XB", "ZZ"})


@cache
def _time_zones() -> frozenset[str]:
    listing = resources.files("tzdata").joinpath("zones").read_text(encoding="ascii")
    return frozenset(listing.split())


@cache
def _known_codes() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    english = Locale("en")
    languages = {*english.languages, *get_global("language_aliases")} - _NO_LANGUAGE
    return (
        frozenset(code for code in languages if len(code) <= 3),
        frozenset(english.scripts) - _NO_SCRIPT,
        frozenset(english.territories) - _NO_TERRITORY,
    )


def time_zone_exists(name: str) -> bool:
    """Say whether the IANA time zone data base has this name, case and all."""
    return name in _time_zones()


@lru_cache(maxsize=1024)
def locale_exists(tag: str) -> bool:
    """Say whether the language, the script and the territory of a tag exist (CLDR).

    Their combination is free: browsers really send `en-TH`. Case is free too, and `_` may stand
    for `-`.
    """
    match = _LOCALE.fullmatch(tag)
    if match is None:
        return False
    language, script, territory = match.group("language", "script", "territory")
    languages, scripts, territories = _known_codes()
    return (
        language.lower() in languages
        and (script is None or script.title() in scripts)
        and (territory is None or territory.upper() in territories)
    )
