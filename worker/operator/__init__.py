"""The operator's side of a queue: what is there, what is set aside, and what to do about it.

    desk = Operator.from_env()
    for letter in desk.dead():
        desk.replay(letter.job_id)

Every move is one script; the ids, lines and results of jobs stay what they were.
"""

from __future__ import annotations

from worker.operator.dead_letters import DeadLetter
from worker.operator.operator_client import OperatorClient
from worker.operator.site_state import SiteState

__all__ = ["DeadLetter", "OperatorClient", "SiteState"]
