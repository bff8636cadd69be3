"""Looks at every page of the built site in Chromium: `python tests/site_checks/look_at_site.py .nox/site`.

Read from the folder, in both color schemes, 1280 and 390 pixels wide: no request to a network, no error, no text with too
little contrast (WCAG 2.2 AA), no page that scrolls sideways, no control without a name, and a search that finds the entries of
the messages in `pasted_messages.txt`.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast
from urllib.parse import quote

from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait


SCRIPT = Path(__file__).with_name("look_at_page.js").read_text("utf-8")
STILL = "const still = new CSSStyleSheet(); still.replaceSync('*{transition:none!important}'); document.adoptedStyleSheets.push(still)"
SCHEME = """
const [name, done] = arguments;
(function look() { document.body.dataset.mdColorScheme === name ? done() : requestAnimationFrame(look) })();
"""
MESSAGES = Path(__file__).with_name("pasted_messages.txt")
SEARCH = """
const [questions, done] = arguments;
const { search } = JSON.parse(document.getElementById('__config').textContent);
const worker = new Worker(new URL(search, location));
const filter = { input: { type: 'operator', data: { operator: 'and', operands: [] } } };
const ask = () => worker.postMessage({ type: 2, data: { input: questions[found.length], filter } });
const found = [];
worker.onmessage = ({ data: { type, data } }) => {
  if (type === 3) found.push(data.items.map(({ id }) => __index.items[id].location));
  if (found.length < questions.length) ask();
  else done(found);
};
worker.postMessage({ type: 0, data: __index });
"""
"""Asks the worker that the page's own search would start."""
BEST = 2
"""Results among which a message has to find its entry."""
SCHEMES = {"light": "default", "dark": "slate"}
INDEX = "search.js"
"""Of the search. To read it takes half of the time, so that only `use` does."""
BROWSERS = 2
WIDE, NARROW = 1280, 390
HEIGHT = 300
"""Low, so that little is painted. The checks look at the whole page."""
FORMS = ((WIDE, "light"), (WIDE, "dark"), (NARROW, "dark"))
"""The colors in both schemes, the layout in both widths."""
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # Chromium's own has no use for root, as which continuous integration runs
    "--disable-gpu",
    "--in-process-gpu",  # one process less
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--force-prefers-reduced-motion",
)


def browser(profile: str, *, requests: bool = False) -> webdriver.Chrome:
    """Start a browser, which may record its requests: that takes a third of the time."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.page_load_strategy = "eager"
    recorded = {"performance": "ALL"} if requests else {}
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", **recorded})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": STILL})
    return driver


def show(driver: webdriver.Chrome, width: int, scheme: str) -> None:
    """Set the width of the window, and the color scheme that the person prefers."""
    size = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    preferred = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})


def wait_for_scheme(driver: webdriver.Chrome, name: str) -> None:
    """The theme switches after the browser does."""
    driver.execute_async_script(SCHEME, name)


def problems_of_page(
    driver: webdriver.Chrome, address: str, forms: Sequence[tuple[int, str]] = FORMS
) -> Iterator[str]:
    """Look at one page in each form, in this order."""
    show(driver, *forms[0])
    driver.get(address)
    for width, scheme in forms:
        show(driver, width, scheme)
        wait_for_scheme(driver, SCHEMES[scheme])
        for problem in driver.execute_script(SCRIPT):
            yield f"{width} px, {scheme}: {problem}"


def problems_of_logs(driver: webdriver.Chrome, *, requests: bool = False) -> Iterator[str]:
    """Requests to other places than files, and complaints of the browser."""
    entries = cast("Callable[[str], list[dict[str, str]]]", driver.get_log)
    for entry in entries("performance") if requests else []:
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith(
                ("file:", "data:", "blob:", "chrome:")
            ):  # the browser starts with a page of its own
                yield f"a request to {url}"
    for entry in entries("browser"):
        if entry["level"] == "SEVERE" and (requests or f"/{INDEX} " not in entry["message"]):
            yield entry["message"]


def look(site: Path, names: list[str]) -> list[str]:
    """The problems of some pages, from one browser."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = browser(profile)
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": [f"*/{INDEX}"]})
        # Each page begins in the form in which the last one ended: a switch takes as long as a look.
        orders = itertools.cycle([FORMS, FORMS[::-1]])
        try:
            return [
                f"{name}: {problem}"
                for name, forms in zip(names, orders, strict=False)
                for found in (
                    problems_of_page(driver, (site / name).as_uri(), forms),
                    problems_of_logs(driver),
                )
                for problem in found
            ]
        finally:
            driver.quit()


