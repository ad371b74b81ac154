"""The version of the installed package."""

from __future__ import annotations

from importlib import metadata

__all__ = ["__version__"]


def _version() -> str:
    try:
        return metadata.version("largesse")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "0"


__version__ = _version()
