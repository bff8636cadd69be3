"""A relative path means what it meant where it was given, whatever the working directory is later."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from helpers.support import open_session, put

from ezeep_async import EzeepSession, FileTokenStore, KeyringTokenStore, ReadOnlyTokens
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.cli.connection import Configuration
from ezeep_async.provisioning import DesiredState, read_audit_log
from ezeep_async.provisioning.runs.audit import AuditLog
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.may_block


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(folder)
    return folder


def go_elsewhere() -> None:
    os.chdir("../elsewhere")


async def test_stores(sandbox: Sandbox, here: Path) -> None:
    writer, reader = FileTokenStore("login.json"), ReadOnlyTokens("login.json")
    from_env = EzeepSession.from_env({"EZEEP_CLIENT_ID": "x", "EZEEP_TOKEN_FILE": "login.json"})
    keyring = KeyringTokenStore(folder="locks")
    tokens = sandbox.tokens()
    go_elsewhere()
    await put(writer, tokens)
    assert writer.path == here / "login.json"
    assert await reader.load() == await writer.load() == await from_env._core._store.load() == tokens
    async with keyring.lock():
        assert [path.parent for path in here.rglob("keyring-*")] == [here / "locks"]
    assert str(here / "login.json") in repr(reader) + repr(writer)
    assert list(Path().iterdir()) == []


async def test_a_run_and_its_log(sandbox: Sandbox, here: Path) -> None:
    """The working directory changes while the log is written, and between the calls."""
    async with open_session(sandbox) as session:
        person = next(iter(sandbox.organization.people.values())).email
        plan = await session.provisioning.plan(DesiredState.from_mapping({"New": [person]}))
        await session.provisioning.apply(plan, on_event=lambda _: os.chdir("/"), audit_log="log.jsonl")
        os.chdir(here)
        records = read_audit_log("log.jsonl")
        log = AuditLog("log.jsonl")
        go_elsewhere()
        assert len({record.run_id for record in records}) == 1
        await log.check()
        await log.begin([])
    assert [path.name for path in here.iterdir()] == ["log.jsonl"]
    assert list(Path().iterdir()) == []


def test_the_configuration(here: Path) -> None:
    Path("config.toml").write_text('token_file = "login.json"\nclient_secret_file = "./secret"\n')
    environ = {"EZEEP_CONFIG": "config.toml"}
    configuration = Configuration(environ)
    environ["EZEEP_CLIENT_ID"] = "later"
    go_elsewhere()
    assert configuration.path == here / "config.toml"
    assert configuration.get("token_file") == str(here / "login.json")
    assert configuration.get("client_secret_file") == str(here / "secret")
    assert configuration.get("client_id") is None


async def test_the_environment_is_read_once(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EZEEP_ACCESS_TOKEN", "first")
    store = ReadOnlyTokens.from_env()
    monkeypatch.setenv("EZEEP_ACCESS_TOKEN", "second")
    loaded = await store.load()
    assert loaded is not None
    assert loaded.access_token == "first"


@pytest.mark.skipif(os.name != "posix", reason="Windows does not remove a folder that is in use")
def test_a_working_directory_that_is_gone(here: Path) -> None:
    here.rmdir()
    with pytest.raises(
        ValueError, match=r"login\.json is relative to the working directory, which was removed"
    ):
        FileTokenStore("login.json")
    assert FileTokenStore("/absolute").path == Path("/absolute")
    assert asyncio.run(FileTokenStore("/absolute/absent").load()) is None


def test_links_stay_links(here: Path) -> None:
    """What a link points at is looked at each time: a mounted secret is replaced in this way."""
    Path("link").symlink_to("target")
    assert expanded("link") == here / "link"
    assert expanded("b/../c", here) == here / "b" / ".." / "c"
