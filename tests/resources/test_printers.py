"""`session.printers` against the sandbox."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from aiohttp import web
from helpers.stub_servers import Seen, Stub, session_on

from ezeep_async import AmbiguousName, EzeepSession, NotFound, Printer, ServerError, Settings
from ezeep_async.resources import printers
from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD, Sandbox


GET = "GET /sfapi/GetPrinter/"
PROPERTIES = "GET /sfapi/GetPrinterProperties/"


async def test_the_printers_of_the_user(session: EzeepSession, sandbox: Sandbox) -> None:
    """One request, in the order of the server; every listing reads again."""
    listing = session.printers.list()
    found = await listing.collect()
    assert [each.name for each in found] == [each.name for each in sandbox.printing.printers.values()]
    assert [each.is_queue for each in found] == [False, True, False, False]
    assert isinstance(found[0], Printer)
    assert await listing.count() == 4
    assert sandbox.count(GET) == 2


async def test_no_printer(session: EzeepSession, sandbox: Sandbox) -> None:
    """An empty list is an empty listing."""
    sandbox.printing.printers.clear()
    assert await session.printers.list().collect() == []


async def test_a_printer_by_id_and_by_name(session: EzeepSession, sandbox: Sandbox) -> None:
    """Both read the list once."""
    printer = await session.printers.find("Warehouse label")
    assert await session.printers.get(printer.id) == printer
    assert await session.printers.get(str(printer.id)) == printer
    assert sandbox.count(GET) == 1


async def test_a_name_of_several_printers(session: EzeepSession, sandbox: Sandbox) -> None:
    """`AmbiguousName` has their ids."""
    ids = {sandbox.printing.add_printer("Twin").id for _ in range(2)}
    with pytest.raises(AmbiguousName, match="Twin") as caught:
        await session.printers.find("Twin")
    assert set(caught.value.ids) == ids


async def test_a_name_that_no_printer_has(session: EzeepSession, sandbox: Sandbox) -> None:
    """`NotFound` with status 404 and similar names."""
    with pytest.raises(NotFound, match="'Front desk laser'") as caught:
        await session.printers.find("front desk laser")
    assert caught.value.status == 404
    with pytest.raises(NotFound) as caught:
        await session.printers.find("Zzz")
    assert "Similar" not in str(caught.value)
    with pytest.raises(NotFound):
        await session.printers.get(UUID(int=7))
    for wrong in ("", None, 5):
        with pytest.raises(ValueError):
            await session.printers.find(wrong)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="printer_id"):
        await session.printers.get("Front desk laser")


async def test_properties(session: EzeepSession, sandbox: Sandbox) -> None:
    """By printer, id or text; `[null]` trays and missing keys are read."""
    label = await session.printers.find("Warehouse label")
    found = await session.printers.properties(label)
    assert found == await session.printers.properties(str(label.id))
    assert (found.trays, found.color, found.duplex) == ((), False, False)
    assert sandbox.count(PROPERTIES) == 1
    older = await session.printers.properties(await session.printers.find("Second floor"))
    assert (older.trays, older.color) == ((), False)
    with pytest.raises(NotFound, match="properties"):
        await session.printers.properties(UUID(int=7))


async def test_concurrent_callers_share_a_read(session: EzeepSession, sandbox: Sandbox) -> None:
    """One request, also when the first caller is cancelled."""
    hold = sandbox.faults.hold(GET)
    first = asyncio.create_task(session.printers.find("Warehouse label"))
    await hold.arrived()
    others = [asyncio.create_task(session.printers.find("Front desk laser")) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    hold.release()
    assert {each.name for each in await asyncio.gather(*others)} == {"Front desk laser"}
    with pytest.raises(asyncio.CancelledError):
        await first
    assert sandbox.count(GET) == 1


async def test_an_error_is_not_kept(sandbox: Sandbox) -> None:
    """The next call reads again."""
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=Settings(retries=0)
    ) as session:
        sandbox.faults.add(GET, status=500)
        with pytest.raises(ServerError):
            await session.printers.find("Warehouse label")
        assert (await session.printers.find("Warehouse label")).name == "Warehouse label"


async def test_what_is_kept_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 60 seconds the list and the properties are read again."""

    def serve(seen: Seen) -> web.Response:
        row = {"id": str(UUID(int=1)), "name": f"read {len(stub.seen)}"}
        if "Properties" in seen.path:
            row = {"Id": str(UUID(int=1)), "Name": f"read {len(stub.seen)}"}
        return web.json_response([row])

    now = 1000.0
    async with Stub(serve) as stub, session_on(stub.url) as session:
        monkeypatch.setattr(session.printers._printers, "_now", lambda: now)
        monkeypatch.setattr(session.printers._properties, "_now", lambda: now)
        names = []
        for now in (1000.0, 1059.9, 1060.0, 1100.0, 1121.0):  # noqa: B007  # read by the clock above
            names.append(
                (
                    (await session.printers.get(UUID(int=1))).name,
                    (await session.printers.properties(UUID(int=1))).name,
                )
            )
    assert names == [("read 1", "read 2")] * 2 + [("read 3", "read 4")] * 2 + [("read 5", "read 6")]
    assert printers.LIFETIME_S == 60.0


async def test_another_login_reads_again(session: EzeepSession, sandbox: Sandbox) -> None:
    """What is kept belongs to the user who was logged in."""
    printer = await session.printers.find("Front desk laser")
    await session.printers.properties(printer)
    sandbox.behaviour.password_grant = True
    await session.oauth.login_with_password(SANDBOX_ADMIN, SANDBOX_PASSWORD)
    await session.printers.find("Front desk laser")
    await session.printers.properties(printer)
    assert (sandbox.count(GET), sandbox.count(PROPERTIES)) == (2, 2)


async def test_a_printer_without_a_name() -> None:
    """Null is an empty name: it does not hide the other printers."""
    rows = [{"id": str(UUID(int=1)), "name": None}, {"id": str(UUID(int=2)), "name": "Laser"}]
    async with Stub(lambda _: web.json_response(rows)) as stub, session_on(stub.url) as session:
        assert (await session.printers.find("Laser")).id == UUID(int=2)
        assert (await session.printers.get(UUID(int=1))).name == ""


async def test_properties_of_other_printers() -> None:
    """A server that sends several, none of which is the wanted one, has none of it."""
    rows = [{"Id": str(UUID(int=each)), "Name": "other", "Color": True} for each in (2, 3)]
    async with Stub(lambda _: web.json_response(rows)) as stub, session_on(stub.url) as session:
        with pytest.raises(NotFound):
            await session.printers.properties(UUID(int=1))


async def test_a_name_is_no_id(session: EzeepSession, sandbox: Sandbox) -> None:
    """The message says how a printer is found by its name. Nothing is sent."""
    with pytest.raises(ValueError, match=r"not 'Front desk laser'.*printers\.find\(name\)"):
        await session.printers.properties("Front desk laser")
    with pytest.raises(ValueError, match=r"printers\.find\(name\)"):
        await session.printing.print_file(b"x", "Front desk laser", type="pdf")
    assert sandbox.requests == []
