"""Wrong calls: mypy and pyright must report an error at each line marked "wrong", and at no other line."""

from __future__ import annotations

from ezeep_async import (
    BlockingSession,
    DesiredState,
    EzeepSession,
    MemoryTokenStore,
    OAuthApp,
    PrintOptions,
    SessionPool,
    Settings,
    run_sync,
)


async def asynchronous(session: EzeepSession) -> None:
    await session.groups.get(5)  # wrong
    await session.groups.create("name")  # wrong
    await session.groups.ensure("name", "organization", colour="red")  # wrong
    await session.groups.update("id", name=None)  # wrong
    await session.users.set_groups("id", 5)  # wrong
    for _ in session.users.list():  # wrong
        pass
    for _ in session.users.list().pages():  # wrong
        pass
    list(session.users.list())  # wrong
    session.users.list()[0]  # wrong
    with session:  # wrong
        pass
    with session.users.list():  # wrong
        pass
    user, group = await session.users.get("id"), await session.groups.get("id")
    await session.groups.get(user)  # wrong
    await session.users.get(group)  # wrong
    await session.users.set_groups(user, group)  # wrong
    await session.users.set_groups(user, [user])  # wrong
    await session.users.add_to_groups(user, [group])  # wrong
    session.groups.members(user)  # wrong
    await session.printer_assignments.assign(group)  # wrong
    await session.printing.status(group)  # wrong
    await session.accounts.update("id", password="x")  # wrong
    await session.provisioning.plan({"Sales": []})  # wrong
    await session.provisioning.apply("plan.json")  # wrong
    DesiredState.from_mapping({}, {"Sales": [5]})  # wrong
    printer = await session.printers.find("Laser")
    await session.printing.print_file("a.pdf")  # wrong
    await session.printing.print_file(5, printer)  # wrong
    await session.printing.print_file(["text"], printer)  # wrong
    await session.printing.print_file("a.pdf", printer, {"copies": 2})  # wrong
    await session.printing.print_file("a.pdf", printer, None, "name")  # wrong
    await session.printing.print_url("https://x.example/a.pdf", printer, on_progress=print)  # wrong
    await session.printing.watch("job")  # wrong
    PrintOptions(duplex="long")  # wrong
    PrintOptions(paper=(1, 2, 3))  # wrong
    await session.printer_assignments.assign(5)  # wrong
    await session.webhooks.create("name", "https://x")  # wrong
    await session.reports.create("2026-10-01", "2026-11-01", ",")  # wrong
    session.drivers.list()  # wrong
    session.with_options(deadline="10")  # wrong
    session.with_options(proxy=None)  # wrong
    session.with_options(10.0)  # wrong
    session.group  # wrong
    EzeepSession("client")  # wrong
    Settings(10.0)  # wrong
    Settings(timeout=1.0)  # wrong


def blocking(session: EzeepSession) -> None:
    with run_sync(session) as twin:
        twin.groups.get(5)  # wrong
        twin.groups.create("name")  # wrong
        twin.groups.ensure("name", "organization", colour="red")  # wrong
        twin.users.list(pages=3)  # wrong
        twin.groups.get(twin.users.get("id"))  # wrong
        twin.printing.print_file("a.pdf")  # wrong
        twin.printing.status(5)  # wrong
        twin.printing.print_file("a.pdf", "printer").wait(timeout="1")  # wrong
        twin.printer  # wrong
        twin.with_options(timeout=1.0)  # wrong
        twin.provisioning.undo()  # wrong
        twin.reports.wait()  # wrong
    run_sync(OAuthApp("client"))  # wrong


async def pools(pool: SessionPool) -> None:
    SessionPool(OAuthApp("client"), MemoryTokenStore())  # wrong
    SessionPool(OAuthApp("client"), lambda _: MemoryTokenStore(), on_token_rotated=5)  # wrong
    with pool.session("a"):  # wrong
        pass
    async with pool.session(5) as session:  # wrong
        await session.accounts.me()
    await pool.adopt("a", {})  # wrong
    async with run_sync(pool).session("a"):  # wrong
        pass
    await pool.oauth.refresh()  # wrong


async def mixed(twin: BlockingSession) -> None:
    async with twin:  # wrong
        pass
    async for _ in twin.users.list():  # wrong
        pass
    await twin.users.list()  # wrong
    await twin.users.get("id")  # wrong
