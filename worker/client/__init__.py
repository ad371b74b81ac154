"""What an app uses: a producer, the handle of a job, a reader of results."""
