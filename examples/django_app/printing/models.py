"""The prints of the users."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.utils import timezone


LONGEST_REQUEST = timedelta(seconds=150)
"""More than the longest request, and than gunicorn's `--timeout`. Of gunicorn's workers, only sync ones are killed then."""
LONGEST_WATCH = timedelta(hours=1)
"""So long the page of a print that is still SENDING loads itself again: a slow worker may store the outcome."""


class Print(models.Model):
    """A form that was sent. Its key is stored before the document is printed, so that no form prints twice."""

    class State(models.TextChoices):
        """The outcomes."""

        SENDING = "sending", "The document is being sent to ezeep."
        ACCEPTED = "accepted", "ezeep has accepted the document."
        PRINTED = "printed", "The document is printed."
        FAILED = "failed", "The document was not printed."
        UNKNOWN = "unknown", "It is not known whether the document is printed."

    key = models.UUIDField(primary_key=True)
    user = models.CharField(max_length=255)
    document = models.CharField(max_length=255)
    printer = models.TextField()
    state = models.CharField(max_length=20, default=State.SENDING)
    detail = models.TextField(blank=True)
    job = models.TextField(blank=True)
    is_queue = models.BooleanField(default=False)
    started = models.DateTimeField(auto_now_add=True)

    class Meta:
        """The listing of a user begins with the last print."""

        indexes: ClassVar = [models.Index(fields=["user", "-started"], name="prints_of_user")]
        ordering: ClassVar = ["-started"]

    def __str__(self) -> str:
        """Return the name of the document."""
        return self.document

    @property
    def outcome(self) -> State:
        """The state. A worker that was killed left SENDING: whether it printed is not known."""
        if self.state == self.State.SENDING and timezone.now() - self.started > LONGEST_REQUEST:
            return self.State.UNKNOWN
        return self.State(self.state)

    @property
    def reload_after(self) -> int | None:
        """In how many seconds the page of the print asks again. A pull queue waits for a person at the printer."""
        if self.outcome == self.State.SENDING or (self.outcome == self.State.ACCEPTED and not self.is_queue):
            return 2
        is_open = self.state == self.State.SENDING and timezone.now() - self.started < LONGEST_WATCH
        return 30 if is_open else None
