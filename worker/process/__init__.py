"""A worker process and its fleet: actors, heartbeat, health, HTTP port, monitor, supervisor."""
