"""The spans of a worker, and how they leave it."""
