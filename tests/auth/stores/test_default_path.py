"""`FileTokenStore.for_app`: the default path of a token set, one file for each client id and account host."""

from __future__ import annotations

import re
from pathlib import Path

import platformdirs
import pytest
from helpers.support import open_session

from ezeep_async import Endpoints, EzeepSession, FileTokenStore, OAuthApp
from ezeep_async.sandbox import Sandbox


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's state folder is one of the test's own."""
    monkeypatch.setattr(platformdirs, "user_state_path", lambda name: tmp_path / name)
    return tmp_path / "ezeep_async"


IDS = ["abc", "ABC", "Abc", "a/b", "a\\b", "../../x", "..", ".", "CON", "nul.json", "a:b", "a-b", "x" * 5000,
       "x" * 5001, "\u043a\u043b\u044e\u0447", "\u0441", "c", "\u00e9", "e\u0301", "*?", "%2e", "~"]  # shorter than one item a line  # fmt: skip
HOSTS = ["https://account.ezeep.com", "https://account.example.com", "https://account-example.com",
         "https://account.example.com:8443", "http://127.0.0.1:8400", "http://127.0.0.1:8401", "http://[::1]:8400",
         "http://localhost:8400", "https://account.example.com/a", "https://" + ("a" * 60 + ".") * 3 + "com"]  # shorter than one item a line  # fmt: skip


def test_no_two_share_a_file_on_any_file_system(folder: Path) -> None:
    """Compared without case; names of plain characters that every system takes, and not too long for any."""
    names: set[str] = set()
    for host in HOSTS:
        for client_id in IDS:
            path = FileTokenStore.for_app(OAuthApp(client_id), Endpoints(account=host)).path
            assert path.parent == folder
            assert re.fullmatch(r"[a-z0-9][a-z0-9-]*\.json", path.name), path.name
            assert len(f".{path.name}.0123456789abcdef.tmp") < 143  # the shortest limit in use, of eCryptfs
            assert path.stem.upper() not in {"CON", "PRN", "AUX", "NUL"}
            names.add(path.name.casefold())
    assert len(names) == len(IDS) * len(HOSTS)


def test_the_name_is_the_same_tomorrow_and_says_what_it_is(folder: Path) -> None:
    """The next version must find the token set: these names are fixed."""
    app = OAuthApp("My-App.42")
    assert FileTokenStore.for_app(app).path == folder / "my-app-42-96050877b031ad4c.json"
    assert FileTokenStore.for_app(app, Endpoints()).path == FileTokenStore.for_app(app).path
    assert "127-0-0-1-8400" in FileTokenStore.for_app(app, Endpoints("http://127.0.0.1:8400")).path.name
    assert "secret" not in str(FileTokenStore.for_app(OAuthApp("x", "secret")).path)


def test_what_a_file_store_takes_is_passed_on() -> None:
    """`lock_timeout`; and a class of one's own stays one."""

    class Own(FileTokenStore):
        pass

    store = Own.for_app(OAuthApp("x"), lock_timeout=3.0)
    assert type(store) is Own
    assert store._lock_timeout == 3.0


async def test_a_token_set_is_found_again(sandbox: Sandbox, folder: Path) -> None:
    """Stored by one session, used by the next one, and not by another client's."""
    app, endpoints = sandbox.oauth_app, sandbox.endpoints
    async with open_session(
        sandbox, FileTokenStore.for_app(app, endpoints), tokens=sandbox.tokens()
    ) as session:
        await session.accounts.me()
    assert FileTokenStore.for_app(app, endpoints).path.is_file()
    assert folder.stat().st_mode & 0o077 == 0
    async with EzeepSession(app, FileTokenStore.for_app(app, endpoints), endpoints=endpoints) as session:
        await session.accounts.me()
    assert await FileTokenStore.for_app(OAuthApp("another"), endpoints).load() is None
    assert await FileTokenStore.for_app(app).load() is None
