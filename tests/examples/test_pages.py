"""The pages of the examples show their code, and the commands that start them; docs/reference/examples.md has all of their files."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from helpers import documents


ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SOURCES = "docs/reference/examples.md"
# The pages, with the folders whose code they show.
PAGES = {
    "docs/how-to/fastapi.md": ["fastapi_app"],
    "docs/how-to/django.md": ["django_app"],
    "docs/how-to/django-print.md": ["django_app"],
    "docs/how-to/django-run.md": ["django_app"],
    "docs/how-to/django-users.md": ["django_app"],
    "docs/how-to/flask.md": ["flask_app"],
    "docs/how-to/aiohttp-web.md": ["aiohttp_app"],
    "docs/how-to/notebooks.md": ["notebooks", "streamlit_app"],
    "docs/how-to/celery.md": ["celery_app", "celery_tenants"],
    "docs/how-to/frameworks.md": ["fastapi_app"],
    "docs/how-to/print-from-a-web-app.md": ["aiohttp_app", "flask_app"],
}


def files(folder: str) -> list[Path]:
    """The files of an example. Empty ones make a folder a package."""
    found = (path for path in (EXAMPLES / folder).rglob("*") if path.is_file() and path.stat().st_size)
    return sorted(path for path in found if not {"__pycache__", ".pytest_cache"} & set(path.parts))


def included(page: str) -> list[str]:
    """The files that the blocks with the mark `source` include."""
    texts = [block.text for block in documents.blocks(page) if block.mark == "source"]
    return [re.fullmatch(r'--8<-- "(.+)"\n', text)[1] for text in texts]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_is_that_of_its_examples(page: str) -> None:
    """Each excerpt stands in a file of the folder, also one from the middle of a class."""
    sources = [path.read_text("utf-8") for folder in PAGES[page] for path in files(folder)]
    shown = [block.text for block in documents.blocks(page) if (block.language, block.mark) == ("py", "")]
    for text in shown:
        lines = text.splitlines()
        indented = [
            "\n" + "".join(f"{' ' * depth}{line}\n" if line else "\n" for line in lines)
            for depth in (0, 4, 8)
        ]
        assert any(form in source for form in indented for source in sources), text
    assert shown


@pytest.mark.parametrize("page", [*PAGES, SOURCES])
def test_included_files_exist_and_are_named(page: str) -> None:
    """The title of a collapsed block is the file's path below the folder of the example."""
    text = (ROOT / page).read_text("utf-8")
    titled = re.findall(
        r'^\?\?\? example "(.+)"\n\n(?: +<!-- fmt: off -->\n\n)? +<!-- test: source -->\n+ +```\w+\n +--8<-- "(.+)"',
        text,
        re.MULTILINE,
    )
    assert [path for _, path in titled] == included(page)
    for title, path in titled:
        assert (ROOT / path).is_file(), path
        assert path.split("/", 2)[2] == title


def test_a_page_shows_every_file_that_its_reader_creates() -> None:
    """The notebook of Jupyter is shown cell by cell."""
    for page, folder in (
        ("docs/how-to/fastapi.md", "fastapi_app"),
        ("docs/how-to/django.md", "django_app"),
        ("docs/how-to/flask.md", "flask_app"),
        ("docs/how-to/aiohttp-web.md", "aiohttp_app"),
        ("docs/how-to/celery.md", "celery_app"),
    ):
        shown = set(included(page))
        if page == "docs/how-to/django.md":  # the second one has the files for a site with users of its own
            shown |= set(included("docs/how-to/django-users.md"))
        missing = {str(path.relative_to(ROOT)) for path in files(folder)} - shown
        assert missing == set(), page


def test_all_examples_are_on_the_site() -> None:
    """docs/reference/examples.md: a heading for each folder, a block for each file."""
    headings = re.findall(r"^## (\w+)$", (ROOT / SOURCES).read_text("utf-8"), re.MULTILINE)
    folders = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    assert sorted(headings) == folders
    there = {str(path.relative_to(ROOT)) for folder in folders for path in files(folder)}
    assert sorted(included(SOURCES)) == sorted(there - {"examples/notebooks/ezeep.ipynb"})


