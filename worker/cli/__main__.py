"""`python -m worker.cli` is `largesse`."""

from worker.cli import main

if __name__ == "__main__":
    main()
