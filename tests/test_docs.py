"""The documents are true: every Python example runs in its own process, links resolve, names and ids exist."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import documents
from helpers.support import put, sandbox_in_a_thread

import ezeep_async
from ezeep_async import FileTokenStore
from ezeep_async.sandbox import SANDBOX_ADMIN


pytestmark = pytest.mark.may_block

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [README, *DOCS, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
# The form of a docstring in CONTRIBUTING.md is not a program.
SNIPPETS = [
    block.text
    for page in documents.pages()
    for block in documents.blocks(page)
    if block.language == "python" and not block.mark
]


@pytest.fixture
def server():
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


@pytest.fixture
def environment(server, tmp_path: Path) -> dict[str, str]:
    asyncio.run(put(FileTokenStore(tmp_path / "login.json"), server.tokens()))
    return {
        **os.environ,
        "EZEEP_CLIENT_ID": server.oauth_app.client_id,
        "EZEEP_REDIRECT_URI": server.oauth_app.redirect_uri,
        "EZEEP_ACCOUNT_URL": server.endpoints.account,
        "EZEEP_API_URL": server.endpoints.api,
        "EZEEP_PRINT_URL": server.endpoints.print,
        "EZEEP_TOKEN_FILE": str(tmp_path / "login.json"),
    }


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
            slugs |= {re.sub("-+", "-", slug) for slug in slugs}  # as the site has them
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
@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs(number: int, environment: dict[str, str], tmp_path: Path) -> None:
    """With warnings as errors, in a folder with a token file, a CSV file and a document."""
    (tmp_path / "invoice.pdf").write_bytes(b"%PDF-1.4 a page")
    (tmp_path / "people.csv").write_text(f"group,member\nNight shift,{SANDBOX_ADMIN}\n")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SNIPPETS[number]],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=15, check=False,
    )  # shorter than one item a line  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_2_10_network_file_systems_are_documented() -> None:
    """2-10: that their locks do not hold between hosts, and what to use instead."""
    (paragraph,) = re.findall(
        r"[^\n]*network file system \(.*?\n\n", (ROOT / "docs/how-to/token-stores.md").read_text(), re.DOTALL
    )
    assert "do not" in paragraph
    assert "RedisTokenStore" in paragraph


def test_errors_are_documented() -> None:
    """docs/reference/errors.md names every public error class."""
    text = (ROOT / "docs/reference/errors.md").read_text()
    classes = [getattr(ezeep_async, name) for name in ezeep_async.__all__]
    errors = [each for each in classes if isinstance(each, type) and issubclass(each, BaseException)]
    assert [each.__name__ for each in errors if f"`{each.__name__}`" not in text] == []


def test_the_two_commands_are_there() -> None:
    """One line each; .ci/run runs the second one as it stands."""
    for marker in ("demo", "tests"):
        block = re.search(rf"<!-- {marker} -->\n```sh\n(.*?)\n```", README.read_text(), re.DOTALL)
        assert block is not None
        assert len(block[1].splitlines()) == 1


def test_the_map_of_the_package_is_complete() -> None:
    """docs/architecture.md names every folder and module of the package, and no other."""
    (picture,) = re.findall(
        r"<!-- map -->\n```text\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL
    )
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
