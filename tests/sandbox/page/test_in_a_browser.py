"""The page for people in a real browser: it is live, keeps what is open, and can be read without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.chromium import NEEDS_CHROMIUM, Browser, do
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ezeep_async.testing import ThreadedSandbox


pytestmark = [*NEEDS_CHROMIUM, pytest.mark.may_block]


@pytest.fixture
def sandbox() -> Iterator[ThreadedSandbox]:
    with ThreadedSandbox(page=True, users=30) as sandbox:
        yield sandbox


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    person = Browser(tmp_path / "profile")
    yield person
    person.driver.quit()


def text_of(browser: Browser, selector: str) -> str:
    return browser.driver.find_element(By.CSS_SELECTOR, selector).text


def wait(browser: Browser, selector: str, part: str) -> None:
    browser._wait().until(lambda _: part in text_of(browser, selector))


async def test_it_is_live(sandbox: ThreadedSandbox, browser: Browser) -> None:
    def look() -> None:
        browser.open(sandbox.endpoints.account + "/")
        wait(browser, "#live", "This page is live")
        group = browser.driver.find_element(By.CSS_SELECTOR, "#groups details")
        group.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
        assert group.get_dom_attribute("open")
        sandbox.call(sandbox.organization.add_group, "A new group")
        wait(browser, "#groups", "A new group")
        # The part was replaced: what was open is open, and has the focus.
        group = browser.driver.find_element(By.CSS_SELECTOR, "#groups details")
        assert group.get_dom_attribute("open")
        assert browser.driver.switch_to.active_element == group.find_element(By.TAG_NAME, "summary")

    await do(look)
    assert await do(browser.complaints) == []


async def test_a_button(sandbox: ThreadedSandbox, browser: Browser) -> None:
    """A fault is waiting then, without a new page."""

    def press() -> None:
        browser.open(sandbox.endpoints.account + "/")
        wait(browser, "#live", "This page is live")
        wait(browser, "#faults", "No fault is waiting")
        browser.press("print-lost")
        wait(browser, "#faults", "POST /sfapi/Print/")
        browser.press("clear")
        wait(browser, "#faults", "No fault is waiting")

    await do(press)
    assert await do(browser.complaints) == []


async def test_without_javascript(sandbox: ThreadedSandbox, tmp_path: Path) -> None:
    """Everything can be read, and the buttons work."""
    sandbox.call(sandbox.organization.add_group, "A new group")
    browser = await do(lambda: Browser(tmp_path / "profile", javascript=False))
    try:
        await do(lambda: browser.open(sandbox.endpoints.account + "/"))
        assert "Reload the page" in await do(lambda: text_of(browser, "#live"))
        assert "A new group" in await do(lambda: text_of(browser, "#groups"))
        await do(lambda: browser.press("print-lost"))
        await do(lambda: wait(browser, "#faults", "POST /sfapi/Print/"))
        assert await do(lambda: browser.driver.current_url) == sandbox.endpoints.account + "/"
    finally:
        await do(browser.driver.quit)


async def test_it_fits_on_a_narrow_screen(sandbox: ThreadedSandbox, browser: Browser) -> None:
    def look() -> int:
        browser.driver.set_window_size(480, 900)
        browser.open(sandbox.endpoints.account + "/")
        wait(browser, "#live", "This page is live")
        return browser.driver.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    assert await do(look) == 0
