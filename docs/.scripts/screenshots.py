"""The screenshots of the documents, of real output against a sandbox. `nox -s screenshots` takes them again.

`docs/assets/plan-terminal.svg`  a plan as `ezeep provision plan` shows it at a terminal
`docs/assets/plan-page.png`      the same plan as `--html` writes it, in Chromium
`docs/assets/sandbox-page.png`   the page of a sandbox, in Chromium
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text
from selenium import webdriver
from selenium.webdriver.common.by import By

from ezeep_async import EzeepSession, FileTokenStore, run_sync
from ezeep_async.sandbox import Sandbox
from ezeep_async.testing import ThreadedSandbox


ASSETS = Path(__file__).parents[1] / "assets"
COLUMNS = 46
"""Few, so that the letters can be read on a phone."""
COLORS = 64
THEME = TerminalTheme(
    (24, 26, 32),
    (226, 228, 233),
    [
        (24, 26, 32),
        (255, 140, 130),
        (135, 217, 150),
        (240, 204, 110),
        *[(150, 190, 245)] * 3,
        (226, 228, 233),
    ],
)
# The form of rich without its web fonts: the page makes no request for them.
FORM = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title" xmlns="http://www.w3.org/2000/svg">
<title id="title">A plan in the terminal</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def desired(sandbox: Sandbox, login: Path) -> str:
    """Log in, print a document, and return a CSV that changes a group and adds one."""
    store = FileTokenStore(login)
    with run_sync(
        EzeepSession(sandbox.oauth_app, store, tokens=sandbox.tokens(), endpoints=sandbox.endpoints)
    ) as session:
        people = session.people.list().collect()
        groups = session.groups.list().collect()
        printer = session.printers.find("Front desk laser")
        session.printing.print_file(b"Hello", printer, name="hello.txt").wait()
    support, sales = (next(group for group in groups if group.name == name) for name in ("Support", "Sales"))
    in_support = sorted(each.email for each in people if support.id in each.group_ids)
    in_sales = sorted(each.email for each in people if sales.id in each.group_ids)
    rows = [("Support", email) for email in [*in_support[:-2], in_sales[0]]]
    rows += [("Night shift", email) for email in [*in_support[:2], in_sales[1]]]
    return "".join(f"{group},{email}\n" for group, email in [("group", "member"), *rows])


def at_a_terminal(*command: str, env: dict[str, str]) -> str:
    """What a command writes to a terminal, with its colours."""
    master, slave = os.openpty()
    with subprocess.Popen(command, env=env, stdin=slave, stdout=slave, stderr=slave):
        os.close(slave)
        output = b""
        try:
            while part := os.read(master, 65536):
                output += part
        except OSError:  # the command has ended
            os.close(master)
    return re.sub(r"\x1b\[\?[0-9]+[hl]", "", output.decode()).replace("\r\n", "\n").strip()


def terminal_picture(typed: str, output: str) -> str:
    """The output as SVG, after the command that a person typed."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text(f"$ {typed}", style="bold"))
    console.print(Text.from_ansi(output))
    return console.export_svg(title="ezeep", theme=THEME, code_format=FORM, unique_id="plan")


def plan(sandbox: Sandbox, folder: Path) -> str:
    """The picture of a plan in the terminal. Its page is in `plan.html`, in the folder."""
    people, login = folder / "people.csv", folder / "login.json"
    people.write_text(desired(sandbox, login))
    env = {
        **{name: value for name, value in os.environ.items() if name != "NO_COLOR"},
        "TERM": "xterm-256color",
        "COLUMNS": str(COLUMNS),
        "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
        "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
        "EZEEP_API_URL": sandbox.endpoints.api,
        "EZEEP_TOKEN_FILE": str(login),
    }
    command = [sys.executable, "-m", "ezeep_async", "provision", "plan", str(people), "--mode", "exact"]
    output = at_a_terminal(*command, "--html", str(folder / "plan.html"), env=env)
    return terminal_picture("ezeep provision plan people.csv --mode exact", output)


def page_picture(browser: webdriver.Chrome, address: str, path: Path, width: int, height: int) -> None:
    """A page in few colours, which makes the file small."""
    from PIL import Image

    sizes = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
    browser.get(address)
    browser.find_element(By.TAG_NAME, "h1")
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    picture.quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Take all of them."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    with tempfile.TemporaryDirectory() as folder, ThreadedSandbox(page=True) as sandbox:
        (ASSETS / "plan-terminal.svg").write_text(plan(sandbox, Path(folder)))
        with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
            page_picture(browser, Path(folder, "plan.html").as_uri(), ASSETS / "plan-page.png", 720, 860)
            page_picture(browser, sandbox.endpoints.account, ASSETS / "sandbox-page.png", 720, 900)


if __name__ == "__main__":
    main()
