"""The options of every command: `--debug`, `--quiet`, `--timeout`, before and after the name of the command."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from cyclopts import App
from helpers.command_line import ended, ezeep, started

from ezeep_async.cli.app import app
from ezeep_async.cli.options import with_hyphens, without_hyphens
from ezeep_async.sandbox import Sandbox


GROUPS = "GET /printing/v1/groups/"


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """A client secret in a file that a command reads."""
    (tmp_path / "secret").write_text("very-secret-value")
    return "very-secret-value"


# --- where they stand ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize(
    "arguments",
    [("--debug", "groups", "list"), ("groups", "--debug", "list"), ("groups", "list", "--debug")],
)
async def test_an_option_before_and_after_the_command(arguments: tuple[str, ...]) -> None:
    ran = await ezeep(*arguments)
    assert ran.code == 0
    assert "DEBUG ezeep_async.http: GET /printing/v1/groups/: 200 in " in ran.err


def _commands(parent: App = app, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names of all commands, without groups of commands."""
    for name in parent:
        if not name.startswith("-"):
            yield from _commands(parent[name], (*names, name))
    if names and all(name.startswith("-") for name in parent):
        yield names


@pytest.mark.parametrize("command", [*_commands()], ids=" ".join)
@pytest.mark.parametrize("name", ["--debug", "--quiet", "-q"])
def test_an_option_after_arguments(command: tuple[str, ...], name: str) -> None:
    """Also where a command takes any number of arguments, one of which may be a hyphen."""
    for given in ((*command, name, "a", "-"), (*command, "a", "-", name)):
        _, bound, _ = app.meta.parse_args(list(given), print_error=False, exit_on_error=False)
        assert bound.kwargs == {"debug" if name == "--debug" else "quiet": True}, given
        assert bound.args == (*command, "a", "-")


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (("print", "-", "--printer", "P", "--name", "-", "--tray", "-"), {"files": ("-",), "name": "-", "tray": "-"}),
        (("provision", "plan", "-", "--printers", "-", "--out", "-"), {"file": Path("-"), "printers": Path("-"), "out": Path("-")}),
        (("api", "POST", "-", "--data", "-"), {"path": "-", "data": "-"}),
        (("groups", "list", "--client-secret-file", "-"), {"client_secret_file": Path("-")}),
        (("users", "delete", "-", "--yes"), {"users": ("-",), "yes": True}),
    ],
)  # a case in one line  # fmt: skip
def test_a_hyphen_stays_a_hyphen(line: tuple[str, ...], values: dict[str, object]) -> None:
    """Also as the value of an option: cyclopts reads another character in its place."""
    _, bound, _ = app.parse_args(without_hyphens(line), print_error=False, exit_on_error=False)
    found = dict(bound.arguments)
    for each in [found.pop(name, None) for name in ("paper", "planning", "options", "connection")]:
        if each is not None:
            found |= attrs.asdict(with_hyphens(each), recurse=False)
    assert {name: with_hyphens(found[name]) for name in values} == values


@pytest.mark.parametrize("command", [*_commands()], ids=" ".join)
async def test_the_usage_names_each_argument(command: tuple[str, ...]) -> None:
    ran = await ezeep(*command, "--help")
    assert ran.code == 0
    assert "ARGS" not in ran.out


async def test_a_hyphen_that_is_no_value_is_named() -> None:
    ran = await ezeep("print", "a.pdf", "--printer", "P", "--copies", "-")
    assert (ran.code, 'unable to convert "-" into int' in ran.err) == (64, True), ran


@pytest.mark.usefixtures("login")
async def test_what_follows_two_hyphens_is_no_option() -> None:
    ran = await ezeep("groups", "show", "--", "--debug")
    assert ran.refused() == "no group is named '--debug'"


async def test_an_option_that_is_close_to_a_global_one() -> None:
    ran = await ezeep("groups", "list", "--profil", "x")
    assert (ran.code, ran.out) == (64, "")
    assert ran.err == "ezeep: Unknown option: --profil. Did you mean --profile? (see ezeep --help)\n"


@pytest.mark.parametrize(("given", "meant"), [("grops", "groups"), ("webhoks", "webhooks")])
async def test_a_command_that_is_close_to_another(given: str, meant: str) -> None:
    ran = await ezeep(given)
    assert ran.code == 64
    assert f'Unknown command "{given}". Did you mean "{meant}"?' in ran.err


# --- --debug -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("login")
async def test_an_error_has_its_traceback_and_then_its_sentence(sandbox: Sandbox) -> None:
    sandbox.faults.add(GROUPS, status=403, times=None)
    usual = await ezeep("groups", "list")
    ran = await ezeep("groups", "list", "--debug")
    assert (usual.code, ran.code, ran.out) == (1, 1, "")
    assert "Traceback" not in usual.err
    assert "Traceback (most recent call last):" in ran.err
    assert ran.err.endswith(usual.err)