def test_the_cells_of_the_notebook() -> None:
    """docs/how-to/notebooks.md shows them in order."""
    notebook = json.loads((EXAMPLES / "notebooks" / "ezeep.ipynb").read_text("utf-8"))
    cells = ["".join(cell["source"]) + "\n" for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names = ["cell-session", "cell-await", "cell-blocking", "cell-write", "cell-print", "cell-close"]
    assert [documents.marked("docs/how-to/notebooks.md", name) for name in names] == cells


def test_what_is_installed_is_what_the_example_needs() -> None:
    """The packages of the block are those of the example, and the extra `cli` for the sandbox; all of them exist."""
    for page, example in (
        ("docs/how-to/fastapi.md", "fastapi_app/main.py"),
        ("docs/how-to/django.md", "django_app/manage.py"),
        ("docs/how-to/flask.md", "flask_app/app.py"),
        ("docs/how-to/aiohttp-web.md", "aiohttp_app/app.py"),
        ("docs/how-to/celery.md", "celery_app/printing.py"),
    ):
        shown = _installed(documents.marked(page, "install"))
        needed = _installed((EXAMPLES / example).read_text("utf-8"))
        assert shown - {"cli"} == needed - {"cli"}, page
        assert "cli" in shown
        for package in shown - {"cli", "redis", "sql", "web"}:
            assert importlib.metadata.version(package)


def _installed(text: str) -> set[str]:
    """The packages and extras of the first `pip install` in a text."""
    line = re.search(r"^pip install (.+)$", text, re.MULTILINE)[1].partition("#")[0]
    first, *packages = shlex.split(line)
    source, _, extras = first.removesuffix("]").partition("[")
    assert source in {"ezeep_async", "PATH_TO_THE_COPY"}
    return {*extras.split(","), *packages}


def test_the_tests_of_an_example_are_started_as_it_says() -> None:
    for page, test in (
        ("docs/how-to/fastapi.md", "fastapi_app/test_main.py"),
        ("docs/how-to/django.md", "django_app/test_printing.py"),
        ("docs/how-to/flask.md", "flask_app/test_app.py"),
        ("docs/how-to/aiohttp-web.md", "aiohttp_app/test_app.py"),
    ):
        assert documents.marked(page, "pytest") in (EXAMPLES / test).read_text("utf-8")


@pytest.mark.slow
def test_the_keys_of_the_pages() -> None:
    """One shell for the `export` lines of all pages."""
    for page in ("docs/how-to/fastapi.md", "docs/how-to/django.md", "docs/how-to/flask.md"):
        lines = documents.marked(page, "start").splitlines()
        exports = "\n".join(
            line.replace("python", sys.executable) for line in lines if line.startswith("export ")
        )
        script = f'set -e\n{exports}\necho "$SECRET_KEY $TOKEN_KEY"'
        shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=15)
        secret, *token = shown.stdout.split()
        assert len(secret) > 40
        assert len(token) == (page != "docs/how-to/flask.md")
        for key in token:
            Fernet(key)


def test_the_folders_of_the_django_page(tmp_path: Path) -> None:
    """The blocks `folders` of docs/how-to/django.md and the tree make the folders that the files are saved in."""
    commands = documents.marked("docs/how-to/django.md", "folders").splitlines()
    made = {word for line in commands for word in line.split()[1:] if word != "-p"}
    django = EXAMPLES / "django_app"
    packages = {str(path.relative_to(django)) for path in django.rglob("__init__.py")}
    assert {word for word in made if word.endswith(".py")} == packages
    folders = {word for word in made if not word.endswith(".py")}
    for path in files("django_app"):
        folder = str(path.relative_to(django).parent)
        assert any(f"{each}/".startswith(f"{folder}/") for each in folders) or folder == "."
    (tree,) = [block.text for block in documents.blocks("docs/how-to/django.md") if block.language == "text"]
    shown = {EXAMPLES.parent / path for path in included("docs/how-to/django.md")}
    for path in [*shown, *packages]:
        name = Path(path).name
        assert name in tree or name.startswith("test_"), name


