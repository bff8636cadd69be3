"""Blocking calls in the cells of notebooks, which run on an event loop's thread."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from helpers.support import open_session, sandbox_in_a_thread

from ezeep_async import BlockingCallError, run_sync
from ezeep_async.blocking import portal


pytestmark = pytest.mark.may_block

ANSWER = "from ezeep_async.blocking import portal\nasync def answer(): return 42\n"
CELLS = {
    "a statement": "result = portal.run('await f()', answer)",
    "a function of another cell": "def work(): return portal.run('await f()', answer)\nresult = work()",
    "a comprehension": "result = [portal.run('await f()', answer) for _ in range(1)][0]",
    "top-level await": "import asyncio\nawait asyncio.sleep(0)\nresult = portal.run('await f()', answer)",
    "a coroutine that is awaited": "async def work(): return portal.run('await f()', answer)\nresult = await work()",
}


async def run_cell(source: str) -> dict[str, object]:
    """As the kernel of a notebook does it: in a task, as the code of a module."""
    names: dict[str, object] = {"__name__": "__main__"}
    code = compile(ANSWER + source, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if inspect.iscoroutine(result):
        await result
    return names


@pytest.mark.parametrize("source", CELLS.values(), ids=CELLS.keys())
async def test_5_1_a_cell_may_block(source: str) -> None:
    assert (await run_cell(source))["result"] == 42


async def test_5_1_a_cell_uses_a_blocking_session() -> None:
    with sandbox_in_a_thread(users=3, groups=1) as sandbox:
        names: dict[str, object] = {"run_sync": run_sync, "session": open_session(sandbox)}
        exec("with run_sync(session) as blocking: people = blocking.users.list().collect()", names)
    assert len(names["people"]) == 3


async def add() -> int:
    return 1


async def test_5_1_the_coroutine_of_an_application_is_refused() -> None:
    async def handler() -> None:
        portal.run("await f()", add)

    with pytest.raises(BlockingCallError):
        await handler()
    with pytest.raises(BlockingCallError):
        await asyncio.create_task(handler())


async def test_5_1_so_is_a_callback_of_the_loop() -> None:
    raised: list[BaseException] = []

    def callback() -> None:
        try:
            portal.run("await f()", add)
        except BlockingCallError as error:
            raised.append(error)

    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0)
    assert raised


async def test_5_1_a_module_that_a_coroutine_imports_is_no_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blocks_at_import.py").write_text(ANSWER + "portal.run('await f()', answer)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BlockingCallError):
        import blocks_at_import  # noqa: F401  # the import is what is tested


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_5_1_a_script_around_the_loop_is_no_cell(loop: str) -> None:
    """Its own module is below the loop, however the loop is made."""
    if importlib.util.find_spec(loop) is None:
        pytest.skip("uvloop is not installed")
    script = f"""
        import asyncio, {loop}
        from ezeep_async import BlockingCallError
        from ezeep_async.blocking import portal
        async def add(): return 1
        async def main():
            try: portal.run('await f()', add)
            except BlockingCallError: print("refused")
        loop = {loop}.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=True,
        timeout=15,
    )
    assert done.stdout == "refused\n"


async def test_5_1_never_on_the_portals_own_loop() -> None:
    async def inside() -> dict[str, object]:
        return await run_cell("result = portal.run('await f()', answer)")

    with pytest.raises(BlockingCallError):
        await asyncio.to_thread(portal.run, "await f()", inside)
