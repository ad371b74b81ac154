"""The commands of `largesse`, put together.

Each command is a function in a file of its own that imports what is heavy when it runs, so that
help, completion and `enqueue` are quick.
"""

from __future__ import annotations

import typer

from worker.cli.aside import dead, held
from worker.cli.dashboard import dashboard
from worker.cli.demo import demo
from worker.cli.desk import examples
from worker.cli.doctor import doctor
from worker.cli.enqueue import enqueue
from worker.cli.fleet import queues, workers
from worker.cli.jobs import jobs
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

for _command in (demo, worker, sandbox, enqueue, result, request, doctor, version):
    app.command()(_command)

for _name, _group in (
    ("jobs", jobs), ("dead", dead), ("held", held), ("sites", sites), ("results", results),
):  # fmt: skip
    app.add_typer(_group, name=_name, context_settings={"help_option_names": ["--help", "-h"]})

app.command(
    epilog=examples("dashboard", "dashboard --host 0.0.0.0 --read-only", "dashboard --reveal")
)(dashboard)
app.command(epilog=examples("workers", "workers --json"))(workers)
app.command(epilog=examples("queues", "queues --json"))(queues)
app.command(epilog=examples("stats --watch", "stats --minutes 5 --json"))(stats)
