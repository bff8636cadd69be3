"""`ezeep sandbox` in one process, and the other commands against it from others."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from helpers.command_line import EZEEP, environment, ezeep
from helpers.documents import marked
from helpers.support import four_free_ports

from ezeep_async.cli.demo.sandbox import assignments
from ezeep_async.sandbox import Sandbox


WVD_PRINTERS = "658a1b3b-173c-4f55-8150-42e16bd27f96"


@asynccontextmanager
async def serving(folder: Path, *arguments: str) -> AsyncIterator[tuple[Process, dict[str, str]]]:
    """The sandbox, and the environment that it printed."""
    process = await asyncio.create_subprocess_exec(
        *EZEEP, "sandbox", *arguments, cwd=folder, env=environment(), stdout=-1, stderr=-1
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert await process.stderr.readline() == b"serving until Ctrl-C\n"
        lines = 6 if "--token-file" in arguments else 5
        exports = [shlex.split((await process.stdout.readline()).decode()) for _ in range(lines)]
        assert all(export[0] == "export" for export in exports)
        env = dict(export[1].split("=", 1) for export in exports)
        page = (await process.stdout.readline()).decode()
        assert page == f"# a page for people: {env['EZEEP_ACCOUNT_URL']}/\n"
        yield process, env
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.slow
async def test_the_other_commands_from_a_second_terminal(tmp_path: Path) -> None:
    async with serving(tmp_path, "--token-file", "login.json") as (process, env):
        login = tmp_path / "login.json"
        assert env["EZEEP_TOKEN_FILE"] == str(login)
        page = marked("docs/start/first-result.md", "sandbox-output").splitlines()
        shown = dict(shlex.split(line)[1].split("=", 1) for line in page if line.startswith("export "))
        assert [*shown] == [*env]
        assert [shown[name] for name in ("EZEEP_CLIENT_ID", "EZEEP_REDIRECT_URI")] == [*env.values()][:2]
        assert page[-2:] == [f"# a page for people: {shown['EZEEP_ACCOUNT_URL']}/", "serving until Ctrl-C"]
        listed = await ezeep("groups", "list", env=env)
        assert listed.code == 0
        assert listed.out.splitlines()[0] == f"{WVD_PRINTERS}\tWVD Printers\t8\t0\tAzure"
        members = await ezeep("users", "list", "--group", WVD_PRINTERS, "--json", env=env)
        assert len(json.loads(members.out)) == 8
        created = await ezeep("groups", "create", "Finance", "--json", env=env)
        assert json.loads(created.out)["name"] == "Finance"
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert (process.returncode, err) == (130, b"ezeep: interrupted\n")
        assert not login.exists()


def test_the_variables_are_set_in_the_shell_of_the_platform() -> None:
    variables = {"EZEEP_CLIENT_ID": "app", "EZEEP_TOKEN_FILE": "/home/o'neil/my login.json"}
    assert assignments(variables, "win32") == [
        "$env:EZEEP_CLIENT_ID = 'app'\n",
        "$env:EZEEP_TOKEN_FILE = '/home/o''neil/my login.json'\n",
    ]
    for platform in ("linux", "darwin"):
        lines = assignments(variables, platform)
        assert [shlex.split(line) for line in lines] == [
            ["export", f"{name}={value}"] for name, value in variables.items()
        ]


@pytest.mark.slow
async def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path, "--token-file", "login.json", "--users", "7") as (process, _):
        process.terminate()
        _, err = await process.communicate()
        assert (process.returncode, err) == (143, b"ezeep: interrupted\n")
        assert not (tmp_path / "login.json").exists()


@pytest.mark.slow
async def test_ports_and_redirect_addresses(tmp_path: Path) -> None:
    """A sandbox at a fixed address, for an application that is configured once."""
    port = four_free_ports()
    options = [
        *("--port", str(port)),
        *("--redirect-uri", "http://127.0.0.1:9/a", "--redirect-uri", "http://127.0.0.1:9/b"),
        *("--users", "1", "--printers", "2", "--expires-in", "60", "--job-seconds", "0", "--latency", "0.01"),
    ]
    async with serving(tmp_path, "--token-file", "login.json", *options) as (_, env):
        urls = [env[f"EZEEP_{host}_URL"] for host in ("ACCOUNT", "API", "PRINT")]
        assert urls == [f"http://127.0.0.1:{port + number}" for number in range(3)]
        assert env["EZEEP_REDIRECT_URI"] == "http://127.0.0.1:9/a"
        listed = await ezeep("users", "list", "--json", env=env)
        assert len(json.loads(listed.out)) == 1
        refused = (await ezeep("sandbox", "--port", str(port), folder=tmp_path)).refused()
        assert refused == (
            f"127.0.0.1, port {port} is in use by another program. Choose another port: a sandbox uses four in a row"
        )


@pytest.mark.slow
async def test_tokens_that_another_process_stored_stay(tmp_path: Path) -> None:
    login = tmp_path / "login.json"
    async with serving(tmp_path, "--token-file", "login.json") as (process, _):
        other = login.read_bytes().replace(b"http://127.0.0.1:", b"http://127.0.0.2:")
        login.write_bytes(other)
        process.terminate()
        await process.communicate()
        assert login.read_bytes() == other
    refused = (await ezeep("sandbox", "--token-file", "login.json", folder=tmp_path)).refused()
    assert "holds a token set of http://127.0.0.2:" in refused
    assert login.read_bytes() == other


@pytest.mark.slow
async def test_a_reader_that_goes_away_is_silence(tmp_path: Path) -> None:
    async with serving(tmp_path, "--token-file", "login.json", "--users", "2000") as (_, env):
        command = " ".join(map(shlex.quote, [*EZEEP, "users", "list"]))
        process = await asyncio.create_subprocess_exec(
            "bash", "-o", "pipefail", "-c", f"{command} | head -1", env=environment(env), stdout=-1, stderr=-1
        )
        out, err = await process.communicate()
        assert (process.returncode, err) == (141, b"")
        assert out.count(b"\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["users", "show", "nope"], "'nope' is neither an e-mail address nor the id of a user"),
        (["users", "groups", "nope"], "'nope' is neither an e-mail address nor the id of a user"),
        (["groups", "rename", "x", ""], "the name has 0 characters: a group name has 1 to 255"),
        (["groups", "create", ""], "the name has 0 characters: a group name has 1 to 255"),
        (["groups", "create", "x" * 256], "the name has 256 characters: a group name has 1 to 255"),
        (["groups", "create", "x", "--organization-id", "nope"], "--organization-id must be a UUID"),
        (["groups", "list"], "http://api.example"),
    ],
)
async def test_bad_input_is_one_sentence(tmp_path: Path, arguments: list[str], says: str) -> None:
    """Before any request: no server listens at these addresses."""
    env = {"EZEEP_CLIENT_ID": "app", "EZEEP_TOKEN_FILE": str(tmp_path / "login.json")}
    if arguments == ["groups", "list"]:
        env["EZEEP_API_URL"] = "http://api.example"
    assert says in (await ezeep(*arguments, env=env)).refused()
    assert not (tmp_path / "login.json").exists()


async def test_a_corrupt_token_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "login.json"
    path.write_bytes(b"\x00\xffnot json")
    path.chmod(0o600)
    ran = await ezeep("groups", "list", env={"EZEEP_CLIENT_ID": "app", "EZEEP_TOKEN_FILE": str(path)})
    assert "is not a stored token set" in ran.refused()
    assert path.read_bytes() == b"\x00\xffnot json"
    assert "is not a stored token set" in (await ezeep("sandbox", "--token-file", str(path))).refused()
    assert path.read_bytes() == b"\x00\xffnot json"


async def test_a_missing_environment_is_explained() -> None:
    assert "set EZEEP_CLIENT_ID" in (await ezeep("groups", "list")).refused()
    shown = (await ezeep("users", "list", env={"EZEEP_CLIENT_ID": "app"})).refused()
    assert "not logged in" in shown


async def test_not_logged_in_is_one_sentence(tmp_path: Path) -> None:
    env = {"EZEEP_CLIENT_ID": "app", "EZEEP_TOKEN_FILE": str(tmp_path / "absent.json")}
    assert "not logged in" in (await ezeep("groups", "list", env=env)).refused()


@pytest.mark.parametrize(("given", "kept"), [(("--latency", "0.25"), 0.25), ((), 0.0)])
async def test_latency(monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], kept: float) -> None:
    """The option reaches the sandbox, where it delays requests with an access token."""
    seen: list[float] = []

    async def opened(self: Sandbox) -> Sandbox:
        seen.append(self.behaviour.latency)
        raise ValueError("enough")

    monkeypatch.setattr(Sandbox, "__aenter__", opened)
    assert (await ezeep("sandbox", *given)).refused() == "enough"
    assert seen == [kept]
    assert (await ezeep("sandbox", "--latency", "-1")).code == 64
