"""Middleware that responds to the errors of ezeep."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.core.exceptions import BadRequest
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.datastructures import MultiValueDictKeyError
from django.utils.deprecation import MiddlewareMixin
from django.utils.html import format_html

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


@contextmanager
def checked_values() -> Iterator[None]:
    """Around a call with values of the user: 400 for text that is no id, or for a missing field."""
    try:
        yield
    except (ValueError, MultiValueDictKeyError) as error:
        raise BadRequest("ezeep does not accept this value.") from error


class EzeepErrors(MiddlewareMixin):
    """Responds to an error of any view."""

    def process_view(self, _: HttpRequest, view: Callable[..., HttpResponse], *__: object) -> None:
        """Except the views of this app from `ATOMIC_REQUESTS`: the logins and the prints commit meanwhile."""
        if view.__module__.startswith("printing."):
            transaction.non_atomic_requests(view)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Return the response, or None for errors that are not of ezeep."""
        match error:
            case EzeepError(may_have_happened=True):  # OutcomeUnknown, or the login ended during the call
                logger.error("%s", error)
                status, text = 502, "It may have been done. Look before you try again."
            case ReauthorizationRequired() if request.method in ("GET", "HEAD"):
                return redirect("ezeep_login")
            case ReauthorizationRequired():  # a redirect would lose the form
                link = format_html('<a href="{}">Sign in</a>', reverse("ezeep_login"))
                return HttpResponse(f"You are not signed in. {link}, then send the form again.", status=401)
            case AuthorizationDenied():
                status, text = 400, "The login failed. Start again at /login."
            case PermissionDenied():
                status, text = 403, "ezeep does not allow this to you."
            case NotFound():
                status, text = 404, "ezeep has no such user, group or printer."
            case AmbiguousName():
                status, text = 409, "Several printers have this name."
            case EzeepError() if is_retryable(error):
                wait = str(math.ceil(error.retry_after or 10))
                return HttpResponse("ezeep is not available.", status=503, headers={"Retry-After": wait})
            case EzeepError():
                logger.error("%s", error)
                status, text = 502, "ezeep refused the request."
            case _:
                return None
        return HttpResponse(text, status=status)
