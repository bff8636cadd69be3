"""Middleware that responds to the errors of ezeep."""

from __future__ import annotations

import logging
import math

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.datastructures import MultiValueDictKeyError
from django.utils.deprecation import MiddlewareMixin

from ezeep_async import (
    AmbiguousName,
    AuthorizationDenied,
    EzeepError,
    NotFound,
    PermissionDenied,
    ReauthorizationRequired,
    is_retryable,
)


logger = logging.getLogger("printing")


class EzeepErrors(MiddlewareMixin):
    """Responds to an error of any view."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Return the response, or None for errors that are not of ezeep."""
        # The ValueError of another app of the project is a fault of its own.
        view = request.resolver_match
        is_ours = view is not None and view.func.__module__.startswith("printing.")
        match error:
            case EzeepError(may_have_happened=True):  # OutcomeUnknown, or the login ended during the call
                logger.error("%s", error)
                status, text = 502, "It may have been done. Look before you try again."
            case ReauthorizationRequired():
                return redirect("/login")
            case AuthorizationDenied():
                status, text = 400, "The login failed. Start again at /login."
            case PermissionDenied():
                status, text = 403, "ezeep does not allow this to you."
            case NotFound():
                status, text = 404, "ezeep has no such user, group or printer."
            case AmbiguousName():
                status, text = 409, "Several printers have this name."
            case ValueError() | MultiValueDictKeyError() if (
                is_ours
            ):  # no id, an empty document, a missing field
                logger.info("%s", error)
                status, text = 400, "ezeep does not accept this value."
            case EzeepError() if is_retryable(error):
                wait = str(math.ceil(error.retry_after or 10))
                return HttpResponse("ezeep is not available.", status=503, headers={"Retry-After": wait})
            case EzeepError():
                logger.error("%s", error)
                status, text = 502, "ezeep refused the request."
            case _:
                return None
        return HttpResponse(text, status=status)
