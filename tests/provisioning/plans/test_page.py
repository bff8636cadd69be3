"""`Plan.to_html`: the page is complete, escaped and self-contained; and what a real browser shows of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import attrs
import pytest

from ezeep_async.provisioning import (
    ChangeAssignments,
    ChangeMemberships,
    CreateGroup,
    DeleteGroup,
    HeldBack,
    InvitePerson,
    Plan,
    TargetGroup,
)


if TYPE_CHECKING:
    from selenium import webdriver


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

HOSTILE = '<script>document.title="run"</script><img src=x onerror="document.title=1">&"\'\u202egnp.exe'
FINANCE, SALES = TargetGroup("Finance", UUID(int=1)), TargetGroup("Sales", UUID(int=2))
NEW = TargetGroup(HOSTILE)
PLAN = Plan(
    changes=(
        CreateGroup(HOSTILE, UUID(int=9)),
        InvitePerson("new@example.com"),
        ChangeMemberships(UUID(int=11), "a@example.com", (FINANCE, NEW), (SALES,)),
        ChangeMemberships(UUID(int=12), "b@example.com", (FINANCE,)),
        ChangeAssignments(UUID(int=21), "Laser", (FINANCE,), (SALES,)),
        ChangeAssignments(UUID(int=22), HOSTILE, (NEW,)),
    ),
    mode="exact",
    groups=frozenset({UUID(int=1), UUID(int=2)}),
    members_now=40,
    printers={UUID(int=1): frozenset(), UUID(int=2): frozenset()},
    assignments_now=12,
    max_removals=0.25,
    skipped=("gone@example.com",),
    waiting=("wait@example.com",),
    held_back=(HeldBack("boss@example.com", "Sales", "protect_users contains 'boss@*'"),),
    notes=("the new group looks like another",),
    kept_users={UUID(int=13): "protect_users contains 'boss@*'"},
)


class _Page(HTMLParser):
    """The elements of a page and its text, as a reader without styles has them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.parts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self._open.append(tag)
        for name, value in attributes:
            assert not name.startswith("on")
            if name in {"src", "href", "action", "background", "style"}:
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag not in {"a", "b", "bdi", "del", "ins", "span"}:
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.parts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.parts).split())


def test_the_page_has_everything_by_group() -> None:
    """Signs and words say what the colours say. Removals come first."""
    page = _Page(PLAN.to_html())
    for text in (
        "Within the safety limits. Nothing has been changed yet.",
        "the new group looks like another",
        "Memberships +3 \N{MINUS SIGN}1 40 10",
        "Printer assignments +2 \N{MINUS SIGN}1 12 5",
        "exact \N{EN DASH} the groups of the input keep only",
        "25 % of what the groups have now, at least five of each kind",
        "1 user: protect_users contains 'boss@*'",
        "new@example.com",
        "gone@example.com",
        "wait@example.com",
        "boss@example.com (protect_users contains 'boss@*')",
    ):
        assert text in page.text
    assert page.addresses == ["#group-1", "#group-2", "#group-3"]
    assert {"script", "img", "link", "iframe", "form", "object"}.isdisjoint(page.tags)


def test_everything_from_outside_is_escaped() -> None:
    """Invisible characters and changes of the direction are shown as escapes."""
    source = PLAN.to_html()
    assert "<script" not in source
    assert "<img" not in source
    assert "\u202e" not in source
    assert "\\u202egnp.exe" in source
    assert HOSTILE.replace("\u202e", "\\u202e") in _Page(source).text
    assert "default-src 'none'; style-src 'unsafe-inline'" in source
    assert re.findall(r"url\(|@import|https?:", source) == []


def test_a_plan_over_its_limits_says_so_first() -> None:
    text = _Page(attrs.evolve(PLAN, max_removals=1).to_html()).text
    assert (
        "Not within the safety limits: apply refuses this plan. It removes 2 memberships and assignments of printers, "
        "and the limit is 1: 2 from 'Sales'." in text
    )


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Plan(), "Nothing to change."),
        (Plan(changes=(DeleteGroup(UUID(int=1), "Old"),), mode="undo"), "deleted, unless it is in use"),
        (attrs.evolve(PLAN, max_removals=0), "0 in all"),
        (attrs.evolve(PLAN, max_removals=123_456), "Removals allowed 123456 in all"),
        (attrs.evolve(PLAN, max_removals=2), "\N{MINUS SIGN}1 12 2 in all"),
    ],
)
def test_other_plans(plan: Plan, says: str) -> None:
    assert says in _Page(plan.to_html()).text


# --- a real browser


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    from selenium import webdriver  # slow to import

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.timeout(120)
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no chromium with its driver on this machine")
def test_the_page_in_a_browser(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """Nothing runs and nothing is blocked; colours in both modes, links, narrow screens and print."""
    from selenium.webdriver.common.by import By

    path = tmp_path / "plan.html"
    path.write_text(PLAN.to_html(), "utf-8")
    browser.set_window_size(1000, 900)
    browser.get(path.as_uri())
    assert browser.title.startswith("Provisioning plan: create 1 group, invite 1 person")
    cards = browser.find_elements(By.CSS_SELECTOR, ".group[id]")
    assert [card.find_element(By.TAG_NAME, "h2").text.split("\n")[0] for card in cards][1:] == [
        "Finance",
        "Sales",
    ]
    assert cards[2].text.splitlines() == [
        "Sales",
        "Members \N{MINUS SIGN}1",
        "\N{MINUS SIGN}a@example.com",
        "Printers \N{MINUS SIGN}1",
        "\N{MINUS SIGN}Laser",
        "Not removed",
        "!boss@example.com (protect_users contains 'boss@*')",
    ]
    browser.find_element(By.LINK_TEXT, "Sales").click()
    assert browser.current_url.endswith("#group-3")

    def colors() -> set[str]:
        return {
            browser.find_element(By.CSS_SELECTOR, selector).value_of_css_property("color")
            for selector in ("body", ".items ins", ".items del")
        }

    def background() -> str:
        return browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")

    light, light_back = colors(), background()
    assert len(light) == 3
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    assert len(colors()) == 3
    assert colors().isdisjoint(light)
    assert background() != light_back

    # Only tables may be wider than a narrow screen, and they scroll by themselves.
    metrics = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    printed = browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert len(printed) > 10_000
    assert browser.get_log("browser") == []
