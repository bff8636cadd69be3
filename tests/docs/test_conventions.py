"""The code blocks of all pages have forms that a test can run. `pytest tests/docs -k conventions` shows those that do not."""

from __future__ import annotations

import configparser
import csv
import io
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from helpers import documents
from helpers.documents import ROOT, Block
from helpers.shell_lines import arguments_of, commands_of, understand

from ezeep_async.cli.configuration import SETTINGS, Configuration


pytestmark = pytest.mark.may_block

MARK = "a mark, `<!-- test: NAME -->`, and a test that runs or reads it"
RUN = "run"
"""The mark of scripts that tests/docs/test_programs.py runs."""
INSTALLERS = re.compile(
    r"(?:\S*/)?(?:pip3?|pipx|uv|uvx|cd|export)\b|(?:\S*/)?python3? -m (?:venv|pip)\b|(?:source|\.) \S*/activate\b"
)
SPECIAL_SECTIONS = {"Unit", "Service", "Timer", "Install"}
"""Of systemd."""


def examples() -> list[list[str]]:
    return [path.read_text("utf-8").splitlines() for path in sorted((ROOT / "examples").rglob("*.py"))]


def is_excerpt(block: list[str], source: list[str]) -> bool:
    """Whether the lines are in the source one after another, all of them indented by the same spaces."""
    for start in range(len(source) - len(block) + 1):
        if source[start].lstrip(" ") != block[0]:
            continue
        indent = source[start].removesuffix(block[0])
        if all(source[start + n] == (indent + line if line else "") for n, line in enumerate(block)):
            return True
    return False


def problems_of_python(block: Block) -> Iterator[str]:
    try:
        compile(block.text, block.where, "exec", dont_inherit=True)
    except SyntaxError as error:
        yield f"no program: {error}"
    if len(block.text.splitlines()) > 60:
        yield "too long: it belongs into examples/"


def problems_of_excerpt(block: Block) -> Iterator[str]:
    lines = block.text.strip("\n").splitlines()
    if not any(is_excerpt(lines, source) for source in examples()):
        yield "not word for word in a file of examples/, and without a mark"


def problems_of_shell(block: Block) -> Iterator[str]:
    for command in commands_of(block.text):
        arguments = arguments_of(command)
        line = " ".join(command)
        if arguments is not None:
            try:
                understand(arguments)
            except Exception as error:
                yield f"`{line}` is not understood: {error}"
        elif not INSTALLERS.match(line):
            yield f"`{line}` needs {MARK}"


def problems_of_toml(block: Block, folder: Path) -> list[str]:
    values = tomllib.loads(block.text)
    if not values.keys() & (SETTINGS | {"profiles"}):
        return []
    path = folder / "config.toml"
    path.write_text(block.text, "utf-8")
    configuration = Configuration({"EZEEP_CONFIG": str(path)})
    for name in configuration.profiles:
        Configuration({"EZEEP_CONFIG": str(path)}, profile=name)
    return []


