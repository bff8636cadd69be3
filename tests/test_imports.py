"""The direction of the imports: what may know of what. Read from the source, nothing is imported for it."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import ezeep_async
from ezeep_async import provisioning, sandbox, testing


PACKAGE = Path(ezeep_async.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 500

LAYERS = [
    {"errors", "models", "settings", "version", "_runtime", "_text"},
    {"_wire"},
    {"auth", "_http"},
    {"pagination", "resources", "webhooks"},
    {"_exclusive", "shared_pace"},
    {"_core", "_open_sessions", "_parts", "pool", "session", "provisioning"},
    {"blocking", "cli", "sandbox", "testing", "_pyinstaller"},
]
"""From the bottom up. A part imports its own layer and those below it, except where a test says otherwise."""


PROVISIONING = ["wording", "names", "csv_cells", "inputs", "plans", "runs", "service"]
"""The steps of provisioning in the order of the work. A step imports itself and the steps before it."""


def module_of(path: Path) -> str:
    """The dotted name inside the package: `_wire.requests`, `session`, `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    return module.partition(".")[0]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text())


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every import in a file, those inside functions and `if TYPE_CHECKING` too, as (line, full dotted name)."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                package = ["ezeep_async", *path.relative_to(PACKAGE).parent.parts]
                base = ".".join(package[: len(package) - node.level + 1])
                stem = f"{base}.{node.module}" if node.module else base
            else:
                stem = node.module or ""
            for alias in node.names:
                yield node.lineno, f"{stem}.{alias.name}"


def own_imports() -> Iterator[tuple[str, str, str]]:
    """(importing module, imported module, where) for the imports inside the package."""
    names = {module_of(path) for path in FILES}
    for path in FILES:
        for line, name in imports_of(path):
            if name == "ezeep_async" or name.startswith("ezeep_async."):
                target = name.removeprefix("ezeep_async").lstrip(".")
                while target and target not in names:
                    target = target.rpartition(".")[0]
                yield module_of(path), target or "__init__", f"{path.relative_to(PACKAGE)}:{line}: {name}"


def outside(path: Path) -> Iterator[tuple[str, str]]:
    """(imported name, where) for the imports from elsewhere."""
    for line, name in imports_of(path):
        if not name.startswith("ezeep_async"):
            yield name, f"{path.relative_to(PACKAGE)}:{line}: {name}"


def is_from(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def level_of(part: str) -> int:
    return next((level for level, parts in enumerate(LAYERS) if part in parts), -1)


def test_every_part_has_its_place() -> None:
    """Every module and folder at the top of the package has a layer in `LAYERS` (docs/architecture.md#layers)."""
    parts = {part_of(module_of(path)) for path in FILES} - {"__init__", "__main__"}
    assert {part for part in parts if level_of(part) < 0} == set()


@pytest.mark.slow
def test_imports_point_one_way() -> None:
    """errors, models, settings <- wire <- auth, http <- paging, resources <- session, provisioning <- the rest."""
    wrong = [
        where
        for module, target, where in own_imports()
        if part_of(module) not in {"__init__", "__main__"}
        and level_of(part_of(target)) > level_of(part_of(module))
    ]
    assert wrong == []


@pytest.mark.slow
def test_provisioning_follows_the_order_of_the_work() -> None:
    """Inputs, plans, runs, service: a step knows nothing of the steps after it."""

    def step(module: str) -> int:
        return PROVISIONING.index(module.split(".")[1])

    wrong = [
        where
        for module, target, where in own_imports()
        if module.startswith("provisioning.")
        and target.startswith("provisioning.")
        and step(target) > step(module)
    ]
    assert wrong == []


def test_nothing_imports_the_packages_front() -> None:
    """The front (`__init__`) imports the parts; no part but cli, sandbox and testing imports the front."""
    allowed = {"cli", "sandbox", "testing", "__main__", "__init__"}
    wrong = [
        where
        for module, target, where in own_imports()
        if part_of(target) == "__init__" and part_of(module) not in allowed
    ]
    assert wrong == []


def test_auth_and_http_do_not_know_each_other() -> None:
    """they are siblings; the session puts them together."""
    wrong = [
        where
        for module, target, where in own_imports()
        if {part_of(module), part_of(target)} == {"auth", "_http"}
    ]
    assert wrong == []


def test_paging_and_resources_know_neither_login_nor_connections() -> None:
    """listings and resources sit on wire, and get what sends from the session."""
    wrong = [
        where
        for module, target, where in own_imports()
        if part_of(module) in {"pagination", "resources"}
        and part_of(target) in {"auth", "_http", "_core", "session"}
    ]
    assert wrong == []


def test_models_errors_and_settings_know_nothing_above_them() -> None:
    """the bottom layer imports itself only; errors and models not even settings. Names for type hints are no imports."""
    wrong = [
        where
        for module, target, where in own_imports()
        if part_of(module) in {"errors", "models"}
        and part_of(target) not in {"errors", "models"}
        and target != "_runtime.later_types"
    ]
    assert wrong == []


@pytest.mark.parametrize("part", ["_wire", "models", "errors", "settings"])
def test_the_wire_does_no_io(part: str) -> None:
    """`wire/`, `models/` and `errors/` import neither asyncio nor anyio nor aiohttp."""
    wrong = [
        where
        for path in FILES
        if part_of(module_of(path)) == part
        for name, where in outside(path)
        if is_from(name, "asyncio", "anyio", "aiohttp", "threading", "socket", "concurrent")
    ]
    assert wrong == []


def test_nothing_imports_the_sandbox_and_its_kind() -> None:
    """nothing in the SDK imports `sandbox/`, `testing/`, `cli/`, but they themselves; `testing` serves the
    sandbox, and the command line demonstrates with it."""
    may = {
        "sandbox": {"sandbox"},
        "cli": {"cli", "sandbox"},
        "testing": {"testing", "sandbox"},
        "__main__": {"cli"},
    }
    wrong = [
        where
        for module, target, where in own_imports()
        if part_of(target) in {"sandbox", "testing", "cli"}
        and part_of(target) not in may.get(part_of(module), set())
    ]
    assert wrong == []


SHARED_WITH_CLI = {
    "_text",  # one set of rules for settings, text from outside, and secrets in tracebacks
    "_runtime",  # signals and time limits, which the session and the command must handle in the same way
    "_wire.group_names",  # one definition of invisible characters and of names that look alike
    "auth.app.code_from_callback",  # one check of the state of a redirect
    "auth.stores.paths",  # the user's folders
    "auth.stores.private",  # one writer of files for their owner only
    "provisioning.runs.audit.is_audit_log",  # one definition of the start of an audit log
    "provisioning.wording",  # lists and numbers in sentences
    "settings.is_loopback",  # one definition of an address of this machine
}
"""Private modules and names that the command line imports as well. The others may change without it."""


def test_the_command_line_imports_public_names() -> None:
    """What a command needs is public, or listed above."""
    public = {
        f"{package.__name__}.{name}"
        for package in (ezeep_async, provisioning, sandbox, testing)
        for name in package.__all__
    }
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in FILES
        if part_of(module_of(path)) == "cli"
        for line, name in imports_of(path)
        if is_from(name, "ezeep_async")
        and name not in public
        and not is_from(name.removeprefix("ezeep_async."), "cli", *SHARED_WITH_CLI)
    ]
    assert wrong == []


def test_only_http_knows_the_aiohttp_client() -> None:
    """`http/` is the only importer of aiohttp's client; session and core name the type that is borrowed, and
    the sandbox and `ezeep login` have the server. The sandbox also sends events, as the service does."""
    types = {"pool", "session", "_core", "_open_sessions"}
    wrong = []
    for path in FILES:
        part = part_of(module_of(path))
        for name, where in outside(path):
            if not is_from(name, "aiohttp") or part == "_http":
                continue
            if part in {"sandbox", "cli"} and is_from(name, "aiohttp.web"):
                continue
            if module_of(path).endswith(
                "cli.demo.command"
            ):  # plays the person at the browser, beside the SDK
                continue
            if module_of(path).endswith("sandbox.delivery"):
                continue
            if part in types and name == "aiohttp":
                continue
            wrong.append(where)
    assert wrong == []


@pytest.mark.parametrize("module", ["pool", "session", "_core", "_open_sessions"])
def test_what_borrows_the_client_only_names_its_type(module: str) -> None:
    """outside `http/` aiohttp is there for one annotation: `aiohttp.ClientSession`, never called."""
    path = PACKAGE / f"{module}.py"
    tree = tree_of(path)
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "aiohttp"
    }
    called = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("aiohttp.")
    ]
    assert used <= {"ClientSession"}
    assert called == []


def test_only_the_converter_knows_the_decoders() -> None:
    """of the SDK, only two modules of `_wire` import cattrs and msgspec."""
    wrong = [
        where
        for path in FILES
        if module_of(path) not in {"_wire.converter", "_wire.structuring"}
        and part_of(module_of(path)) != "sandbox"
        for name, where in outside(path)
        if is_from(name, "cattrs", "cattr", "msgspec")
    ]
    assert wrong == []


def test_the_sandbox_needs_no_cattrs() -> None:
    """`structuring.py` is the only cattrs module, the sandbox included."""
    wrong = [
        where
        for path in FILES
        if module_of(path) != "_wire.structuring"
        for name, where in outside(path)
        if is_from(name, "cattrs", "cattr")
    ]
    assert wrong == []


def test_only_the_portal_knows_about_threads() -> None:
    """`portal.py` is the only module that makes loops, and starts threads, under gevent by `greenlets.py`; but for those
    in which stores block, which must not be those of the loop's executor: its workers may all be waiting for the session.
    """
    wrong = [
        where
        for path in FILES
        # The contract tests a store's lock between processes.
        if part_of(module_of(path)) not in {"blocking", "cli"}
        and module_of(path) not in {"testing.store_checks", "testing.store_contract", "_runtime.greenlets"}
        for name, where in outside(path)
        if is_from(name, "concurrent", "anyio.from_thread", "multiprocessing")
    ]
    for path in FILES:
        if part_of(module_of(path)) not in {"blocking", "cli"}:
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    name = f"{node.value.id}.{node.attr}"
                    if name in {
                        "threading.Thread",
                        "asyncio.run",
                        "asyncio.Runner",
                        "asyncio.new_event_loop",
                    }:
                        if (module_of(path), name) != ("_runtime.greenlets", "threading.Thread"):
                            wrong.append(f"{path.name}:{node.lineno}: {name}")
    assert wrong == []


def test_extras_are_imported_where_they_are_used() -> None:
    """keyring, redis and the command line's libraries are never imported with the package."""
    wrong = []
    for path in FILES:
        if part_of(module_of(path)) == "cli":
            continue
        for node in tree_of(path).body:
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            wrong += [
                f"{path.relative_to(PACKAGE)}:{node.lineno}: {name}"
                for name in names
                if is_from(
                    name,
                    "keyring",
                    "redis",
                    "rich",
                    "cyclopts",
                    "typer",
                    "platformdirs",
                    "opentelemetry",
                    "pydantic",
                    "pydantic_core",
                )
            ]
    assert wrong == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_longer_than_500_lines(path: Path) -> None:
    """A longer file has several subjects: split it."""
    assert len(path.read_text().splitlines()) <= LONGEST


WIDE = {
    "Settings": "options that users pass by name",
    "Behaviour": "options of `Sandbox` that users pass by name",
    "BehaviourOptions": "their types",
    "Plan": "the document of a saved plan",
    "AuditRecord": "one line of the audit log",
    "WebhookPrintJob": "the print job in an event",
    "EzeepSession": "the resources that users reach by name",
    "BlockingSession": "their blocking forms",
}
"""Classes whose attributes are a public document, with the reason."""


def test_no_class_has_more_than_12_attributes() -> None:
    """A class with more has several subjects."""
    found = {}
    for path in FILES:
        for each in ast.walk(tree_of(path)):
            if isinstance(each, ast.ClassDef):
                names = {
                    node.target.id
                    for node in each.body
                    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
                }
                names |= {
                    node.attr
                    for node in ast.walk(each)
                    if isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "self"
                }
                if len(names) > 12:
                    found[each.name] = sorted(names)
    assert found.keys() == WIDE.keys(), found


def test_the_reader_sees_imports_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules above can fail: imports in functions, relative ones, and those for type checkers are seen."""
    source = (
        "from __future__ import annotations\nimport asyncio.events\nfrom . import sibling\nfrom .._wire import x\n"
        "if True:\n    from ezeep_async._http import transport\ndef f():\n    import aiohttp as a\n"
    )
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "probe.py"
    path.write_text(source)
    assert {name for _, name in imports_of(path)} == {
        "__future__.annotations",
        "asyncio.events",
        "ezeep_async.models.sibling",
        "ezeep_async._wire.x",
        "ezeep_async._http.transport",
        "aiohttp",
    }
