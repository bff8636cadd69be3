"""Print the document of a form, at most once."""

from __future__ import annotations

import logging
from typing import BinaryIO
from uuid import UUID

from django.db import IntegrityError, transaction

from ezeep_async import BlockingSession, EzeepError, Printer, PrintOptions
from printing.models import Print


logger = logging.getLogger("printing")
UNKNOWN_TO_THE_SERVICE = 2
"""The code of a job that ezeep does not know, or not any more."""


def claim(key: UUID, user: str, document: str, printer: Printer) -> Print | None:
    """Store the key of a form. None: the form was sent before, and this request must not print."""
    where = f"{printer.name}, {printer.location}" if printer.location else printer.name
    try:
        with transaction.atomic(durable=True):  # other processes see the key before the document is sent
            return Print.objects.create(
                key=key, user=user, document=document, printer=where, is_queue=printer.is_queue
            )
    except IntegrityError:
        return None


def send(
    row: Print, ezeep: BlockingSession, document: BinaryIO, printer: Printer, options: PrintOptions
) -> None:
    """Print, and store the outcome. Raises an error only if nothing was printed."""
    try:
        job = ezeep.printing.print_file(document, printer, options, name=row.document)
    except (EzeepError, ValueError) as error:
        if isinstance(error, EzeepError) and error.may_have_happened:  # such as OutcomeUnknown
            logger.warning("%s", error)
            row.state = Print.State.UNKNOWN
            row.save()
            return
        row.state, row.detail = Print.State.FAILED, str(error)
        row.save()
        raise
    logger.info("print %s is the job %s", row.key, job.id)
    row.state, row.job = Print.State.ACCEPTED, job.id
    row.save()


def follow(row: Print, ezeep: BlockingSession) -> None:
    """Read the status of the job. A final one is stored, so that it is not read again."""
    status = ezeep.printing.status(row.job)
    row.detail = status.meaning
    if status.succeeded:
        row.state = Print.State.PRINTED
    elif status.code == UNKNOWN_TO_THE_SERVICE:  # it may have been printed long ago
        row.state = Print.State.UNKNOWN
    elif status.is_final:
        row.state = Print.State.FAILED
    if row.state != Print.State.ACCEPTED:
        row.save()
