"""What the tests of the command line share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from helpers.organizations import people, write
from helpers.people import Desk
from helpers.support import put, reserved_port

from ezeep_async import FileTokenStore
from ezeep_async.cli.demo import command
from ezeep_async.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _own_log_handlers() -> Iterator[None]:
    """What a command adds to the logger goes with its test."""
    logger = logging.getLogger("ezeep_async")
    before = list(logger.handlers)
    yield
    logger.handlers[:] = before


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A developer's own configuration and logins stay out of it.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(command, "LATENCY_S", 0.0)
    monkeypatch.setattr(command, "JOB_S", 0.0)


@pytest.fixture(autouse=True)
def _relative_paths(_no_blocking: BlockBuster | None) -> None:
    """A command may ask for its working directory in its event loop."""
    if _no_blocking is not None:
        _no_blocking.functions["os.getcwd"].deactivate()


@pytest.fixture
def desk(sandbox: Sandbox, tmp_path: Path) -> Iterator[Desk]:
    with reserved_port() as port:
        yield Desk(sandbox, tmp_path, port)


@pytest.fixture
async def login(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a user who is logged in at the sandbox; also that of this process."""
    path = tmp_path / "login.json"
    await put(FileTokenStore(path), sandbox.tokens())
    environment = {
        "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
        "EZEEP_TOKEN_FILE": str(path),
        "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
        "EZEEP_API_URL": sandbox.endpoints.api,
        "EZEEP_PRINT_URL": sandbox.endpoints.print,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture
def few(sandbox: Sandbox, tmp_path: Path) -> Path:
    """A file with a new group of three."""
    return write(tmp_path / "few.csv", {"New": people(sandbox, 3)})


@pytest.fixture
def emptying(sandbox: Sandbox, tmp_path: Path) -> Path:
    """A file that takes all but one out of Reception, in mode exact."""
    group = next(group for group in sandbox.organization.groups.values() if group.name == "Reception")
    member = next(user for user in sandbox.organization.listed_users() if group.id in user.groups)
    return write(tmp_path / "emptying.csv", {"Reception": [sandbox.organization.people[member.id].email]})
