"""Logging in with a real browser, at the sandbox's pages and at the command's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.chromium import NEEDS_CHROMIUM, Browser, do
from helpers.command_line import ended, started
from helpers.people import Desk
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


pytestmark = NEEDS_CHROMIUM


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
