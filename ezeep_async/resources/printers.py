"""`session.printers`: the printers that the logged-in user may print to."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from uuid import UUID

import attrs

from ezeep_async._wire.printing import PRINTERS, printer_properties, printers_page, properties_request
from ezeep_async._wire.requests import as_id, checked_text
from ezeep_async._wire.responses import decode_response
from ezeep_async.errors import AmbiguousName, NotFound
from ezeep_async.models.assignments import PrinterAssignment
from ezeep_async.models.printers import Printer, PrinterProperties
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.resources._base import Api, page_fetcher
from ezeep_async.resources._shared_reads import SharedReads


LIFETIME_S = 60.0
"""How long printers and their properties are kept."""


PRINTERS_OF = (Printer, PrinterAssignment)
"""The records of one printer, which have the same id."""


def printer_id_of(printer_or_id: object) -> UUID:
    """The id of a printer. Raises `ValueError` for what is none."""
    try:
        return as_id(printer_or_id, "printer_or_id", *PRINTERS_OF)
    except ValueError as error:
        raise ValueError(f"{error}: session.printers.find(name) finds a printer by its name") from None


@attrs.define(eq=False)
class PrintingReads:
    """What a session has read for printing."""

    types: SharedReads[frozenset[str]] = attrs.field(factory=lambda: SharedReads[frozenset[str]](math.inf))
    printers: SharedReads[tuple[Printer, ...]] = attrs.field(
        factory=lambda: SharedReads[tuple[Printer, ...]](LIFETIME_S)
    )
    properties: SharedReads[PrinterProperties] = attrs.field(
        factory=lambda: SharedReads[PrinterProperties](LIFETIME_S)
    )


class Printers:
    """Printers of the logged-in user.

    `get`, `find` and `properties` share what they read for 60 seconds, or until the next login; `list` always reads.

    Note:
        docs/ezeep-api.md#print-jobs
    """

    def __init__(self, api: Api, logins: Callable[[], int] = lambda: 0) -> None:
        self._api = api
        self._logins = logins
        self._fetch = page_fetcher(api, Printer, lambda _: PRINTERS, printers_page)
        reads = api.common(PrintingReads)
        self._printers, self._properties = reads.printers, reads.properties

    def list(self) -> Paginator[Printer]:
        """List the printers. Nothing is sent before the listing is iterated.

        Returns:
            A listing of one page, in the order of the server. Empty if the user has no printer.
        """
        return Paginator(self._fetch, page_size=100)

    async def get(self, printer_id: UUID | str | Printer | PrinterAssignment) -> Printer:
        """Return a printer by its id.

        Args:
            printer_id: The printer, or its id.

        Returns:
            The printer, as it was at most 60 seconds ago.

        Raises:
            NotFound: The user has no such printer.
        """
        wanted = as_id(printer_id, "printer_id", *PRINTERS_OF)
        for printer in await self._known():
            if printer.id == wanted:
                return printer
        raise _not_found(f"the logged-in user has no printer with the id {wanted}")

    async def find(self, name: str) -> Printer:
        """Return the printer with this name.

        Args:
            name: Exact, case-sensitive name.

        Returns:
            The printer, as it was at most 60 seconds ago.

        Raises:
            AmbiguousName: Several printers have this name. `error.ids` has their ids.
            NotFound: No printer has this name. The message has similar names.
        """
        checked_text(name, "name", shortest=1)
        printers = await self._known()
        found = [printer for printer in printers if printer.name == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise AmbiguousName(
                f"{len(found)} printers have the name {name!r}: use an id", ids=[each.id for each in found]
            )
        names = {each.name.casefold(): each.name for each in printers}
        alike = [names[each] for each in difflib.get_close_matches(name.casefold(), names, 3, 0.6)]
        hint = f". Similar: {', '.join(map(repr, alike))}" if alike else ""
        raise _not_found(f"the logged-in user has no printer with the name {name!r}{hint}")

    async def properties(self, printer_or_id: Printer | PrinterAssignment | UUID | str) -> PrinterProperties:
        """Read what a printer can do: paper, trays, color.

        Args:
            printer_or_id: The printer, or its id.

        Returns:
            The properties, as they were at most 60 seconds ago.

        Raises:
            NotFound: The server has no properties of this printer.
        """
        printer_id = printer_id_of(printer_or_id)

        async def read() -> PrinterProperties:
            request = properties_request(printer_id)
            response = await self._api.send(request)
            found = decode_response(request, response, lambda body: printer_properties(body, printer_id))
            if found is None:
                raise _not_found(f"the server has no properties of the printer {printer_id}")
            return found

        return await self._properties.get((self._logins(), printer_id), read, self._api.settings)

    async def _known(self) -> tuple[Printer, ...]:
        async def read() -> tuple[Printer, ...]:
            return tuple((await self._fetch({}))[0]().results)

        return await self._printers.get(self._logins(), read, self._api.settings)


def _not_found(message: str) -> NotFound:
    return NotFound(message, status=404)
