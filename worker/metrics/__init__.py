"""Counts of a process, gauges of a queue, minutes in Redis, and how Prometheus reads them."""
