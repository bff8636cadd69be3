"""The documents are true: links resolve, names and ids exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import documents


pytestmark = pytest.mark.may_block

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [README, *DOCS, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
# The form of a docstring in CONTRIBUTING.md is not a program.
SNIPPETS = [block.text for block in documents.all_blocks("python")]


def test_2_14_the_first_example_has_a_token_store() -> None:
    """2-14: the first example is asynchronous, has a token store, and is short."""
    assert len(SNIPPETS) >= 10
    assert "FileTokenStore(" in SNIPPETS[0]
    body = SNIPPETS[0].split("def main", 1)[1].split("\n\n\n")[0]
    assert len(body.splitlines()) <= 10


def test_the_readme_is_short() -> None:
    """Details are in docs/."""
    lines = len(README.read_text().splitlines())
    assert lines <= 150, f"README.md has {lines} lines, and may have 150: move details to docs/"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    """Files and headings that a document links to exist."""
    dead = []
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        if not linked.exists():
            dead.append(f"the link to {target}: there is no such file")
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
            slugs |= {re.sub("-+", "-", slug) for slug in slugs}  # as the site has them
            if anchor not in slugs:
                dead.append(f"the link to {target}: no heading of the page makes #{anchor}")
    if dead:
        pytest.fail("\n".join(f"{path.relative_to(ROOT)}: {each}" for each in dead), pytrace=False)


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
    assert unknown == [], (
        "these ids are not in docs/requirements.md: correct the name, or add the requirement"
    )


def test_2_10_network_file_systems_are_documented() -> None:
    """2-10: that their locks do not hold between hosts, and what to use instead."""
    (paragraph,) = re.findall(
        r"[^\n]*network file system \(.*?\n\n", (ROOT / "docs/how-to/token-stores.md").read_text(), re.DOTALL
    )
    assert "do not" in paragraph
    assert "RedisTokenStore" in paragraph


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
    assert (there - named, named - there) == (set(), set()), (
        "docs/architecture.md: the map lacks the first ones, and names the second ones, which do not exist"
    )
