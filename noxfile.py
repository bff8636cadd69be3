"""The one entry point for every check. `nox -l` lists them; `nox` runs what a change has to pass."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

import nox


nox.options.sessions = ["tests", "lint", "typing", "build", "docs"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_external_run = True
# uv where it is installed, pip elsewhere: the tests need nothing but Python and nox.
nox.options.default_venv_backend = "uv|virtualenv"

PYPROJECT = nox.project.load_toml("pyproject.toml")
WRONG = "wrong_calls.py"
LARGEST_WHEEL = 660_000
"""Bytes: a little more than it has. What is new should be worth its place."""
IMPORTS = """
import ezeep_async, ezeep_async.sandbox, ezeep_async.testing
for name in ezeep_async.__all__:
    getattr(ezeep_async, name)
"""
SITE = ".nox/site"
EVERYTHING = ".[cli,redis,keyring,otel,yaml,sql,web,fast]"


def _group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PYPROJECT, name))


def _is_there(python: str) -> bool:
    """Whether this interpreter runs: pyenv has a command for each version, also for those that are not selected."""
    return (
        shutil.which(python) is not None and subprocess.run([python, "-c", ""], check=False).returncode == 0
    )


# The safe path: without it this folder comes first, and the checkout is tested instead of the built package.
# Bytecode, also where it is switched off: hundreds of tests start Python, and would compile all that they import.
INSTALLED = {
    "PYTHONSAFEPATH": "1",
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPYCACHEPREFIX": str(Path(".nox/bytecode").resolve()),
}
# One process more than cores, as tests often wait for others; few enough that time limits hold. `-n 0` after it undoes it.
WORKERS = ["-n", str(min(4, (os.cpu_count() or 1) + 1)), "--dist", "worksteal"]


@nox.session
def tests(session: nox.Session) -> None:
    """The whole test suite on the built package, in several processes. `tests-3.12` runs it on Python 3.12."""
    session.install(EVERYTHING, *_group("tests"), *_group("examples"))
    session.run("python", "-m", "pytest", *WORKERS, *session.posargs, env=INSTALLED)


@nox.session
def quick(session: nox.Session) -> None:
    """The suite without processes, browsers, servers and long runs. `quick-3.12` runs it on Python 3.12."""
    session.install(EVERYTHING, *_group("tests"))
    env = {**INSTALLED, "HYPOTHESIS_PROFILE": "quick"}
    # One process a core: these tests do not wait for others.
    workers = ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "worksteal"]
    session.run("python", "-m", "pytest", *workers, "-m", "not slow", *session.posargs, env=env)


for version in nox.project.python_versions(PYPROJECT):
    nox.session(name=f"tests-{version}", python=version)(tests.func)
    nox.session(name=f"quick-{version}", python=version)(quick.func)


@nox.session
def coverage(session: nox.Session) -> None:
    """The same with branch coverage, in one process: apart, because it takes twice the time."""
    session.install(EVERYTHING, *_group("tests"), *_group("examples"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs, env=INSTALLED)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--skip-covered")


# Where a dependency's own behaviour shows: connections, decoding, locks, the loops of the blocking twin, the command line.
ON_LOWEST = [
    "tests/http",
    "tests/wire",
    "tests/auth/stores/test_file_store.py",
    "tests/auth/stores/test_keyring_store.py",
    "tests/auth/stores/test_redis_store.py",
    "tests/auth/stores/test_sql_store.py",
    "tests/cli/test_main.py",
    "tests/provisioning/inputs/test_desired_yaml.py",
    "tests/blocking/test_portal.py",
]


@nox.session
def lowest(session: nox.Session) -> None:
    """The suite with the lowest versions of all direct dependencies; with `-- --quick` what depends on them most."""
    session.install("uv")  # pip has no --resolution
    into = [
        "--python",
        session.virtualenv.location,
        "--resolution",
        "lowest-direct",
        "--reinstall-package",
        "ezeep_async",
    ]
    session.run("uv", "pip", "install", "--quiet", *into, EVERYTHING, *_group("tests"))
    options = [each for each in session.posargs if each != "--quick"]
    paths = ON_LOWEST if "--quick" in session.posargs else []
    session.run("python", "-m", "pytest", *WORKERS, *options, *paths, env=INSTALLED)


@nox.session
def fuzz(session: nox.Session) -> None:
    """The property tests alone, with 10 000 examples each: for a night, not for each change."""
    session.install(EVERYTHING, *_group("tests"))
    env = {**INSTALLED, "HYPOTHESIS_PROFILE": "long"}
    session.run("python", "-m", "pytest", "-m", "hypothesis", *session.posargs, env=env)


@nox.session
@nox.parametrize("kind", ["eager", "uvloop", "debug"])
def loops(session: nox.Session, kind: str) -> None:
    """The suite on eager tasks (Python 3.12), on uvloop, and in asyncio's debug mode: `nox -s "loops(kind='eager')"`."""
    session.install(EVERYTHING, *_group("tests"))
    env = {"EVENT_LOOP": kind, "PYTHONSAFEPATH": "1"}
    if kind == "debug":
        env["PYTHONASYNCIODEBUG"] = "1"
    session.run("python", "-m", "pytest", *session.posargs, env=env)


