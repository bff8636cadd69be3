"""Errors of documents and of print jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Unpack

from ezeep_async._runtime.later_types import imported_later
from ezeep_async.errors.base import EzeepError, SentRequest


if TYPE_CHECKING:
    from ezeep_async.models.printing import JobStatus

globals().update(imported_later("ezeep_async", "JobStatus"))


class PrintFailed(EzeepError):
    """The document was not printed: the print service refused it, or its job ended with an error.

    Attributes:
        status: Status of the job, with the code of the service.
    """

    status: JobStatus

    def __init__(
        self, message: str, *, status: JobStatus | None = None, **request: Unpack[SentRequest]
    ) -> None:
        super().__init__(message, **request)
        if (
            status is not None
        ):  # an error is unpickled with its message alone, and gets its attributes afterwards
            self.status = status


class JobTimeout(EzeepError, TimeoutError):
    """The job did not end within the time limit of the caller. It may still be printed: wait for it again.

    Attributes:
        status: The last status that was read, or None.
    """

    def __init__(self, message: str, *, status: JobStatus | None = None) -> None:
        super().__init__(message)
        self.status = status


class UnsupportedFileType(EzeepError, ValueError):
    """The print service does not print files of this type. Nothing was uploaded.

    Attributes:
        type: The type, in lower case.
        supported: The types that the service prints.
    """

    def __init__(self, message: str, *, type: str = "", supported: Collection[str] = ()) -> None:  # noqa: A002  # the name of the argument of `print_file`
        super().__init__(message)
        self.type = type
        self.supported = frozenset(supported)


class UnsupportedOption(EzeepError, ValueError):
    """The printer cannot do what the print options say. Nothing was uploaded.

    Attributes:
        option: Name of the option, as in `PrintOptions`.
        available: What the printer has instead.
    """

    def __init__(self, message: str, *, option: str = "", available: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.option = option
        self.available = tuple(available)


class UploadExpired(EzeepError):
    """The address of an upload expired, and the source cannot be read again. Print again with a new source."""
