"""Middleware that responds to the errors of ezeep."""

from __future__ import annotations

import logging
import math

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.deprecation import MiddlewareMixin

from ezeep_async import (
    AuthorizationDenied,
    EzeepError,
    PermissionDenied,
    ReauthorizationRequired,
    is_retryable,
)


logger = logging.getLogger("printing")


class EzeepErrors(MiddlewareMixin):
    """Responds to an error of any view."""

    def process_exception(self, _: HttpRequest, error: Exception) -> HttpResponse | None:
        """Return the response, or None for errors that are not of ezeep."""
        match error:
            case ReauthorizationRequired():
                return redirect("/login")
            case AuthorizationDenied():
                return HttpResponse("The login failed. Start again at /login.", status=400)
            case PermissionDenied():
                return HttpResponse("ezeep does not allow this to you.", status=403)
            case EzeepError() if is_retryable(error):
                wait = str(math.ceil(error.retry_after or 10))
                return HttpResponse("ezeep is not available.", status=503, headers={"Retry-After": wait})
            case EzeepError():
                logger.error("%s", error)
                return HttpResponse("ezeep refused the request.", status=502)
        return None