@pytest.mark.usefixtures("login")
async def test_debug_lasts_for_one_command() -> None:
    await ezeep("groups", "list", "--debug")
    assert (await ezeep("groups", "list")).err == ""


async def test_debug_shows_no_secret(login: dict[str, str], sandbox: Sandbox, secret: str) -> None:
    """The tokens, before and after a refresh, and the secret of the client."""
    path = Path(login["EZEEP_TOKEN_FILE"])
    secrets = {secret, *_tokens(path)}
    sandbox.behaviour.client_secret = secret
    sandbox.expire_access_tokens()
    sandbox.faults.add(GROUPS, nth=2, status=400, times=None)
    ran = await ezeep("groups", "list", "--debug", "--client-secret-file", "secret", folder=path.parent)
    secrets |= _tokens(path)
    assert (ran.code, sandbox.refreshes, len(secrets)) == (1, 1, 5)
    assert "DEBUG" in ran.err
    assert "Traceback" in ran.err
    assert not [each for each in secrets if each in ran.err]


def _tokens(path: Path) -> set[str]:
    token = json.loads(path.read_text())["token"]
    return {token["access_token"], token["refresh_token"]}


async def test_debug_and_quiet_contradict_each_other() -> None:
    ran = await ezeep("--debug", "whoami", "--quiet")
    assert ran.refused() == "--debug and --quiet cannot be used together"


# --- --quiet -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("quiet", ["--quiet", "-q"])
async def test_quiet_leaves_out_confirmations(quiet: str) -> None:
    ran = await ezeep("groups", "create", "Night shift")
    assert ran.out.startswith("created 'Night shift'\n")
    ran = await ezeep("groups", "create", "Day shift", quiet)
    assert ran.out.startswith("id: ")
    ran = await ezeep("groups", "delete", "Day shift", "--yes", quiet)
    assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.usefixtures("login")
async def test_quiet_keeps_results_and_errors() -> None:
    assert len((await ezeep("groups", "list", "--quiet")).out.splitlines()) == 13
    assert (await ezeep("groups", "show", "Absent", "--quiet")).refused().startswith("no group is named")


async def test_quiet_leaves_out_warnings_of_the_token_store(login: dict[str, str]) -> None:
    Path(login["EZEEP_TOKEN_FILE"]).chmod(0o644)
    assert (await ezeep("whoami", "--quiet")).err == ""
    Path(login["EZEEP_TOKEN_FILE"]).chmod(0o644)
    assert "ezeep: " in (await ezeep("whoami")).err


@pytest.mark.usefixtures("login")
async def test_a_quiet_run_shows_its_report_only(few: Path) -> None:
    ran = await ezeep("provision", "apply", few.name, "--yes", "--quiet", folder=few.parent)
    assert ran.code == 0
    assert ran.out.startswith("groups created: 1\n")
    assert ran.err == ""


# --- --timeout -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_command_that_takes_too_long(login: dict[str, str], sandbox: Sandbox) -> None:
    sandbox.faults.add(GROUPS, delay=60, times=None)
    async with started("--timeout", "1", "groups", "list", env=login) as process:
        ran = await ended(process)
    assert (ran.code, ran.out) == (124, "")
    assert ran.err == "ezeep: the command took longer than --timeout\n"


@pytest.mark.slow
async def test_a_run_that_takes_too_long_has_its_report(
    login: dict[str, str], sandbox: Sandbox, few: Path
) -> None:
    """As after SIGTERM: the changes in flight are completed."""
    sandbox.faults.add("PATCH /printing/v1/users/{id}/", delay=5, times=None)
    arguments = ("provision", "apply", str(few), "--yes", "--concurrency", "1", "--timeout", "3")
    async with started(*arguments, env=login) as process:
        ran = await ended(process)
    assert ran.code == 124
    assert "users changed: 1\n" in ran.out
    assert "not started: 2\n" in ran.out


@pytest.mark.slow
async def test_a_signal_before_the_timeout_has_its_own_code(login: dict[str, str], sandbox: Sandbox) -> None:
    sandbox.faults.add(GROUPS, delay=60, times=None)
    async with started("--timeout", "60", "groups", "list", env=login) as process:
        while not sandbox.requests:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        ran = await ended(process)
    assert ran.code == 143


@pytest.mark.usefixtures("login")
async def test_a_command_with_a_timeout_of_its_own_keeps_it(sandbox: Sandbox, tmp_path: Path) -> None:
    """`ezeep print --timeout` is the time for the job."""
    sandbox.behaviour.job_seconds = 60
    (tmp_path / "a.txt").write_text("text")
    ran = await ezeep("print", "a.txt", "--printer", "Front desk laser", "--timeout", "0.1", folder=tmp_path)
    assert ran.code == 1
    assert "timed out" in ran.out


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "nan", "1e12"])
async def test_a_timeout_that_is_none(seconds: str) -> None:
    ran = await ezeep(f"--timeout={seconds}", "whoami")
    assert (ran.code, len(ran.err.splitlines())) == (64, 1)