def problems_of_ini(block: Block) -> Iterator[str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string(block.text)
    if SPECIAL_SECTIONS & set(parser.sections()):
        yield "a unit of systemd needs a mark"


def problems_of_yaml(block: Block) -> Iterator[str]:
    for document in yaml.safe_load_all(block.text):
        if isinstance(document, dict) and document.keys() & {"apiVersion", "services", "jobs", "on", True}:
            yield "a manifest for another program needs a mark"


def problems_of_csv(block: Block) -> Iterator[str]:
    rows = [*csv.reader(io.StringIO(block.text), strict=True)]
    if len({len(row) for row in rows}) != 1:
        yield "rows of different lengths"


def problems_of_text(block: Block) -> Iterator[str]:
    if re.search(r"^ *(?:\$|>>>|PS>) ", block.text, re.MULTILINE):
        yield "commands with a prompt: text is for output"


def problems_of_json(block: Block) -> Iterator[str]:
    json.loads(block.text)
    yield from ()


CHECKS: dict[str, Callable[[Block], Iterator[str]]] = {
    "csv": problems_of_csv,
    "ini": problems_of_ini,
    "json": problems_of_json,
    "py": problems_of_excerpt,
    "python": problems_of_python,
    "sh": problems_of_shell,
    "text": problems_of_text,
    "yaml": problems_of_yaml,
}
OTHERS = {"crontab", "diff", "dockerfile", "html", "http", "nginx", "powershell", "sql", "xml"}
"""Languages whose blocks need a mark."""


def problems(block: Block, folder: Path) -> list[str]:
    if block.is_included:
        names = re.findall(r'"([^"\n]+?)(?::[^"\n]*)?"', block.text)
        return [f"{name} is no file" for name in names if not (ROOT / name).is_file()]
    if block.mark == RUN:
        return [] if block.language == "sh" else ["only ```sh has the mark `run`"]
    if block.mark:
        return []
    if block.language in OTHERS:
        return [f"{block.language} needs {MARK}"]
    if block.language not in {*CHECKS, "toml"}:
        return [f"unknown language {block.language!r}"]
    try:
        return (
            problems_of_toml(block, folder) if block.language == "toml" else [*CHECKS[block.language](block)]
        )
    except Exception as error:
        return [f"invalid {block.language}: {error}"]


def sources_that_name(page: str) -> list[str]:
    """The sources of the tests that have the path of the page as a literal."""
    texts = (path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    return [text for text in texts if f'"{page}"' in text]


@pytest.mark.timeout(60)  # the page of commands has a hundred command lines
@pytest.mark.parametrize("page", documents.pages())
def test_conventions_of_a_page(page: str, tmp_path: Path) -> None:
    found = [
        f"{page}:{line}: a fence that is not closed, or of tildes"
        for line in documents.lines_without_fence(page)
    ]
    found += [
        f"{page}:{line}: this comment marks no block: write `<!-- test: NAME -->` in the line above the fence"
        for line in documents.lines_with_a_wrong_mark(page)
    ]
    blocks = documents.blocks(page)
    for block in blocks:
        found += [f"{block.where} (block {block.number}): {problem}" for problem in problems(block, tmp_path)]
    marks = sorted({block.mark for block in blocks} - {"", RUN})
    sources = sources_that_name(page) if marks else []
    for mark in marks:
        if not any(f'"{mark}"' in source for source in sources):
            found.append(f'{page}: no test runs this block: one calls documents.marked("{page}", "{mark}")')
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def block_of(language: str, text: str, mark: str = "") -> Block:
    return Block("docs/page.md", 1, 7, language, mark, text)


@pytest.mark.parametrize(
    ("language", "text", "problem"),
    [
        ("python", "print(1\n", "no program"),
        ("py", "x = 1\n", "not word for word"),
        ("sh", "ezeep groups list --jsn\n", "--jsn"),
        ("sh", "ezeep groups list | ezeep groups lst\n", "lst"),
        ("sh", "sudo reboot\n", "`sudo reboot` needs a mark"),
        ("sh", "ezeep print 'a\n", "no end"),
        ("toml", 'client = "x"\n[profiles.a]\n', "not known: client"),
        ("toml", 'client_id = "x\n', "invalid toml"),
        ("json", '{"a": 1,}\n', "invalid json"),
        ("csv", "a,b\n1\n", "different lengths"),
        ("ini", "[Unit]\nWants=x\n", "systemd"),
        ("ini", "Wants\n", "invalid ini"),
        ("yaml", "a: [1\n", "invalid yaml"),
        ("yaml", "apiVersion: 1\n", "needs a mark"),
        ("text", "$ ezeep demo\n", "prompt"),
        ("dockerfile", "FROM x\n", "needs a mark"),
        ("bash", "ezeep demo\n", "unknown language 'bash'"),
        ("", "x\n", "unknown language ''"),
        ("python", '--8<-- "examples/absent.py"\n', "no file"),
    ],
)  # shorter than one item a line  # fmt: skip
def test_what_the_conventions_refuse(language: str, text: str, problem: str, tmp_path: Path) -> None:
    assert problem in "; ".join(problems(block_of(language, text), tmp_path))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "print(1)\n"),
        ("py", "if created:\n    print(1)\n"),
        ("sh", "EZEEP_PROFILE=x ezeep groups list --json >groups.json 2>&1  # all of them\n"),
        ("sh", "export A=b && pip install 'ezeep_async[cli]' && .venv/bin/ezeep --version\n"),
        ("sh", "ezeep provision apply people.csv \\\n    --mode exact\n"),
        ("toml", 'client_id = "x"\n[profiles.a]\n'),
        ("toml", '[project]\nname = "x"\n'),
        ("json", '{"a": 1}\n'),
        ("csv", "group,member\na,b\n"),
        ("text", "Welcome\n"),
        ("python", '--8<-- "examples/fastapi_app/main.py"\n'),
    ],
)  # shorter than one item a line  # fmt: skip
def test_what_the_conventions_accept(
    language: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        globals(), "examples", lambda: [["def f():", "    if created:", "        print(1)", ""]]
    )
    assert problems(block_of(language, text), tmp_path) == []


@pytest.mark.parametrize(
    ("text", "blocks", "wrong"),
    [
        ("```py\nx\n```\n", [("py", "", "x\n")], []),
        ("<!-- test: one-two -->\n```sh\nx\n```\n", [("sh", "one-two", "x\n")], []),
        ("1. a\n\n    <!-- test: one -->\n    ```sh\n    x\n\n    y\n    ```\n", [("sh", "one", "x\n\ny\n")], []),
        ('```json title="a.json"\n{}\n```\n', [("json", "", "{}\n")], []),
        ("```\nx\n```\n", [("", "", "x\n")], []),
        ("~~~py\nx\n~~~\n", [], [1, 3]),
        ("a\n```py\nx\n", [], [2]),
    ],
)  # shorter than one item a line  # fmt: skip
def test_blocks_are_found(
    text: str, blocks: list[object], wrong: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(text)
    assert [(each.language, each.mark, each.text) for each in documents.blocks("page.md")] == blocks
    assert documents.lines_without_fence("page.md") == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("<!-- test: one -->\n```sh\nx\n```\n", []),
        ("<!-- a remark -->\n\nText.\n", []),
        ("<!-- tests: one -->\n```sh\nx\n```\n", [1]),
        ("<!-- test:one -->\n```sh\nx\n```\n", [1]),
        ("<!-- pytest -->\n\n```python\nx\n```\n", [1]),
        ("<!-- test: one -->\n\nText.\n\n```sh\nx\n```\n", [1]),
    ],
)
def test_wrong_marks_are_found(
    text: str, wrong: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(text)
    assert documents.lines_with_a_wrong_mark("page.md") == wrong
