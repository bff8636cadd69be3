"""The entry point and the screen: exit codes, one sentence for each error, and one line for each value."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ezeep_async.cli.app import app
from ezeep_async.cli.main import EXTRA, main
from ezeep_async.cli.terminal.output import clean, sentence
from ezeep_async.cli.terminal.screen import Screen, to_json
from ezeep_async.version import __version__


Capture = pytest.CaptureFixture[str]


# --- the entry point -----------------------------------------------------------------------------------------------


def test_version_and_help(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ezeep {__version__}\n"
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("demo", "groups", "users", "sandbox"))
    assert main(["groups", "create", "--help"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [["bogus"], ["demo", "--users", "0"], ["demo", "--users", "x"], ["groups", "show"], ["demo", "--x"]],
)
def test_a_command_line_that_cannot_be_understood_is_64(capsys: Capture, arguments: list[str]) -> None:
    assert main(arguments) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1


def test_the_demo_through_the_entry_point(capsys: Capture) -> None:
    assert main(["demo", "--plain"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("installed", [True, False])
def test_a_command_runs_on_uvloop_where_it_is_installed(
    installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed:
        made = pytest.importorskip("uvloop", reason="the extra fast is not installed").new_event_loop()
    else:
        made = asyncio.new_event_loop()
        monkeypatch.setitem(sys.modules, "uvloop", None)
    made.close()
    loops: list[type] = []

    async def command() -> int:
        loops.append(type(asyncio.get_running_loop()))
        return 3

    monkeypatch.setattr(
        type(app), "parse_args", lambda *_, **__: (command, inspect.signature(command).bind(), {})
    )
    assert main(["whoami"]) == 3
    assert loops == [type(made)]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["provision", "plan", "--help"]])
def test_help_needs_no_event_loop(arguments: list[str]) -> None:
    """It appears sooner without the import of uvloop."""
    script = (
        "import sys\n"
        "from ezeep_async.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "sys.exit('uvloop was imported' if 'uvloop' in sys.modules else code)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "EVENT_LOOP": ""},  # otherwise the tests' event loop is there from the start
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_errors_become_sentences(capsys: Capture) -> None:
    assert main(["groups", "list"]) == 1
    assert capsys.readouterr().err.startswith("ezeep: no client id: give --client-id, set EZEEP_CLIENT_ID, ")
    assert main(["demo", "--csv", "absent.csv"]) == 1
    assert capsys.readouterr().err == "ezeep: absent.csv: No such file or directory\n"


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 141)])
def test_ends_that_are_no_errors(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(type(app), "parse_args", stop)
    assert main([]) == code
    assert capsys.readouterr().err == ("ezeep: interrupted\n" if code == 130 else "")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what people can do something about is made short."""

    def broken(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'x'", name="x")

    monkeypatch.setattr(type(app), "parse_args", broken)
    with pytest.raises(ModuleNotFoundError):
        main([])


def _without(package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command where a package is missing. In a process of its own: this one has imported it."""
    script = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from ezeep_async.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "later"),
    [
        (["--help"], {"asyncio", "msgspec", "yarl"}),
        (["groups", "--help"], {"msgspec", "yarl"}),
        (["provision", "plan", "--help"], {"yarl", "cattrs"}),
        (["login", "--help"], {"msgspec", "yarl"}),
        (["sandbox", "--help"], {"msgspec", "yarl"}),
        (["print", "--help"], {"msgspec", "yarl"}),
        (["printers", "show", "--help"], {"msgspec", "yarl"}),
        (["assignments", "add", "--help"], {"msgspec", "yarl"}),
    ],
)
def test_help_imports_no_client_and_no_markdown(arguments: list[str], later: set[str]) -> None:
    later |= {"aiohttp", "pygments", "rich.markdown", "rich.progress", "segno"}
    script = (
        "import sys\nfrom ezeep_async.cli.main import main\n"
        f"main({arguments})\nprint(sorted({later} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_paragraphs_of_help_fill_the_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the docstring of an option breaks its lines does not show."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["provision", "plan", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "that all groups belong to." in shown
    assert "EZEEP_CLIENT_SECRET, or the configuration file." in shown
    assert main(["provision", "--help"]) == 0
    assert "\n    ezeep export --out people.csv\n" in capsys.readouterr().out


def test_every_package_of_the_extra_is_one_that_is_missed() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    packages = {each.partition(">")[0] for each in project["optional-dependencies"]["cli"]}
    assert packages == EXTRA | {"pyyaml"}  # which is missed where there is YAML: below


@pytest.mark.slow
@pytest.mark.parametrize("package", sorted(EXTRA))
def test_without_the_extra(package: str) -> None:
    """Whichever of its packages is missing."""
    ran = _without(package, "--version")
    assert ran.returncode == 1
    assert ran.stderr == "ezeep: the command line needs more packages: pip install 'ezeep_async[cli]'\n"


@pytest.mark.slow
def test_without_yaml_a_yaml_file_is_one_sentence(tmp_path: Path) -> None:
    """Nothing else needs it."""
    for name, content in (("people.yaml", "Sales: []\n"), ("people.csv", "group,member\n")):
        (tmp_path / name).write_text(content)
    ran = _without("yaml", "provision", "plan", "--sandbox", str(tmp_path / "people.yaml"))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "ezeep: YAML needs the package PyYAML: pip install 'ezeep_async[yaml]'\n"
    ran = _without("yaml", "provision", "plan", "--sandbox", str(tmp_path / "people.csv"))
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    "given",
    [
        ["--password=hunter2"],
        ["--password", "hunter2"],
        ["--password", "-hunter2"],
        ["--password", "--hunter2"],
        ["--password", "--username", "a@b.c", "hunter2"],
        ["hunter2", "--password"],
    ],
)
def test_a_password_on_the_command_line_is_not_repeated(capsys: Capture, given: list[str]) -> None:
    """8-3: wherever it stands, and whatever it looks like."""
    assert main(["login", *given]) == 64
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err
    assert "--password takes no value" in captured.err
    assert len(captured.err.splitlines()) == 1


def test_another_missing_module_is_not_blamed_on_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ezeep_async.cli.app", None)
    with pytest.raises(ModuleNotFoundError):
        main([])


def test_the_logs_errors_are_lines_like_the_others(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert main(["--version"]) == 0
    logging.getLogger("ezeep_async.auth").warning("comes back as an error")
    logging.getLogger("ezeep_async.auth").critical("not %s", "stored")
    logging.getLogger("ezeep_async.auth.stores").warning("read by others")
    logging.getLogger("ezeep_async.auth.stores").info("no news")
    assert capsys.readouterr().err == "ezeep: not stored\nezeep: read by others\n"


# --- the screen ----------------------------------------------------------------------------------------------------


def test_errors_in_one_line() -> None:
    assert (
        sentence(FileNotFoundError(2, "No such file", "x\ny")) == "x\N{REPLACEMENT CHARACTER}y: No such file"
    )
    assert sentence(ValueError("two\n  lines")) == "two lines"
    assert sentence(ValueError()) == "ValueError"
    assert clean("a\tb\x1b") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"


def test_json_of_what_has_none_is_a_fault() -> None:
    with pytest.raises(TypeError, match="object cannot be encoded as JSON"):
        to_json([object()])


def test_json_of_times() -> None:
    assert to_json(datetime(2021, 7, 22, tzinfo=UTC)) == '"2021-07-22T00:00:00+00:00"'


def test_a_broken_pipe_reaches_the_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = Screen()
    monkeypatch.setattr(shown._console, "_write_buffer", _broken)
    with pytest.raises(BrokenPipeError):
        shown.say("no one reads this")


def _broken() -> None:
    raise BrokenPipeError
