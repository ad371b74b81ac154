"""A job, many jobs, a file of jobs, an outcome and a result: plain data."""
