"""The package as a whole: its marker for type checkers, what its import does, and what it says that it supports."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest

import ezeep_async
from ezeep_async import provisioning


pytestmark = pytest.mark.may_block

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# In a process of its own, because the tests themselves import everything. Audit events are listed in the documentation of
# Python: https://docs.python.org/3/library/audit_events.html
IMPORTING = """
import asyncio, json, sys, threading
def watch(event, args):
    if event.startswith(("socket.", "subprocess.", "os.fork", "os.posix_spawn", "_thread.start_new_thread")):
        seen.append(event)
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append(f"{event} {args[0]}")
import aiohttp, attrs, cattrs, filelock, msgspec, platformdirs  # what dependencies do is theirs
seen = []
sys.dont_write_bytecode = True
sys.addaudithook(watch)
loop = asyncio.new_event_loop
asyncio.new_event_loop = lambda: seen.append("event loop") or loop()
import ezeep_async, ezeep_async.provisioning, ezeep_async.sandbox, ezeep_async.blocking.session
found = list(seen)
heavy = sorted({"keyring", "opentelemetry", "redis", "yaml", "pytest", "rich"} & set(sys.modules))
print(json.dumps([found, threading.active_count(), heavy]))
"""


@pytest.mark.slow
def test_8_8_importing_starts_nothing() -> None:
    """8-8: no network, thread, process, event loop or written file; no optional dependency is imported."""
    out = subprocess.check_output([sys.executable, "-c", IMPORTING], text=True)
    assert json.loads(out) == [[], 1, []]


def test_8_7_the_package_has_the_marker_for_type_checkers() -> None:
    """8-7: PEP 561. `nox -s typing` checks the samples in tests/typing against the installed wheel."""
    assert resources.files(ezeep_async).joinpath("py.typed").is_file()


@pytest.mark.slow
def test_public_names_are_imported_when_they_are_used() -> None:
    """`import ezeep_async` imports no part of it, and every public name is where the front says that it is."""
    script = """if True:
        import sys, ezeep_async
        parts = sorted(name for name in sys.modules if name.startswith("ezeep_async."))
        assert parts == ["ezeep_async.version"], parts
        assert "aiohttp" not in sys.modules
        assert set(ezeep_async._MODULES) | {"__version__"} == set(ezeep_async.__all__)
        assert set(ezeep_async.__all__) <= set(dir(ezeep_async))
        names = {}
        exec("from ezeep_async import *", names)
        assert set(ezeep_async.__all__) <= set(names)
        assert ezeep_async.errors.NotFound is ezeep_async.NotFound
        try:
            ezeep_async.absent
        except AttributeError as error:
            print(error)
    """
    out = subprocess.check_output([sys.executable, "-W", "error", "-c", script], text=True)
    assert out == "module 'ezeep_async' has no attribute 'absent'\n"


RARELY_USED = {
    "cattrs",
    "filelock",
    "ezeep_async.auth.keep_alive",
    "ezeep_async.auth.oauth",
    "ezeep_async.auth.stores.file_locks",
    "ezeep_async.blocking",
    "ezeep_async.provisioning",
    "ezeep_async.sandbox",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "later"),
    [
        ("EzeepSession, OAuthApp, FileTokenStore", RARELY_USED),
        ("DesiredState, Plan, Report, InvalidInput", {"cattrs", "yaml", "aiohttp", "ezeep_async.session"}),
    ],
)
def test_names_import_only_what_they_need(names: str, later: set[str]) -> None:
    """What these names use rarely is imported when it is used."""
    script = f"import sys; from ezeep_async import {names}; print(sorted({later} & set(sys.modules)))"
    out = subprocess.check_output([sys.executable, "-W", "error", "-c", script], text=True)
    assert out == "[]\n"


@pytest.mark.parametrize("package", [ezeep_async, provisioning])
def test_type_checkers_see_the_names_that_are_imported_late(package: ModuleType) -> None:
    """The imports for type checkers name the same objects, and completion offers them."""
    tree = ast.parse(Path(str(package.__file__)).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {name: f"{package.__name__}.{module}" for name, module in package._MODULES.items()}
    assert {*package._MODULES} == {*package.__all__} - {"__version__"}
    assert {*package.__all__} <= {*dir(package)}
    with pytest.raises(AttributeError, match="absent"):
        package.absent


def test_8_10_supported_pythons() -> None:
    """8-10: the classifiers, from which nox makes a session for each version, begin with `requires-python`."""
    versions = [
        match[1]
        for each in PROJECT["classifiers"]
        if (match := re.fullmatch(r".*:: Python :: (3\.\d+)", each))
    ]
    assert PROJECT["requires-python"] == f">={versions[0]}"
    assert versions == [f"3.{11 + n}" for n in range(len(versions))]
    assert "{}.{}".format(*sys.version_info) in versions


def test_8_10_the_page_on_versions_names_the_supported_pythons() -> None:
    """8-10: those of the classifiers, and no others."""
    page = (ROOT / "docs" / "project" / "versioning.md").read_text()
    named = re.findall(r"^\| (3\.\d+) \| yes \|$", page, re.MULTILINE)
    prefix = "Programming Language :: Python :: 3."
    classified = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if each.startswith(prefix)]
    assert named == classified, "docs/project/versioning.md (left) differs from pyproject.toml (right)"


def test_8_10_the_changelog_has_the_version() -> None:
    """8-10: what changed in this version, or what will change in the next one."""
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert ezeep_async.__version__ in headings, "CHANGELOG.md has no heading for this version"


def test_every_requirement_has_a_test() -> None:
    """The name of at least one test has the id."""
    documented = re.findall(
        r"^- \*\*(\d+-\d+)(?! Withdrawn)", (ROOT / "docs/requirements.md").read_text(), re.MULTILINE
    )
    names = " ".join(
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    )
    tested = {f"{major}-{minor}" for major, minor in re.findall(r"(?<=_)([1-9])_(\d{1,2})(?=_|\b)", names)}
    untested = [each for each in documented if each not in tested]
    assert untested == [], (
        "no test has these ids of docs/requirements.md in its name, such as test_1_2_what_holds"
    )


def test_the_workflow_runs_what_a_change_has_to_pass() -> None:
    """The script that runs anywhere else, on every Python that pyproject.toml names."""
    yaml = pytest.importorskip("yaml")
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    assert job["steps"][-1] == {"run": ".ci/run"}
    named = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if "Python :: 3." in text]
    differ = ".github/workflows/ci.yml (left) differs from the classifiers of pyproject.toml (right)"
    assert job["strategy"]["matrix"]["python"] == named, differ