def pasted() -> dict[str, str]:
    """The messages, with the sections that they have to find."""
    section, found = "", {}
    for line in MESSAGES.read_text("utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line and not line.startswith("#"):
            found[line] = section
    return found


def problems_of_search(driver: webdriver.Chrome) -> Iterator[str]:
    """Search for each message, as a reader pastes it."""
    wanted = pasted()
    # Pasted files must not stop the page.
    files = ["@a" * 50_000, "<" * 100_000, "a" * 100_000, "' a" * 30_000]
    escaped = [text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for text in wanted]
    driver.set_script_timeout(60)
    for (text, section), found in zip(
        wanted.items(), driver.execute_async_script(SEARCH, escaped + files)[: len(escaped)], strict=True
    ):
        if not any(each.endswith(section) for each in found[:BEST]):
            yield f"the search for {text!r} does not find {section}, but {found[:BEST]}"


def use(site: Path) -> list[str]:
    """Search, switch the color scheme, and move with the keyboard, as a reader does."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = browser(profile, requests=True)
        found = []
        try:
            show(driver, WIDE, "dark")
            driver.get((site / "index.html").as_uri())
            wait = WebDriverWait(driver, 20)
            body = driver.find_element(By.TAG_NAME, "body")
            before = body.get_attribute("data-md-color-scheme")
            label = next(
                each
                for each in driver.find_elements(By.CSS_SELECTOR, "[data-md-component=palette] label")
                if each.is_displayed()
            )
            label.click()
            if body.get_attribute("data-md-color-scheme") == before:
                found.append("the switch of the color scheme does nothing")
            body.send_keys(Keys.TAB)
            focused = driver.switch_to.active_element
            style = [focused.value_of_css_property(name) for name in ("outline-style", "box-shadow")]
            if style == ["none", "none"]:
                found.append("the focus is not visible")
            driver.find_element(By.CSS_SELECTOR, ".md-search__button").click()
            shadow = "return [...document.querySelectorAll('*')].find((each) => each.shadowRoot)?.shadowRoot"
            root = wait.until(lambda driver: driver.execute_script(shadow))
            wait.until(lambda _: root.find_elements(By.CSS_SELECTOR, "input"))
            driver.switch_to.active_element.send_keys("refresh token")
            results = wait.until(lambda _: root.find_elements(By.CSS_SELECTOR, "ol a, li a"))
            href = results[0].get_attribute("href") or ""
            found += problems_of_search(driver)
            driver.get(href)
            if driver.find_element(By.TAG_NAME, "h1").text == "":
                found.append(f"the search leads to {href}, a page without a heading")
            message, section = next(iter(pasted().items()))
            page, _, anchor = section.partition("#")
            driver.get(f"{(site / page).as_uri()}?h={quote(message)}#{anchor}")
            is_seen = "const mark = document.querySelector('dt mark')?.getBoundingClientRect();"
            is_seen += "return mark && mark.top > 0 && mark.bottom < innerHeight"
            try:
                wait.until(lambda driver: driver.execute_script(is_seen))
            except TimeoutException:
                found.append(f"{section} does not show the entry of {message!r}")
            found += problems_of_logs(driver, requests=True)
        finally:
            driver.quit()
        return [f"index.html: {problem}" for problem in found]


def main(site: Path) -> int:
    """Look at all pages, and print the problems."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        print("not looked at: no chromium with its driver on this machine")
        return 0
    site = site.resolve()
    names = sorted({path.relative_to(site).as_posix() for path in site.rglob("*.html")} - {"404.html"})
    with ThreadPoolExecutor() as pool:
        using = pool.submit(use, site)
        parts = [pool.submit(look, site, names[n::BROWSERS]) for n in range(BROWSERS)]
        found = [problem for part in [using, *parts] for problem in part.result()]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    print(f"{len(names)} pages looked at")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
