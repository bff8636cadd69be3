"""The documents are true: links resolve, names and ids exist, and programs that need a person or a signal run."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import documents
from helpers.browser import decide
from helpers.programs import Place, prepared

import ezeep_async


pytestmark = pytest.mark.may_block

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [README, *DOCS, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
# The form of a docstring in CONTRIBUTING.md is not a program.
SNIPPETS = [block.text for block in documents.all_blocks("python")]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with prepared(tmp_path) as here:
        yield here


def test_2_14_the_first_example_has_a_token_store() -> None:
    """2-14: the first example is asynchronous, has a token store, and is short."""
    assert len(SNIPPETS) >= 10
    assert "FileTokenStore(" in SNIPPETS[0]
    body = SNIPPETS[0].split("def main", 1)[1].split("\n\n\n")[0]
    assert len(body.splitlines()) <= 10


def test_the_readme_is_short() -> None:
    """Details are in docs/."""
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    """Files and headings that a document links to exist."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


def test_requirement_ids_exist() -> None:
    """Every id in the name of a test is in docs/requirements.md."""
    known = set(re.findall(r"^- \*\*(\d+-\d+)", (ROOT / "docs/requirements.md").read_text(), re.MULTILINE))
    assert len(known) > 100
    unknown = [
        (path.name, name)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for name in re.findall(r"def (test_\w+)", path.read_text())
        for found in re.findall(r"(?:test|[a-z])_([1-9]_\d{1,2})(?=_|$)", name)
        if found.replace("_", "-") not in known
    ]
    assert unknown == []


@pytest.mark.slow
def test_the_nightly_job_reports_after_sigterm(place: Place) -> None:
    """7-13: the change in flight is completed, the report of the changes that did not start is in its file."""
    (snippet,) = [text for text in SNIPPETS if "add_signal_handler" in text]
    people = [person.email for person in list(place.sandbox.organization.people.values())[:40]]
    (place.folder / "people.csv").write_text(
        "group,member\n" + "".join(f"Night shift,{email}\n" for email in people)
    )
    hold = place.sandbox.faults.hold("POST /printing/v1/groups/")
    with subprocess.Popen(
        [sys.executable, "-c", snippet],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        asyncio.run(asyncio.wait_for(hold.arrived(), 15))
        process.terminate()
        hold.release()
        out, _ = process.communicate(timeout=15)
    assert process.returncode == 1
    assert "1 created" in out
    assert "not started" in out
    assert "not_started" in (place.folder / "report.csv").read_text()


def test_2_10_network_file_systems_are_documented() -> None:
    """2-10: that their locks do not hold between hosts, and what to use instead."""
    (paragraph,) = re.findall(
        r"[^\n]*network file system \(.*?\n\n", (ROOT / "docs/how-to/sign-in.md").read_text(), re.DOTALL
    )
    assert "do not" in paragraph
    assert "RedisTokenStore" in paragraph


def test_errors_are_documented() -> None:
    """docs/reference/errors.md names every public error class."""
    text = (ROOT / "docs/reference/errors.md").read_text()
    classes = [getattr(ezeep_async, name) for name in ezeep_async.__all__]
    errors = [each for each in classes if isinstance(each, type) and issubclass(each, BaseException)]
    assert [each.__name__ for each in errors if f"`{each.__name__}`" not in text] == []


@pytest.mark.slow
def test_what_it_shows_of_itself(place: Place) -> None:
    """6-10, 8-4: the retry in the log, and in the counts."""
    (snippet,) = [text for text in SNIPPETS if "session.stats" in text]
    out = subprocess.check_output(
        [sys.executable, "-c", snippet], env=place.environment, text=True, timeout=15
    )
    *lines, stats = out.splitlines()
    assert "INFO:ezeep_async.http:" in lines[0]
    assert "503" in lines[0]
    assert stats.startswith("Stats(calls=1, failed=0, requests=2, retries=1, ")


@pytest.mark.slow
def test_the_login_snippet_runs(place: Place) -> None:
    """A browser approves, the address is pasted, the login is in the file."""
    (place.folder / "login.json").unlink()
    (snippet,) = [text for text in SNIPPETS if "input(" in text]
    with subprocess.Popen(
        [sys.executable, "-c", snippet],
        cwd=place.folder, env=place.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # shorter than one item a line  # fmt: skip
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        _, location = asyncio.run(decide(url))
        out, _ = process.communicate(location + "\n", timeout=15)
    assert process.returncode == 0
    assert "Welcome, " in out
    assert (place.folder / "login.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_tests_of_ones_own_run(tmp_path: Path) -> None:
    """With no plugin for asynchronous tests, and warnings as errors."""
    (snippet,) = [text for text in SNIPPETS if "pytest" in text]
    (tmp_path / "test_mine.py").write_text(snippet)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:aiohttp", "-p", "no:asyncio", "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # shorter than one item a line  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout


def test_the_two_commands_are_there() -> None:
    """One line each; .ci/run runs the second one as it stands."""
    for mark in ("demo", "tests"):
        assert len(documents.marked("README.md", mark).splitlines()) == 1


def test_the_map_of_the_package_is_complete() -> None:
    """docs/architecture.md names every folder and module of the package, and no other."""
    picture = documents.marked("docs/architecture.md", "map")
    folders: list[str] = []
    named: set[str] = set()
    for line in picture.splitlines()[1:]:
        indent, name = re.match(r"( *)(\S+)", line).groups()
        del folders[len(indent) // 2 - 1 :]
        if name.endswith("/"):
            folders.append(name)
        named.add("".join(folders) if name.endswith("/") else "".join(folders) + name)
    package = ROOT / "ezeep_async"
    modules = [path.relative_to(package) for path in package.rglob("*.py")]
    there = {str(path) for path in modules if path.name not in {"__init__.py", "__main__.py"}}
    there |= {f"{path.parent}/" for path in modules if str(path.parent) != "."}
    assert named == there