@nox.session
def openapi(session: nox.Session) -> None:
    """The responses of a sandbox against its OpenAPI description, by schemathesis; `-- --max-examples 300` for more."""
    session.install(".[yaml]", *_group("openapi"))
    session.run("python", "tests/sandbox/openapi/run.py", *session.posargs, env=INSTALLED)


CALLS = json.loads(Path("benchmarks/calls.json").read_text())


# Of one version: the calls inside asyncio differ, the SDK's own are the same in all.
@nox.session(python=CALLS["python"])
def calls(session: nox.Session) -> None:
    """Function calls of a page and of a request, against benchmarks/calls.json; `-- --update` writes that file."""
    packages = [f"{name}=={version}" for name, version in CALLS["packages"].items()]
    session.install(".[otel]", *(["--upgrade"] if "--update" in session.posargs else packages))
    session.run("python", "benchmarks/count_calls.py", *session.posargs, env=INSTALLED)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, spelling, and the words that CONTRIBUTING.md replaces."""
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    files = str(session.run("git", "ls-files", "*.py", "*.md", silent=True, external=True)).split()
    session.run("codespell", *files)
    table = Path("CONTRIBUTING.md").read_text().split("| say | not |\n")[1].split("\n\n")[0]
    words = [word for row in table.splitlines() for word in re.findall("`([^`]+)`", row.split("|")[-2])]
    replaced = re.compile(rf"(?<![a-zA-Z])({'|'.join(words)})(?![a-zA-Z])", re.IGNORECASE)
    found = [
        f"{name}:{number}: {match[0]}"
        for name in files
        for number, line in enumerate(Path(name).read_text().splitlines(), 1)
        if not (name == "CONTRIBUTING.md" and line.startswith("|"))
        for match in replaced.finditer(line)
    ]
    if found:
        head = "Words to replace: the table in CONTRIBUTING.md, section How we write, has those to use."
        session.error("\n".join([head, *found]))


def _build(session: nox.Session, into: str) -> Path:
    session.install(*_group("build"))
    session.run("python", "-m", "build", "--outdir", into, silent=True)
    (wheel,) = Path(into).glob("*.whl")
    return wheel


@nox.session
def typing(session: nox.Session) -> None:
    """mypy and pyright, both strict, on the package and on samples of its use against the installed wheel."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = _build(session, folder)
        session.install(*_group("typing"))
        # The interpreter's own name for the package: extras cannot be asked of a bare path on every installer.
        session.install(
            "--force-reinstall", f"ezeep_async[cli,redis,keyring,otel,yaml,sql,web,fast] @ {wheel.as_uri()}"
        )
        # Pyright passes over folders with a dot: mypy checks docs/.scripts.
        session.run("mypy", "ezeep_async", "noxfile.py", "docs/.scripts", "tests/site_checks")
        session.run("pyright", "ezeep_async", "noxfile.py")
        # From elsewhere, so that the installed wheel is what is seen, and not this folder.
        samples = Path("tests/typing").resolve()
        config = Path("pyproject.toml").resolve()
        with session.chdir(folder):
            for sample in samples.glob("*.py"):
                Path(sample.name).write_text(sample.read_text())
            Path("pyproject.toml").write_text(config.read_text())
            right = sorted(path.name for path in samples.glob("*.py") if path.name != WRONG)
            session.run("mypy", *right)
            session.run("pyright", *right)
            marked = {
                n for n, line in enumerate(Path(WRONG).read_text().splitlines(), 1) if "# wrong" in line
            }
            for tool in ("mypy", "pyright"):
                output = session.run(tool, WRONG, silent=True, success_codes=[1])
                found = {int(line) for line in re.findall(rf"{WRONG}:(\d+):.*error", str(output))}
                if found != marked:
                    session.error(f"{tool} differs at lines {sorted(found ^ marked)} of {WRONG}:\n{output}")
                session.log(f"{tool} refuses all {len(marked)} wrong calls")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, in .nox/site. A warning fails it, such as a dead link, and what a browser shows badly."""
    session.install(*_group("docs"))  # without the package: the API reference reads its source
    session.run("zensical", "build", "--strict", "--clean")
    session.run("python", "tests/site_checks/check_site.py", SITE)
    session.run("python", "tests/site_checks/look_at_site.py", SITE)


@nox.session
def diagrams(session: nox.Session) -> None:
    """The diagrams of the documents, from the texts in docs/.diagrams. A test compares them."""
    session.run("python", "docs/.scripts/diagrams.py")


@nox.session
def screenshots(session: nox.Session) -> None:
    """The screenshots of the documents, with Chromium (Debian: chromium, chromium-driver)."""
    session.install(".[cli]", *_group("screenshots"))
    session.run("python", "docs/.scripts/screenshots.py")


@nox.session
def build(session: nox.Session) -> None:
    """A wheel and a source distribution, with all that belongs to them, and with metadata that an index accepts."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = _build(session, folder)
        assert list(Path(folder).glob("*.tar.gz")), "no source distribution"
        names = zipfile.ZipFile(wheel).namelist()
        for name in (
            "py.typed",
            "sandbox/data/users_page_1.json",
            "sandbox/openapi.yaml",
            "cli/data/demo.csv",
            "_pyinstaller/hook-ezeep_async.py",
        ):
            assert f"ezeep_async/{name}" in names, f"{name} is not in the wheel"
        session.run("twine", "check", "--strict", *map(str, Path(folder).iterdir()))
        size = wheel.stat().st_size
        assert size < LARGEST_WHEEL, f"the wheel has {size:,} bytes: what made it larger?"
        session.log(f"{wheel.name}: {len(names)} files, {size:,} bytes")


