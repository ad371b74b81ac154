"""All settings: environment variables, the sites file, secrets, the address of Redis."""

from worker.settings.settings import Settings

__all__ = ["Settings"]
