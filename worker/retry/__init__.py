"""What comes after a failed attempt: a pure function, its numbers and its decision."""
