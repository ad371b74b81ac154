"""A Django project in one file that sends a shopper to the checkout page of a gift.

Run it with `python django_app.py runserver`. In a project of your own the settings are elsewhere,
`producer` and the views are in an app of yours, and `answer_errors` is named in MIDDLEWARE by its
path.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST

from worker import (
    BrokerUnavailableError,
    JobHandle,
    Producer,
    QueueFullError,
    ResultMissingError,
    ResultTimeoutError,
    WorkerError,
)

settings.configure(
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "only for this example"),
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    MIDDLEWARE=[f"{__name__}.answer_errors"],
)

producer = Producer.from_env()  # one for the process: threads share it, and it connects when used


@require_POST
def give(_: HttpRequest, order_id: str) -> HttpResponse:
    """Enqueue; the same order again is the same job."""
    job = producer.gift_checkout(
        {"subscription_items": [{"item_price_id": "basic-USD-monthly"}]}, key=f"order-{order_id}"
    )
    return answer(job)


@require_GET
def look(_: HttpRequest, job_id: str) -> HttpResponse:
    """Look again, from any process."""
    return answer(producer.job(job_id))


def answer(job: JobHandle) -> HttpResponse:
    """Lead to the page, or say to come back."""
    try:
        page = job.result(timeout=2).hosted_page
    except ResultTimeoutError:
        again = reverse(look, kwargs={"job_id": job.id})
        headers = {"Refresh": f"2; url={again}"}
        return HttpResponse("Your gift is being prepared.", status=202, headers=headers)
    return HttpResponseRedirect(page.url)


class answer_errors:  # noqa: N801 - named as Django names middleware
    """Middleware that turns Largesse's errors into answers."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Let the view answer."""
        return self.get_response(request)

    def process_exception(self, _: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer each kind of error."""
        if isinstance(error, BrokerUnavailableError | QueueFullError):
            return HttpResponse("Try again in a moment.", status=503, headers={"Retry-After": "2"})
        if isinstance(error, ResultMissingError):
            return HttpResponse("There is no such gift.", status=404)
        if isinstance(error, WorkerError):
            return HttpResponse("We could not prepare your gift.", status=502)
        return None


urlpatterns = [
    path("orders/<str:order_id>/gift", give),
    path("gifts/<str:job_id>", look),
]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
