"""What the README and the first pages say about the installation: the extras, the versions, the commands on each system."""

from __future__ import annotations

import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree as ET

import pytest
from helpers.documents import ROOT, marked

from ezeep_async import __version__
from ezeep_async.cli.demo import command


pytestmark = pytest.mark.may_block

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
PYTHONS = [each[1] for text in PROJECT["classifiers"] if (each := re.search(r":: Python :: (3\.\d+)$", text))]
WHEEL = f"ezeep_async-{__version__}-py3-none-any.whl"
INSTALL = ROOT / "docs/start/install.md"
SAME_ON_WINDOWS = "the commands for Windows (left) are not those for Linux (right, translated)"


def name_of(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement)[0]


def check_requirement(text: str) -> None:
    """A folder or a wheel of this version, with extras that exist."""
    what, extras = re.fullmatch(r"([^\[\]]+)(?:\[([a-z,]+)\])?", text).groups()
    assert what == "." or what.rsplit("/", 1)[-1] == WHEEL, f"{text}: the wheel of this version is {WHEEL}"
    assert not extras or set(extras.split(",")) <= set(EXTRAS), f"{text}: pyproject.toml has no such extra"


def as_on_windows(commands: str) -> str:
    return commands.replace("python3 -m venv", "py -3 -m venv").replace(
        ". .venv/bin/activate", r".venv\Scripts\Activate.ps1"
    )


