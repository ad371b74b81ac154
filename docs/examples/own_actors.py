"""Your own actors on Largesse's broker, beside its two.

Run them with `dramatiq own_actors:setup`.
"""

from __future__ import annotations

import os

import dramatiq
from dramatiq.results import Results

from worker import main
from worker.engine.broker import EngineBroker
from worker.engine.results_backend import EngineResults


def add(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y


def bind(broker: EngineBroker) -> None:
    """Bind the actors; nothing is bound when this module is imported."""
    broker.add_middleware(Results(backend=EngineResults(broker)))
    dramatiq.actor(broker=broker, queue_name="sums", max_retries=3, store_results=True)(add)


def setup() -> EngineBroker:
    """Run the two Chargebee actors and these in one fleet; called in each process."""
    broker = main.setup()
    bind(broker)
    return broker


def connect() -> EngineBroker:
    """Give a broker for an app that sends to these actors."""
    broker = EngineBroker(url=os.environ["LARGESSE_REDIS_URL"])
    dramatiq.set_broker(broker)  # messages read their results through the global broker
    bind(broker)
    return broker
