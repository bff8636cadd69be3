"""A real browser: Debian's chromium, headless.

Tests of it are skipped where chromium and its driver are not installed; `.ci/run` installs them.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait


T = TypeVar("T")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
NEEDS_CHROMIUM = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="no chromium with its driver on this machine (Debian: apt-get install chromium chromium-driver)",
    ),
]
"""For `pytestmark`."""


class Browser:
    """A person at a browser. Its steps block, and run in threads."""

    def __init__(self, profile: Path, *, javascript: bool = True) -> None:
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
        if not javascript:
            prefs = {"profile.managed_default_content_settings.javascript": 2}
            options.add_experimental_option("prefs", prefs)
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
