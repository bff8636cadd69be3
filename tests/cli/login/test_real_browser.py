"""Logging in with a real browser: Debian's chromium, headless, at the sandbox's pages and at the command's own.

Skipped where chromium and its driver are not installed; `.ci/run` installs them.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from helpers.command_line import ended, started
from helpers.people import Desk
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait


T = TypeVar("T")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="no chromium with its driver on this machine (Debian: apt-get install chromium chromium-driver)",
    ),
]


class Browser:
    """A person at a browser. Its steps block, and run in threads."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM or ""
        for argument in (
            "--headless=new",
            "--no-sandbox",  # Chromium's own has no use for root, as which continuous integration runs
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=480,800",
            f"--user-data-dir={profile}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))

    def open(self, address: str) -> None:
        self.driver.get(address)

    def heading(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "h1").text

    def wait_for_heading(self, text: str) -> None:
        self._wait().until(lambda _: self.heading() == text)

    def wait_for_text(self, selector: str) -> str:
        return self._wait().until(lambda driver: driver.find_element(By.CSS_SELECTOR, selector).text)

    def _wait(self) -> WebDriverWait[webdriver.Chrome]:
        # Between finding an element of the old page and reading it, the new page may come. (NoSuchElementException is
        # ignored by default.)
        return WebDriverWait(self.driver, 20, ignored_exceptions=[StaleElementReferenceException])

    def press(self, button: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, f"button[value={button}]").click()

    def complaints(self) -> list[str]:
        """What the browser did not like about the pages: blocked styles, things that were not found."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


async def do(step: Callable[[], T]) -> T:
    return await asyncio.to_thread(step)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    person = Browser(tmp_path / "profile")
    yield person
    person.driver.quit()


async def test_allow(desk: Desk, browser: Browser) -> None:
    """From the consent page to the page of `ezeep login`, with one press of a button."""
    async with started("login", env=desk.environment) as process:
        address = await desk.opened()
        await do(lambda: browser.open(address))
        assert await do(browser.heading) == "Allow this application?"
        await do(lambda: browser.press("approve"))
        await do(lambda: browser.wait_for_heading("You are logged in"))
        ran = await ended(process)
    assert ran.code == 0, ran
    assert len(desk.token_files) == 1
    assert await do(browser.complaints) == []
    assert (await do(lambda: browser.driver.current_url)).startswith(desk.redirect_uri)


async def test_decline(desk: Desk, browser: Browser) -> None:
    async with started("login", env=desk.environment) as process:
        address = await desk.opened()
        await do(lambda: browser.open(address))
        await do(lambda: browser.press("deny"))
        await do(lambda: browser.wait_for_heading("Not logged in"))
        ran = await ended(process)
    assert "declined" in ran.refused()
    assert await do(browser.complaints) == []


async def test_an_unknown_user_and_then_oneself_by_keyboard(desk: Desk, browser: Browser) -> None:
    """The form explains, keeps what was typed, and works without a mouse."""
    person = desk.sandbox.organization.people[desk.sandbox.organization.admin_id]

    def type_name(name: str) -> None:
        field = browser.driver.find_element(By.ID, "username")
        field.clear()
        field.send_keys(name, Keys.ENTER)

    async with started("login", env=desk.environment) as process:
        address = await desk.opened()
        await do(lambda: browser.open(address))
        await do(lambda: type_name("absent@example.org"))
        complaint = await do(lambda: browser.wait_for_text("[role=alert]"))
        assert "No person in this organization" in complaint
        await do(lambda: type_name(person.email))
        await do(lambda: browser.wait_for_heading("You are logged in"))
        assert (await ended(process)).code == 0


async def test_pairing(desk: Desk, browser: Browser) -> None:
    async with started("login", "--device", env=desk.environment) as process:
        assert process.stdout is not None
        code = (await process.stdout.readline()).decode().partition("code: ")[2].strip()
        address = (await process.stdout.readline()).decode().partition("address: ")[2].strip()
        await do(lambda: browser.open(address))
        assert code in await do(lambda: browser.driver.find_element(By.TAG_NAME, "main").text)
        await do(lambda: browser.press("approve"))
        await do(lambda: browser.wait_for_heading("Connected"))
        assert (await ended(process)).code == 0
    assert len(desk.token_files) == 1
