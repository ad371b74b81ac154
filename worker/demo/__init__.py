"""A whole system on one machine for a minute, and a Valkey server that needs no installation."""
