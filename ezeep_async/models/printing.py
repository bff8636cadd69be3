"""Print options, jobs in a queue, and the status of a job (docs/ezeep-api.md#print-jobs)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast
from uuid import UUID

import attrs

from ezeep_async.models.record import Record


LONGEST_SIDE_MM = 3276.7
"""Width and length are 16-bit numbers of tenths of a millimetre in Windows' DEVMODE structure."""
MOST_COPIES = 32767
"""Copies are a 16-bit number in the same structure."""

Duplex = Literal["off", "long-edge", "short-edge"]
"""The sides of the paper that are printed: see `PrintOptions.duplex`."""
Orientation = Literal["portrait", "landscape"]
"""How a page lies on the paper: see `PrintOptions.orientation`."""

_PART = re.compile(r"([1-9][0-9]{0,8})(?:-([1-9][0-9]{0,8}))?", re.ASCII)

Validator = Callable[[object, "attrs.Attribute[Any]", Any], None]


def _optional(expected: str, accepts: Callable[[Any], bool]) -> Validator:
    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None and not accepts(value):
            raise ValueError(f"{attribute.name} must be {expected}, not {value!r}")

    return validate


def _one_of(*words: str) -> Validator:
    return _optional(" or ".join(map(repr, words)), lambda value: isinstance(value, str) and value in words)


def _is_int(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value.strip()) > 0 and len(value) <= 255 and value.isprintable()


def _is_side(value: object) -> bool:
    # NaN compares false.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.05 < value <= LONGEST_SIDE_MM


def _is_paper(value: object) -> bool:
    if isinstance(value, tuple):
        sides = cast("tuple[object, ...]", value)
        return len(sides) == 2 and all(map(_is_side, sides))
    return _is_text(value)


def page_ranges(pages: str) -> list[str]:
    """Split `pages` into its parts, such as "1-2" and "5". Raises `ValueError`."""
    if not isinstance(pages, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # programs without a type checker
        raise ValueError(f'pages must be text such as "1-2,5", not {pages!r}')
    parts = [part.strip() for part in re.split("[,;]", pages)]
    for part in parts:
        found = _PART.fullmatch(part)
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            raise ValueError(
                f'pages must be pages from 1 and ranges of them, such as "1-2,5", and not {pages!r}'
            )
    return parts


def _pages(_: object, __: object, value: str | None) -> None:
    if value is not None:
        page_ranges(value)


@attrs.frozen
class PrintOptions(Record):
    """How a document is printed. What is None is not sent: the printer's own setting holds.

    Args:
        copies: Number of copies, 1 to 32,767.
        color: True for color, False for black and white.
        duplex: "off" for one side, "long-edge" or "short-edge" for both sides, turned at that edge.
        orientation: "portrait" or "landscape".
        paper: Name of a paper format of the printer, or a size as (width, length) in millimetres, more than 0.05 and at
            most 3,276.7 each.
        resolution: One of the printer's resolutions, such as "600".
        tray: Name or index of one of the printer's trays.
        pages: Pages from 1 and ranges of them, separated by commas, such as "1-2,5".

    Raises:
        ValueError: A value is not one of these.

    Note:
        docs/ezeep-api.md#print-jobs
    """

    copies: int | None = attrs.field(
        default=None,
        validator=_optional(
            f"an integer from 1 to {MOST_COPIES}", lambda value: _is_int(value, 1, MOST_COPIES)
        ),
    )
    color: bool | None = attrs.field(
        default=None, validator=_optional("True or False", lambda value: isinstance(value, bool))
    )
    duplex: Duplex | None = attrs.field(default=None, validator=_one_of("off", "long-edge", "short-edge"))
    orientation: Orientation | None = attrs.field(default=None, validator=_one_of("portrait", "landscape"))
    paper: str | tuple[float, float] | None = attrs.field(
        default=None,
        validator=_optional(
            "the name of a paper format, or a tuple (width, length) in millimetres", _is_paper
        ),
    )
    resolution: str | None = attrs.field(
        default=None, validator=_optional('a resolution as text, such as "600"', _is_text)
    )
    tray: str | int | None = attrs.field(
        default=None,
        validator=_optional(
            "the name or the index of a tray", lambda value: _is_text(value) or _is_int(value, 0, 65535)
        ),
    )
    pages: str | None = attrs.field(default=None, validator=_pages)


IN_PROGRESS = {129: "being processed", 1246: "no status yet"}
"""Codes of jobs that have not ended (docs/ezeep-api.md#print-jobs)."""
_ENDED = {
    0: "printed",
    2: "the print service does not know the job",
    87: "the job id is malformed",
    3011: "failed: print the document again",
}


@attrs.frozen
class JobStatus(Record):
    """The status of a print job.

    The codes are Windows system error codes. Unknown codes are kept as they are.
    """

    code: int
    """0: printed. 129: in progress. 1246: no status yet. 3011: failed, print again. 2: unknown job id. 87: malformed id."""
    text: str = ""
    """Words of the print service, such as "PRINTING|RETAINED|"; often empty."""
    pages_printed: int = 0
    """Pages that are printed, as the service counts them. The documents do not say whether each copy counts."""
    pages_total: int = 0
    """Pages of the job, counted as `pages_printed` is. 0 while the number is not known: do not divide by it."""
    position: int = 0
    """Place in the queue of the printer.

    The documents do not explain the number; another client of ezeep calls it so."""

    @property
    def is_final(self) -> bool:
        """Whether the job has ended. An unknown code is final.

        Note:
            The documents name the codes 129 and 1246 as those to ask again for. That other codes are final is what ezeep's own
            client assumes.
        """
        return self.code not in IN_PROGRESS

    @property
    def succeeded(self) -> bool:
        """Whether the document was printed."""
        return self.code == 0

    @property
    def meaning(self) -> str:
        """The code in words."""
        known = IN_PROGRESS.get(self.code) or _ENDED.get(self.code)
        return known or f"failed with the Windows error code {self.code}"


@attrs.frozen
class QueuedJob(Record):
    """A job that waits in a pull queue until a person releases it.

    The documents do not name the fields of a job, so they are in `raw`.
    """

    id: UUID
    """Id of the job. Where the server sends none that is a UUID, it is computed from the fields."""
    raw: Mapping[str, object] = attrs.field(hash=False)
    """The fields as the server sent them."""
