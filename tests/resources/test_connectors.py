"""Connectors and printer drivers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from helpers.stub_servers import Seen, Stub, page, session_on

from ezeep_async import Connector, Driver, EzeepSession
from ezeep_async.sandbox import Sandbox


async def test_connectors_are_listed(session: EzeepSession, sandbox: Sandbox) -> None:
    """All of them, or those of one type, which is checked for each row."""
    everything = await session.connectors.list(page_size=2).collect()
    assert [each.id for each in everything] == [each.id for each in sandbox.administration.connectors]
    assert isinstance(everything[0], Connector)
    hubs = await session.connectors.list(type="TPHub").collect()
    assert [hub.readable_name for hub in hubs] == ["Hub in the server room", "Hub in the warehouse"]
    assert sandbox.requests[-1].query["type"] == "TPHub"
    assert hubs[0].supported_formats == ("RAW", "PDF")
    assert await session.connectors.list(type="Embedded").collect() == []
    assert await session.connectors.list("TPHub").count() == 2


async def test_a_server_that_ignores_the_type() -> None:
    """Rows of another type are left out."""

    def handler(seen: Seen) -> web.Response:
        kinds = ("TPHub", "Virtual", "New kind")
        return page([{"id": str(UUID(int=number)), "type": kind} for number, kind in enumerate(kinds)])

    async with Stub(handler) as stub, session_on(stub.url) as session:
        assert [each.id.int for each in await session.connectors.list(type="Virtual").collect()] == [1]
        assert await session.connectors.list(type="Virtual").count() == 1


async def test_vendors_and_their_drivers(session: EzeepSession, sandbox: Sandbox) -> None:
    """The names of vendors have blanks, ampersands and apostrophes: they are quoted."""
    vendors = await session.drivers.vendors()
    assert vendors == ["Example", "Ink & Paper", "O'Neil", "Zed"]
    for vendor in vendors:
        drivers = await session.drivers.list(vendor, page_size=2).collect()
        assert {driver.vendor for driver in drivers} == {vendor}
        assert len(drivers) == 3
        assert isinstance(drivers[0], Driver)
    assert await session.drivers.list("Unknown vendor").collect() == []


async def test_a_driver_as_documented() -> None:
    """`blob_capabilities` and other fields are ignored; null is the default."""
    record = {
        "id": str(UUID(int=1)),
        "name": "n",
        "readable_name": None,
        "vendor": "v",
        "os": "Windows",
        "arch": "x64",
        "printers_using_driver": "3",
        "blob_capabilities": {"options": 1, "count": 2, "capabilities": "H4sI"},
    }
    async with Stub(lambda _: page([record])) as stub, session_on(stub.url) as session:
        (driver,) = await session.drivers.list("v").collect()
    assert driver == Driver(UUID(int=1), "n", "", "v", "Windows", "x64", 3)


@pytest.mark.parametrize("bad", ["", " ", 5])
def test_names_are_checked_before_any_request(bad: Any) -> None:
    session = session_on("https://api.example")
    with pytest.raises(ValueError, match="type"):
        session.connectors.list(type=bad)
    with pytest.raises(ValueError, match="vendor"):
        session.drivers.list(bad)