def test_the_extras_are_those_of_the_package() -> None:
    """Their names, and what they install. All are in the table."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", INSTALL.read_text(), re.MULTILINE)
    assert {name: packages.split(", ") for name, packages in rows} == {
        name: [name_of(each) for each in packages] for name, packages in EXTRAS.items()
    }, "docs/start/install.md: the table of extras (left) and pyproject.toml (right) differ"
    (sentence,) = re.findall(r"The library itself needs (.*)\.", INSTALL.read_text())
    assert re.split(", | and ", sentence) == [name_of(each) for each in PROJECT["dependencies"]]


def test_the_commands_of_the_installation() -> None:
    """They install what there is, and are the same on Windows but for the environment."""
    posix = marked("docs/start/install.md", "venv")
    on_windows = marked("docs/start/install.md", "venv-on-windows")
    assert on_windows == as_on_windows(posix), f"{INSTALL.name}: {SAME_ON_WINDOWS}"
    from_wheel = marked("docs/start/install.md", "from-the-wheel")
    wheel_on_windows = marked("docs/start/install.md", "from-the-wheel-on-windows")
    assert wheel_on_windows == as_on_windows(from_wheel), f"{INSTALL.name}: {SAME_ON_WINDOWS}"
    commands = [
        *posix.splitlines(),
        *from_wheel.splitlines(),
        *marked("docs/start/install.md", "uv").splitlines(),
        *marked("docs/start/install.md", "wheel").splitlines(),
        *marked("docs/start/install.md", "check").splitlines(),
    ]
    for words in map(shlex.split, commands):
        match words:
            case ["python", "-m", "pip", "install", what] | ["uv", "pip", "install", what]:
                check_requirement(what)
            case ["python", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", "dist", "."]:
                pass
            case ["python3", "-m", "venv", ".venv"] | [".", ".venv/bin/activate"] | ["uv", "venv"]:
                pass
            case ["python", "-m", "pip", "check"]:
                pass
            case [*runner, "ezeep", "--version" | "demo"]:
                assert runner in ([], ["uv", "run", "--no-project"])
            case _:
                raise AssertionError(f"{words}: add this command to the test, with what it needs")
    for line in re.findall(r"^ *(?:pipx|uv tool|uv pip) install (.*)$", INSTALL.read_text(), re.MULTILINE):
        (what,) = shlex.split(line)
        check_requirement(what)


def test_the_dockerfile() -> None:
    """It is on a supported Python, installs the wheel that it copies, and runs a command that exists."""
    lines = marked("docs/start/install.md", "dockerfile").splitlines()
    assert lines[0].removeprefix("FROM python:").removesuffix("-slim") in PYTHONS
    assert lines[1] == f"COPY dist/{WHEEL} /tmp/", "docs/start/install.md: the wheel of another version"
    *_, what = shlex.split(lines[2])
    assert what.startswith("/tmp/")
    check_requirement(what)
    assert {line.split()[0] for line in lines} <= {"FROM", "COPY", "RUN", "USER", "ENV", "VOLUME", "CMD"}
    assert lines[-1] == 'CMD ["ezeep", "whoami"]'
    (volume,) = [line.split()[1] for line in lines if line.startswith("VOLUME ")]
    assert f"ENV HOME={volume} EZEEP_TOKEN_FILE={volume}/login.json" in lines
    assert lines.index("USER ezeep") > max(n for n, line in enumerate(lines) if line.startswith("RUN "))


def test_the_versions_and_the_state() -> None:
    """The home page and the page on the installation say what pyproject.toml says."""
    home = (ROOT / "docs/index.md").read_text()
    (state, version) = re.search(r"\*\*Status:\*\* (\w+), version ([\d.]+)", home).groups()
    assert version == __version__, "docs/index.md: the version (left) is not that of the package"
    assert f"Development Status :: 4 - {state.capitalize()}" in PROJECT["classifiers"]
    assert f"**Licence:** {PROJECT['license']}." in home
    named = f"{', '.join(PYTHONS[:-1])} and {PYTHONS[-1]}"
    assert f"**Python:** {named}." in home, "docs/index.md: not the Pythons of pyproject.toml"
    assert f"Python {named} are supported" in " ".join(INSTALL.read_text().split())
    assert f"Python\n{PYTHONS[0]} or later" in INSTALL.read_text()
    assert f"Python {PYTHONS[0]} or later" in (ROOT / "README.md").read_text()
    is_released = "(unreleased)" not in (ROOT / "CHANGELOG.md").read_text().split(f"## {__version__}")[1][:20]
    for page in ("README.md", "docs/index.md", "docs/start/install.md"):
        assert ("not published yet" in (ROOT / page).read_text()) is not is_released, page


def test_the_badges_are_true() -> None:
    """Each shows what pyproject.toml says, to readers and to screen readers, and comes from no network."""
    texts = {
        "python": f"Python: {' | '.join(PYTHONS)}",
        "licence": f"licence: {PROJECT['license']}",
        "typing": "types: PEP 561, strict",
        "status": "status: beta",
    }
    for name, text in texts.items():
        source = (ROOT / f"docs/assets/badges/{name}.svg").read_text()
        root = ET.fromstring(source)
        space = "{http://www.w3.org/2000/svg}"
        outdated = f"docs/assets/badges/{name}.svg: write {text!r} in its label, its title and its texts"
        assert root.get("aria-label") == root.findtext(f"{space}title") == text, outdated
        assert ": ".join(each.text for each in root.iter(f"{space}text")) == text, outdated
        assert "http" not in source.replace('xmlns="http://www.w3.org/2000/svg"', "")
        shown = text.replace(" | ", ", ")
        shown = f"![{shown}](docs/assets/badges/{name}.svg)"
        assert shown in (ROOT / "README.md").read_text(), f"README.md lacks {shown}"
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert PYPROJECT["tool"]["mypy"]["strict"]
    assert PYPROJECT["tool"]["pyright"]["typeCheckingMode"] == "strict"
    assert "Development Status :: 4 - Beta" in PROJECT["classifiers"]


def test_the_demo_is_one_command_everywhere() -> None:
    """The README's own, with the quotes that Windows needs too."""
    (command,) = re.findall(r"<!-- demo -->\n```sh\n(.*)\n```", (ROOT / "README.md").read_text())
    expected = command.replace("'", '"') + "\n"
    assert marked("docs/index.md", "demo") == expected, "docs/index.md: not the command of the README"
    from_wheel = marked("docs/index.md", "demo-from-the-wheel")
    assert from_wheel == expected.replace('".[cli]"', f'"PATH/{WHEEL}[cli]"')
    assert f'"PATH/{WHEEL}[cli]"' in (ROOT / "README.md").read_text()
    first = marked("docs/start/first-result.md", "demo")
    assert first == expected, "docs/start/first-result.md: not the command of the README"
    on_windows = (
        expected.replace("python3", "py -3").replace(" && ", "\n").replace(".venv/bin/", ".venv\\Scripts\\")
    )
    assert marked("docs/start/first-result.md", "demo-on-windows") == on_windows, SAME_ON_WINDOWS


