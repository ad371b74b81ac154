"""`largesse worker`: processes that work until they are asked to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rig.command import Command
from rig.processes import descendants
from rig.system import System
from rig.waiting import until

from worker.logs.events import WORKER_RESTARTED as RESTARTED
from worker.process import member


def memory_mib(pid: int) -> float:
    """Read the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_worker_runs_so_many_processes_and_stops_on_sigterm(system: System) -> None:
    """Two processes run jobs; SIGTERM ends all of them with 0 and nothing stays."""
    fleet = system.worker(processes=2)
    jobs = [system.producer().gift_checkout({}) for _ in range(6)]
    assert all(job.result(timeout=20).hosted_page for job in jobs)
    family = descendants(fleet.pid)
    assert len(family) == 2
    fleet.terminate()
    assert fleet.wait(10) == 0
    for pid in family:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_worker_gives_running_jobs_their_grace_on_ctrl_c(system: System) -> None:
    """A terminal's Ctrl-C reaches every process; the call that runs ends in order, once."""
    system.admin.set(latency_ms=1500)
    fleet = system.worker()
    job = system.producer().gift_checkout({})
    until(lambda: system.admin.counts()["in_flight"] == 1, what="the call")
    os.killpg(fleet.pid, signal.SIGINT)
    assert fleet.wait(10) == 0
    found = job.result(timeout=1)
    assert found.hosted_page
    assert found.attempts == 1
    assert system.admin.counts()["requests"] == 1


def test_worker_brings_a_dead_process_back(system: System) -> None:
    """A killed process is replaced and its jobs are done by the new one."""
    fleet = system.worker()
    (first,) = until(lambda: descendants(fleet.pid), what="the worker process")
    os.kill(first, signal.SIGKILL)
    job = system.producer().gift_checkout({})
    assert job.result(timeout=20).hosted_page
    assert descendants(fleet.pid) != [first]
    lines = [json.loads(line) for line in fleet.output().splitlines()]
    told = [(one["worker"], one["exit_code"]) for one in lines if one["event"] == RESTARTED]
    assert told == [("place 0", -signal.SIGKILL)]


def test_worker_supervisor_stays_small(system: System) -> None:
    """The process that looks after the workers holds a fraction of what one of them does."""
    fleet = system.worker()
    (worker,) = until(lambda: descendants(fleet.pid), what="the worker process")
    until(lambda: memory_mib(worker) > 40, what="the worker's modules")
    assert memory_mib(fleet.pid) < 20


def test_worker_leaves_out_what_it_does_not_need() -> None:
    """The packages are not loaded with the worker, and there for whoever imports them later."""
    program = """
import sys
import runpy
member = runpy.run_path(sys.argv[1])
with member["without"](*member["NOT_NEEDED"]):
    import worker.main
left_out = {name.split(".")[0] for name in sys.modules} & set(member["NOT_NEEDED"])
assert not left_out, left_out
import click, greenlet, opentelemetry.trace, pygments, rich.console
"""
    command = [sys.executable, "-P", "-c", program, member.__file__]
    subprocess.run(command, check=True, timeout=30)


@pytest.mark.parametrize("option", ["--threads", "--concurrency", "-t"])
def test_worker_takes_both_names_of_concurrency(system: System, option: str) -> None:
    """--threads stays a name of --concurrency."""
    ran = system.run("worker", option, "0")
    assert ran.code == 2
    assert "greater than or equal to 1" in ran.err


def test_worker_without_settings_ends_with_3(largesse: Command) -> None:
    """A missing setting ends the fleet at once, with its name and remedy."""
    ran = largesse("worker")
    assert ran.code == 3
    assert "LARGESSE_REDIS_URL is not set" in ran.err
    assert ran.err.count("\n") == 1


def test_worker_warns_of_variables_that_are_no_settings(system: System) -> None:
    """Once for the fleet, with the name that may be meant."""
    fleet = system.worker(processes=2, env={"LARGESSE_LEASE_S": "15"})
    until(lambda: fleet.output().count("worker.started") == 2, what="the workers", timeout_s=30)
    lines = [json.loads(line) for line in fleet.output().splitlines()]
    (warned,) = [line for line in lines if line["event"] == "setting.unknown"]
    assert (warned["level"], warned["variable"]) == ("warning", "LARGESSE_LEASE_S")
    assert "Did you mean LARGESSE_LEASE_MS?" in warned["remedy"]


def test_worker_waits_for_redis(system: System) -> None:
    """A fleet that is started before Redis is there works as soon as it is."""
    fleet = system.worker(env={"LARGESSE_REDIS_URL": "redis://127.0.0.1:1/0"})
    until(lambda: descendants(fleet.pid), what="the worker process")
    assert fleet.running


def test_dramatiqs_own_command_runs_the_same_jobs(system: System) -> None:
    """`dramatiq worker.main:setup` consumes the same queue, on threads."""
    words = ["python", "-m", "dramatiq", "worker.main:setup", "-p", "1", "-t", "4"]
    fleet = system.spawn(words, env=system.environ, name="dramatiq")
    page = system.producer().gift_checkout({})
    offers = system.producer().personalized_offer({"customer_id": "cust_1"})
    assert page.result(timeout=20).hosted_page
    assert offers.result(timeout=20).offers
    fleet.terminate()
    assert fleet.wait(20) == 0


def test_worker_logs_json_without_private_values(system: System) -> None:
    """Every line of the log is an object, and no line holds the payload or the page."""
    fleet = system.worker(env={"LARGESSE_LOG_LEVEL": "debug"})
    job = system.producer().personalized_offer({"customer_id": "cust_marked_customer"})
    assert job.result(timeout=20).offers
    fleet.terminate()
    assert fleet.wait(10) == 0
    for line in fleet.output().splitlines():
        assert isinstance(json.loads(line), dict)
    assert "marked_customer" not in fleet.output()
