"""`ezeep login` with a browser that runs in the foreground."""

from __future__ import annotations

import shutil
import sys

import pytest
from helpers.command_line import ended, started
from helpers.people import Desk, visit


pytestmark = pytest.mark.slow


@pytest.mark.timeout(60)
async def test_a_browser_that_stays_open_is_not_waited_for(desk: Desk) -> None:
    """The code is exchanged as soon as it is there, as with BROWSER="google-chrome %s", and the command ends."""
    script, closed = desk.home / "foreground.py", desk.home / "closed"
    script.write_text(
        "import os, sys, time\n"
        "os.close(1), os.close(2)\n"  # else the test would wait for it where it waits for the command
        f"open({str(desk.home / 'opened.part')!r}, 'w').write(sys.argv[1])\n"
        f"os.rename({str(desk.home / 'opened.part')!r}, {str(desk.home / 'opened')!r})\n"
        f"while not os.path.exists({str(closed)!r}):\n    time.sleep(0.05)\n"
    )
    environment = {**desk.environment, "BROWSER": f"{sys.executable} {script} %s"}
    try:
        async with started("login", env=environment) as process:
            status, page = await visit(await desk.came_back())
            ran = await ended(process)
    finally:
        closed.touch()
    assert (status, ran.code, ran.err) == (200, 0, "")
    assert "You are logged in" in page
    assert "No browser" not in ran.out
    assert len(desk.token_files) == 1


@pytest.mark.timeout(60)
async def test_without_a_browser_it_says_so_and_goes_on(desk: Desk) -> None:
    """The address was shown: it can be opened elsewhere on this machine."""
    # Without PATH: one of a terminal, such as lynx, would be found too.
    environment = {**desk.environment, "BROWSER": f"{shutil.which('false')} %s", "PATH": str(desk.home)}
    async with started("login", env=environment) as process:
        assert process.stdout is not None
        said = ""
        while "No browser was found" not in said:
            said += (line := await process.stdout.readline()).decode()
            assert line, said
        process.kill()
