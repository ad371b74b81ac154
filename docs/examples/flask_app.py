"""A Flask app that sends a shopper to the checkout page of a gift.

Run it with `flask --app flask_app run`.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, redirect, url_for

from worker import (
    BrokerUnavailableError,
    JobHandle,
    Producer,
    QueueFullError,
    ResultMissingError,
    ResultTimeoutError,
    WorkerError,
)

app = Flask(__name__)
producer = Producer.from_env()  # one for the process: threads share it, and it connects when used


@app.post("/orders/<order_id>/gift")
def give(order_id: str) -> Any:
    """Enqueue; the same order again is the same job."""
    job = producer.gift_checkout(
        {"subscription_items": [{"item_price_id": "basic-USD-monthly"}]}, key=f"order-{order_id}"
    )
    return answer(job)


@app.get("/gifts/<job_id>")
def look(job_id: str) -> Any:
    """Look again, from any process."""
    return answer(producer.job(job_id))


def answer(job: JobHandle) -> Any:
    """Lead to the page, or say to come back."""
    try:
        page = job.result(timeout=2).hosted_page
    except ResultTimeoutError:
        again = url_for("look", job_id=job.id)
        return "Your gift is being prepared.", 202, {"Refresh": f"2; url={again}"}
    return redirect(page.url, 303)


@app.errorhandler(BrokerUnavailableError)
@app.errorhandler(QueueFullError)
def unavailable(_: WorkerError) -> Any:
    """Tell that nothing was accepted."""
    return "Try again in a moment.", 503, {"Retry-After": "2"}


@app.errorhandler(ResultMissingError)
def unknown(_: WorkerError) -> Any:
    """Tell that there is no such job, or that its result was dropped."""
    return "There is no such gift.", 404


@app.errorhandler(WorkerError)
def failed(_: WorkerError) -> Any:
    """Tell that it failed, expired or is held; the log says which."""
    return "We could not prepare your gift.", 502
