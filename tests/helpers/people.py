"""The person at the terminal and at the browser, for the tests of `ezeep login`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp
from helpers.browser import decide

from ezeep_async.sandbox import Sandbox


class Desk:
    """A home folder, a browser that notes the address it is opened with, and a sandbox to log in at."""

    def __init__(self, sandbox: Sandbox, home: Path, port: int) -> None:
        self.sandbox = sandbox
        self.home = home
        self.redirect_uri = f"http://127.0.0.1:{port}/callback"
        sandbox.behaviour.redirect_uris = (self.redirect_uri,)
        self._opened = home / "opened"
        script = home / "browser.py"
        # In one step: the process that waits for the file must not read half of an address.
        script.write_text(
            "import os, sys\n"
            f"open({str(self._opened) + '.part'!r}, 'w').write(sys.argv[1])\n"
            f"os.rename({str(self._opened) + '.part'!r}, {str(self._opened)!r})\n"
        )
        self.environment = {
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "BROWSER": f"{sys.executable} {script} %s",
            "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
            "EZEEP_REDIRECT_URI": self.redirect_uri,
            "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
            "EZEEP_API_URL": sandbox.endpoints.api,
        }

    @property
    def alone(self) -> dict[str, str]:
        """An environment that names no service and no client."""
        return {name: value for name, value in self.environment.items() if not name.startswith("EZEEP_")}

    @property
    def config(self) -> Path:
        path = self.home / "config" / "ezeep_async" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def token_files(self) -> list[Path]:
        return sorted((self.home / "state").rglob("*.json"))

    @property
    def browser_was_opened(self) -> bool:
        return self._opened.exists()

    async def opened(self) -> str:
        """The address that the browser is opened with."""
        while not self._opened.exists():
            await asyncio.sleep(0.01)
        return self._opened.read_text()

    async def came_back(self, decision: str = "approve") -> str:
        """The address that the consent page sends the browser to."""
        status, location = await decide(await self.opened(), decision)
        assert status == 302, location
        return location


async def visit(address: str, **options) -> tuple[int, str]:
    """Open an address as a browser does."""
    async with aiohttp.ClientSession() as client:
        async with client.request(options.pop("method", "GET"), address, **options) as answer:
            return answer.status, await answer.text()
