"""The errors of the API, as it words them."""

from __future__ import annotations

import json
from typing import Any

#: The code that an HTTP status most often carries. Source: error handling, API v2.
USUAL_CODES = {
    400: "invalid_request",
    401: "api_authentication_failed",
    403: "api_authorization_failed",
    404: "resource_not_found",
    405: "http_method_not_supported",
    409: "invalid_state_for_request",
    422: "unable_to_process_request",
    429: "api_request_limit_exceeded",
    500: "internal_error",
    503: "internal_temporary_error",
}

#: Codes that come without a ``type``.
_UNTYPED = {
    "api_authentication_failed",
    "basic_authentication_failed",
    "api_authorization_failed",
    "site_not_found",
    "configuration_incompatible",
}
_PAYMENT = {
    "payment_processing_failed",
    "payment_method_verification_failed",
    "payment_method_not_present",
    "payment_gateway_currency_incompatible",
    "payment_intent_invalid",
    "payment_intent_invalid_amount",
}


def type_of(status: int, code: str) -> str | None:
    """The ``type`` that goes with a status and a code, or None where the API leaves it out."""
    if code in _UNTYPED:
        return None
    if code in _PAYMENT:
        return "payment"
    if status == 429 or status >= 500 or code == "request_blocked":
        return "operation_failed"
    return "invalid_request"


class Refusal(Exception):  # noqa: N818
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        code: ``api_error_code``; the usual one of the status when None.
        message: For developers.
        param: Name of the parameter as it went over the wire, ``subscription_items[quantity][0]``.
        error_type: ``type``; the one that goes with the code when None.
        headers: More headers of the reply.
    """

    def __init__(
        self,
        status: int,
        code: str | None = None,
        *,
        message: str,
        param: str | None = None,
        error_type: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or USUAL_CODES.get(status, "invalid_request")
        self.message = message
        self.param = param
        self.error_type = error_type or type_of(status, self.code)
        self.headers = headers

    def as_json(self) -> dict[str, Any]:
        """The members of the error body, the legacy ones of the API included."""
        body: dict[str, Any] = {"message": self.message, "api_error_code": self.code}
        if self.error_type is not None:
            body["type"] = self.error_type
        if self.param is not None:
            body["param"] = self.param
        body["error_code"] = self.code
        body["error_msg"] = self.message
        body["http_status_code"] = self.status
        return body

    def body(self) -> bytes:
        """The error body, JSON in UTF-8."""
        return json.dumps(self.as_json(), ensure_ascii=False).encode()


def wrong_value(param: str, why: str) -> Refusal:
    """A parameter whose value is not allowed: 400 ``param_wrong_value``."""
    return Refusal(400, "param_wrong_value", message=f"{param} : {why}", param=param)


def not_found(param: str, what: str) -> Refusal:
    """A parameter that names something that is not there: 404 ``resource_not_found``."""
    return Refusal(404, "resource_not_found", message=f"{what} not found", param=param)
