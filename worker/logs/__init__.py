"""Logging: events and their fields, redaction, limits on lines, reports to Sentry."""