def test_the_commands_for_the_real_service_are_the_same_on_windows() -> None:
    """Only the assignments of the variables differ."""
    posix = marked("docs/start/first-result.md", "real")
    on_windows = re.sub(r"(?m)^export (\w+)=(\S+)$", r"$env:\1 = '\2'", posix)
    assert marked("docs/start/first-result.md", "real-on-windows") == on_windows, SAME_ON_WINDOWS
    assert posix.splitlines()[-2:] == ["ezeep login", "python first.py"]
    assert shlex.split(marked("docs/start/first-result.md", "sandbox")) == [
        "ezeep",
        "sandbox",
        "--token-file",
        "login.json",
    ]


@pytest.mark.slow
def test_the_output_of_the_demo(tmp_path: Path) -> None:
    """At a terminal, but for numbers that change, and for how often the status of the job was read."""
    typed_along = pytest.importorskip(
        "helpers.typed_along", reason="needs pseudo-terminals", exc_type=ImportError
    )
    with mock.patch.multiple(command, LATENCY_S=0.0, JOB_S=0.3):
        code, shown = typed_along.typed("ezeep demo", tmp_path, {})
    assert code == 0
    changing = r"(?<=127\.0\.0\.1:)\d+|(?<=requests sent) +\d+|no status yet|being processed, page \d of \d"
    texts = [
        re.sub(changing, "", text) for text in (shown, marked("docs/start/first-result.md", "demo-output"))
    ]
    typed_along.check(*texts, "docs/start/first-result.md")


def test_the_lists_of_pages_are_those_of_the_navigation() -> None:
    """The list of how-to pages, in its groups, and the pages of the tutorial."""
    navigation = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    groups = re.split(
        r"^      - (?=[^\n]*:\n)",
        navigation.split("- How-to:\n")[1].split("  - Reference:\n")[0],
        flags=re.MULTILINE,
    )
    expected = {
        group.split(":\n")[0]: re.findall(r"- ([^\n]+): how-to/(\S+)$", group, re.MULTILINE)
        for group in groups[1:]
    }
    parts = re.split(r"^## ", (ROOT / "docs/how-to/index.md").read_text(), flags=re.MULTILINE)[1:]
    listed = {
        part.split("\n")[0]: re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\) \|", part, re.MULTILINE)
        for part in parts
    }
    assert listed == expected, "docs/how-to/index.md (left) differs from nav in mkdocs.yml (right)"
    assert sum(map(len, listed.values())) > 20
    tutorial = re.findall(r"- (\d\. [^\n]+): tutorial/(\S+)$", navigation, re.MULTILINE)
    index = (ROOT / "docs/tutorial/index.md").read_text()
    pages = re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\) \|", index, re.MULTILINE)
    assert pages == tutorial, "docs/tutorial/index.md (left) differs from nav in mkdocs.yml (right)"
    for (_, page), (title, following) in pairwise(tutorial):
        last = (ROOT / "docs/tutorial" / page).read_text().splitlines()[-1]
        assert last == f"Next: [{title[3:]}]({following}).", f"docs/tutorial/{page}: its last line"
