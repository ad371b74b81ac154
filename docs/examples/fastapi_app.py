"""A FastAPI app that sends a shopper to the checkout page of a gift.

Run it with `uvicorn fastapi_app:app`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response

from worker import (
    AsyncJobHandle,
    AsyncProducer,
    BrokerUnavailableError,
    QueueFullError,
    ResultMissingError,
    ResultTimeoutError,
    WorkerError,
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open one producer for the process, on its event loop."""
    async with AsyncProducer.from_env() as app.state.producer:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders/{order_id}/gift")
async def give(order_id: str) -> Response:
    """Enqueue; the same order again is the same job."""
    job = await app.state.producer.gift_checkout(
        {"subscription_items": [{"item_price_id": "basic-USD-monthly"}]}, key=f"order-{order_id}"
    )
    return await answer(job)


@app.get("/gifts/{job_id}")
async def look(job_id: str) -> Response:
    """Look again, from any process."""
    return await answer(app.state.producer.job(job_id))


async def answer(job: AsyncJobHandle) -> Response:
    """Lead to the page, or say to come back."""
    try:
        result = await job.result(timeout=2)
    except ResultTimeoutError:
        headers = {"Refresh": f"2; url=/gifts/{job.id}"}
        return PlainTextResponse("Your gift is being prepared.", 202, headers)
    return RedirectResponse(result.hosted_page.url, 303)


@app.exception_handler(WorkerError)
async def failed(_: Request, error: WorkerError) -> Response:
    """Answer each kind of error."""
    if isinstance(error, BrokerUnavailableError | QueueFullError):
        return PlainTextResponse("Try again in a moment.", 503, {"Retry-After": "2"})
    if isinstance(error, ResultMissingError):
        return PlainTextResponse("There is no such gift.", 404)
    return PlainTextResponse("We could not prepare your gift.", 502)
