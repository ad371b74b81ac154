"""The commands of `largesse`, put together.

Each command is a function in a file of its own that imports what is heavy when it runs, so that
help, completion and `enqueue` are quick.
"""

from __future__ import annotations

import typer

from worker.cli.bench import bench
from worker.cli.dashboard import dashboard
from worker.cli.dead_letters import dead, held
from worker.cli.demo import demo
from worker.cli.doctor import doctor
from worker.cli.enqueue import enqueue
from worker.cli.fleet import queues, workers
from worker.cli.jobs import jobs
from worker.cli.operator_client import examples
from worker.cli.request import request
from worker.cli.result import result
from worker.cli.results import results
from worker.cli.sandbox import sandbox
from worker.cli.sites import sites
from worker.cli.stats import stats
from worker.cli.version import version
from worker.cli.worker import worker

__all__ = ["app"]

app = typer.Typer(
    name="largesse",
    help="A queue worker for Chargebee gift checkouts and personalized offers.",
    no_args_is_help=True,
    # Plain help is quick, fits every terminal and can be searched.
    rich_markup_mode=None,
    # A traceback with the values of variables would show payloads and keys.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)

for _command, _examples in (
    (demo, ("demo", "demo --json")),
    (worker, ("worker", "worker --processes 4 --concurrency 64", "worker -p 1 --grace 5")),
    (sandbox, ("sandbox", "sandbox --port 0 --rate-per-minute 60 --latency-ms 200")),
    (enqueue, (
        "enqueue gift-checkout gift.json --key order-1042 --skip webhooks,email",
        "enqueue personalized-offer - --wait 10 < offer.json",
        "enqueue --file jobs.jsonl --skip-invalid --json",
    )),
    (result, ("result 3f2a...", "result --file accepted.jsonl --wait 60 --json")),
    (request, (
        "request gift-checkout gift.json --dry-run",
        "request personalized-offer offer.json --json",
    )),
    (doctor, ("doctor", "doctor --no-calls", "doctor --json")),
    (bench, (
        "bench",
        "bench --jobs 20000 --processes 4 --latency-ms 200",
        "bench --redis-url redis://localhost:6379/0 --json",
    )),
    (version, ("version", "version --json")),
    (dashboard, ("dashboard", "dashboard --host 0.0.0.0 --read-only", "dashboard --reveal")),
    (workers, ("workers", "workers --json")),
    (queues, ("queues", "queues --json")),
    (stats, ("stats --watch", "stats --minutes 5 --json")),
):  # fmt: skip
    app.command(epilog=examples(*_examples))(_command)

for _name, _group in (
    ("jobs", jobs), ("dead", dead), ("held", held), ("sites", sites), ("results", results),
):  # fmt: skip
    app.add_typer(_group, name=_name, context_settings={"help_option_names": ["--help", "-h"]})
