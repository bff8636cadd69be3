"""`session.connectors` and `session.drivers`: what connects printers with ezeep, and the known printer drivers."""

from __future__ import annotations

import builtins

from ezeep_async._wire.requests import CONNECTORS, DRIVERS, VENDORS, checked_text
from ezeep_async.models.connectors import Connector, Driver
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.resources._base import Api, page_fetcher, send_for


class Connectors:
    """The connectors of the organization. Read only.

    Note:
        docs/ezeep-api.md#connectors-and-drivers
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(
        self,
        type: str | None = None,  # noqa: A002  # the name of the query parameter
        page_size: int = 100,
        concurrency: int = 1,
        offset: int = 0,
    ) -> Paginator[Connector]:
        """List all connectors, or those of one type. Nothing is sent before the listing is iterated.

        Args:
            type: "TPHub", "Printserver", "Virtual" or "Embedded"; None for all. Each row is checked here, too.
            page_size: Rows to request per page, at least 1. The server may send fewer.
            concurrency: Pages to request at the same time, at least 1.
            offset: Rows to skip, at least 0.

        Returns:
            A listing, in the order of the server.
        """
        everything = page_fetcher(self._api, Connector, CONNECTORS.page)
        if type is None:
            return Paginator(everything, page_size=page_size, concurrency=concurrency, offset=offset)
        query = {"type": checked_text(type, "type", shortest=1)}
        return Paginator(
            page_fetcher(self._api, Connector, lambda params: CONNECTORS.page({**params, **query})),
            page_size=page_size,
            concurrency=concurrency,
            offset=offset,
            keep=lambda connector: connector.type == type,
            unfiltered=everything,
        )


class Drivers:
    """The printer drivers that ezeep knows. Read only.

    Note:
        docs/ezeep-api.md#connectors-and-drivers
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    async def vendors(self) -> builtins.list[str]:
        """Read the names of all vendors, for `list`.

        Returns:
            The names, in the order of the server.
        """
        return (await send_for(self._api, VENDORS, list[str]))[0]

    def list(
        self, vendor: str, page_size: int = 100, concurrency: int = 1, offset: int = 0
    ) -> Paginator[Driver]:
        """List the drivers of one vendor. Nothing is sent before the listing is iterated.

        Args:
            vendor: Name of the vendor, as `vendors` returns it.
            page_size: Rows to request per page, at least 1. The server may send fewer.
            concurrency: Pages to request at the same time, at least 1.
            offset: Rows to skip, at least 0.

        Returns:
            A listing, in the order of the server. An unknown vendor has no drivers.
        """
        query = {"vendor": checked_text(vendor, "vendor", shortest=1)}
        return Paginator(
            page_fetcher(self._api, Driver, lambda params: DRIVERS.page({**params, **query})),
            page_size=page_size,
            concurrency=concurrency,
            offset=offset,
        )