@nox.session
def release(session: nox.Session) -> None:
    """The wheel as its users get it: alone on each Python, the command in an environment of its own, and in a frozen program."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = _build(session, folder)
        for version in nox.project.python_versions(PYPROJECT):
            if not _is_there(f"python{version}"):
                session.warn(f"there is no Python {version}: the installation there is not tried")
                continue
            place = Path(folder, version)
            session.run(f"python{version}", "-m", "venv", str(place), external=True)
            python = str(place / ("Scripts" if os.name == "nt" else "bin") / "python")
            session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
            session.run(python, "-m", "pip", "check", external=True)
            session.run(python, "-W", "error", "-c", IMPORTS, external=True)
        session.install("pipx", *_group("release"))
        # As `pipx install` does it. `demo` needs the data files, and most modules.
        pipx = {"PIPX_HOME": f"{folder}/pipx", "PIPX_BIN_DIR": f"{folder}/bin"}
        session.run("pipx", "run", "--spec", f"{wheel}[cli]", "ezeep", "demo", env=pipx)
        # The command frozen, with the extras that are imported on first use.
        session.install(f"{wheel}[cli,redis,sql,keyring,web]")
        script = Path(folder, "frozen.py")
        script.write_text("from ezeep_async.cli.entry import main\n\nmain()\n")
        options = [
            "--noconfirm",
            "--log-level=ERROR",
            f"--distpath={folder}/dist",
            f"--workpath={folder}/work",
        ]
        session.run("pyinstaller", *options, f"--specpath={folder}", str(script))
        frozen = str(Path(folder, "dist", "frozen", "frozen"))
        session.run(frozen, "--version", external=True)
        session.run(frozen, "demo", external=True)


@nox.session
def demo(session: nox.Session) -> None:
    """The main job against the sandbox."""
    session.install(".[cli]")
    session.run("ezeep", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Costs beside peers, with the figures of docs/performance.md. Not a test. `-- --quick`: a short look; `-- pace`: another one."""
    session.install(".[cli,fast]", *_group("bench"))
    given = session.posargs or ["--out", "docs"]
    if (other := Path("benchmarks", f"bench_{given[0]}.py")).exists():
        session.run("python", str(other), *given[1:])
    else:
        session.run("python", "benchmarks/run.py", *given)
