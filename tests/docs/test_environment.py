"""docs/reference/environment.md names the variables that the package reads, in the section of their reader."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ezeep_async import Endpoints, EzeepSession, OAuthApp
from ezeep_async.cli.configuration import SETTINGS
from ezeep_async.cli.connection import REDIRECT_URI


pytestmark = pytest.mark.may_block

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/environment.md"
# Names that are made from other names, and the places that make them: `Endpoints.from_env`, `Configuration.in_environment`.
OF_ENDPOINTS = {"EZEEP_ACCOUNT_URL", "EZEEP_API_URL", "EZEEP_PRINT_URL"}
OF_THE_FILE = {f"EZEEP_{name.upper()}" for name in SETTINGS}
# Read by the standard library, aiohttp, platformdirs and rich.
OF_LIBRARIES = {
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "NO_COLOR"),
}
READ = re.compile(r"""(?:environ\.get\(|environ\[|getenv\(|variable\([\w.]+, )\s*f?"(?P<name>[A-Z_{}]+)\"""")


def _section(heading: str) -> set[str]:
    text = PAGE.read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return {
        name
        for row in re.findall(r"^\|([^|]+)\|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }


def _read_in(*folders: str) -> set[str]:
    """The names in quotes that are looked up, or that are listed as names of variables."""
    found: set[str] = set()
    for path in (path for folder in folders for path in sorted((ROOT / "ezeep_async").glob(folder))):
        text = path.read_text("utf-8")
        found.update(re.findall(r'"(EZEEP_[A-Z_]+)"', text))
        found.update(match["name"] for match in READ.finditer(text) if "{" not in match["name"])
    return found


def test_the_page_names_what_the_package_reads() -> None:
    """No more and no less, of the whole package."""
    sections = [
        _section(each)
        for each in ("The SDK and the command", "The command only", "Read by Python and the libraries")
    ]
    read = _read_in("**/*.py") | OF_ENDPOINTS | OF_THE_FILE | OF_LIBRARIES
    differ = f"docs/reference/{PAGE.name}: its tables (left) differ from what the package reads (right)"
    assert set.union(*sections) == read, differ
    assert sum(map(len, sections)) == len(set.union(*sections))


def test_the_first_section_is_what_a_session_reads() -> None:
    """What modules outside of the command read."""
    sdk = _read_in(
        "*.py", "auth/**/*.py", "resources/*.py", "testing/*.py", "sandbox/**/*.py", "provisioning/**/*.py"
    )
    differ = "the first table (left) differs from what modules outside of cli/ read (right)"
    assert _section("The SDK and the command") == sdk | OF_ENDPOINTS, f"docs/reference/{PAGE.name}: {differ}"


def test_its_defaults() -> None:
    """Those that are addresses and words."""
    rows = {
        name: default
        for name, _, default in re.findall(
            r"^\| `(\w+)` \| ([^|]+) \| ([^|]*) \|$", PAGE.read_text("utf-8"), re.MULTILINE
        )
    }
    assert rows["EZEEP_ACCOUNT_URL"].strip() == f"`{Endpoints().account}`"
    assert rows["EZEEP_API_URL"].strip() == f"`{Endpoints().api}`"
    assert rows["EZEEP_PRINT_URL"].strip() == f"`{Endpoints().print}`"
    assert rows["EZEEP_SCOPE"].strip() == f"`{OAuthApp('id').scope}`"
    assert f"`{REDIRECT_URI}`" in rows["EZEEP_REDIRECT_URI"]


def test_values_are_cleaned() -> None:
    """White space and quotes are ignored, a control character is an error with the name."""
    EzeepSession.from_env({"EZEEP_CLIENT_ID": ' "client" ', "EZEEP_API_URL": ""})
    with pytest.raises(ValueError, match="EZEEP_CLIENT_ID"):
        EzeepSession.from_env({"EZEEP_CLIENT_ID": "cli\x07ent"})