def test_the_commands_of_programs() -> None:
    """The files exist, and the programs know the options. Servers are started by test_web_apps.py with the commands of the pages."""
    from celery.bin.beat import beat
    from celery.bin.worker import worker

    known = {option for command in (beat, worker) for each in command.params for option in each.opts} | {"-A"}
    for page, mark in (
        ("docs/how-to/celery.md", "worker"),
        ("docs/how-to/celery.md", "tenants"),
        ("docs/how-to/celery.md", "tenants-beat"),
        (SOURCES, "celery-app"),
        (SOURCES, "celery-tenants"),
    ):
        for line in documents.marked(page, mark).splitlines():
            program, *words = shlex.split(line)
            if program == "celery":
                assert {word for word in words if word.startswith("-")} <= known, line
                module = words[words.index("-A") + 1]
            elif program == "python":
                module = words[0].removesuffix(".py")
            else:
                assert program in {"export", "pip"}, line
                continue
            assert any(
                (EXAMPLES / folder / f"{module}.py").exists() for folder in PAGES["docs/how-to/celery.md"]
            )
    for page, mark, program, folder in (
        ("docs/how-to/notebooks.md", "jupyter", "jupyter notebook", ""),
        ("docs/how-to/notebooks.md", "marimo", "marimo edit ezeep_marimo.py", "notebooks"),
        (
            "docs/how-to/notebooks.md",
            "streamlit",
            "streamlit run --server.address 127.0.0.1 app.py",
            "streamlit_app",
        ),
        (SOURCES, "notebooks", "marimo edit ezeep_marimo.py", "notebooks"),
        (SOURCES, "streamlit-app", "streamlit run --server.address 127.0.0.1 app.py", "streamlit_app"),
        (SOURCES, "scripts", 'python blocking_groups.py --add jane@example.com "Night shift"', "scripts"),
        (SOURCES, "aiohttp-app", "python app.py --port 8400", "aiohttp_app"),
        ("docs/how-to/aiohttp-web.md", "real", "python app.py --port 8080", "aiohttp_app"),
        ("docs/how-to/django-run.md", "command", "python manage.py ezeep_groups USER_ID", "django_app"),
    ):
        assert program in documents.marked(page, mark)
        if folder:
            # The command is that of the file itself, which its tests start.
            said = "\n".join(path.read_text("utf-8") for path in files(folder) if path.suffix == ".py")
            assert program.split(" --port")[0] in said
    for name, page in (("fastapi-app", "fastapi"), ("django-app", "django"), ("flask-app", "flask")):
        shown = documents.marked(f"docs/how-to/{page}.md", "start")
        assert shown.endswith(documents.marked(SOURCES, name))


def test_the_request_of_the_aiohttp_page() -> None:
    """The block `curl` of docs/how-to/aiohttp-web.md asks for the printer and the name that test_programs.py asks for."""
    *_, url = shlex.split(documents.marked("docs/how-to/aiohttp-web.md", "curl"))
    assert url.endswith("/print?printer=Front%20desk%20laser&name=invoice.pdf")


def test_the_examples_are_listed() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "examples" / "README.md").read_text(), re.MULTILINE)
    folders = [each.name for each in (ROOT / "examples").iterdir() if any(each.glob("*.*"))]
    assert sorted(listed) == sorted(folders)


@pytest.mark.parametrize(
    "folder", [each for each in EXAMPLES.iterdir() if each.is_dir()], ids=lambda path: path.name
)
def test_each_example_says_what_to_install_and_set(folder: Path) -> None:
    """And how a program that has one login gets it. Those with a login for each user have /login."""
    text = "\n".join(
        path.read_text("utf-8") for path in folder.rglob("*.*") if path.suffix in {".py", ".md", ".ipynb"}
    )
    for name in ("pip install ", "EZEEP_CLIENT_ID"):
        assert name in text
    assert any(way in text for way in ("ezeep login --client-id", "/login", "tenants.py login"))


def test_links_of_the_list_resolve() -> None:
    readme = ROOT / "examples" / "README.md"
    assert [
        link
        for link in re.findall(r"\]\(([^)]+)\)", readme.read_text())
        if not (readme.parent / link).exists()
    ] == []
