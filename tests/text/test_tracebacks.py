"""What tools that print local variables show of an error (rich, Sentry, `pytest --showlocals`): no secret of ours.

Every error that any test catches is looked at in this way, by `watch.py`. Here are those that no other test causes, the
blocking twin and the command line, and the two means themselves.
"""

from __future__ import annotations

import asyncio
import copy
import io
import json
import pickle
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from helpers.support import TOKEN, expired, put, sandbox_in_a_thread
from helpers.watch import TESTS, Watch
from multidict import CIMultiDict
from rich.console import Console
from rich.traceback import Traceback

from ezeep_async import (
    AuthorizationDenied,
    AuthorizationRequest,
    EzeepSession,
    FileTokenStore,
    MemoryTokenStore,
    OAuthApp,
    Pairing,
    RedisTokenStore,
    Settings,
    TokenSet,
    run_sync,
)
from ezeep_async._text.redaction import Secret, clears_arguments, clears_locals
from ezeep_async.cli.main import main
from ezeep_async.sandbox import Sandbox
from ezeep_async.settings import Endpoints


PASSWORD = "correct-horse-battery"
CODE = "a-code-that-works-once"
VERIFIER = "a-verifier-of-43-characters-or-more-0123456789"
CLIENT_SECRET = "s3cr3t-of-the-client"
LIMITS = Settings(refresh_timeout=0.3, retries=0)
SECRETS = {PASSWORD, CODE, VERIFIER, CLIENT_SECRET}


def printed(error: BaseException) -> str:
    """The traceback with variables, as the standard library and as rich print it, without the frames of tests that lead to it."""
    each: BaseException | None = error
    while each is not None:
        trace = each.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(TESTS):
            trace = trace.tb_next
        each.__traceback__ = trace
        each = each.__cause__ or each.__context__
    plain = traceback.TracebackException.from_exception(error, capture_locals=True)
    file = io.StringIO()
    rich = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True)
    Console(file=file, width=200).print(rich)
    return "".join(plain.format()) + file.getvalue()


def assert_no_secret_in(error: BaseException, watch: Watch) -> None:
    text = printed(error)
    leaked = [secret for secret in watch.secrets | SECRETS if secret in text]
    assert leaked == [], text


# --- a string that does not show itself


def test_a_secret_is_a_string_to_encoders_and_redacted_to_people() -> None:
    """Its parts too: rich takes the first 80 characters of a long string, and shows those."""
    secret = Secret(VERIFIER)
    for text in (repr(secret), ascii(secret), f"{secret!r}", repr({"a": [secret]}), repr(secret[:20])):
        assert VERIFIER[:8] not in text
    assert "Secret" in repr(CIMultiDict({"Authorization": secret}))
    assert f"Bearer {secret}" == "Bearer " + VERIFIER
    assert json.loads(json.dumps({"a": secret})) == {"a": VERIFIER}
    for twin in (copy.deepcopy(secret), pickle.loads(pickle.dumps(secret))):
        assert (twin, type(twin)) == (VERIFIER, Secret)
    assert type(str(secret)) is str


def test_what_callers_read_is_a_plain_string(sandbox_tokens: TokenSet) -> None:
    """msgspec encodes no subclass of `str`, and a custom token store may use msgspec."""
    assert type(sandbox_tokens.access_token) is str
    assert msgspec.json.decode(msgspec.json.encode(sandbox_tokens))["access_token"] == "access-0123456789"


@pytest.fixture
def sandbox_tokens() -> TokenSet:
    return TokenSet.from_response({"access_token": "access-0123456789", "refresh_token": "r" * 20})


# --- frames that are cleared


async def _raise(secret: str) -> None:
    try:
        await asyncio.sleep(0)
        raise LookupError("inside")
    except LookupError as error:
        raise ValueError("outside") from error


@pytest.mark.parametrize(
    "act",
    [clears_locals(_raise), clears_locals(lambda secret: asyncio.run(_raise(secret)))],
    ids=["async", "blocking"],
)
@pytest.mark.may_block
def test_frames_stay_and_their_variables_go(act: Callable[[str], Any]) -> None:
    async def run() -> None:
        await act(CODE)

    with pytest.raises(ValueError, match="outside") as caught:
        if asyncio.iscoroutinefunction(act):
            asyncio.run(run())
        else:
            act(CODE)
    frames = [*traceback.walk_tb(caught.value.__traceback__)]
    assert frames[-1][0].f_code.co_name == "_raise"
    assert frames[-1][0].f_locals == {}
    assert [frame.f_locals for frame, _ in traceback.walk_tb(caught.value.__cause__.__traceback__)] == [{}]
    assert "run_async" not in {frame.f_code.co_name for frame, _ in frames}


async def test_what_the_caller_was_handling_keeps_its_variables() -> None:
    """The context of our error may be an error of the caller's: that is not ours to clear."""

    def fails() -> None:
        detail = "kept"
        raise LookupError(detail)

    with pytest.raises(ValueError, match="outside") as caught:
        try:
            fails()
        except LookupError:
            await clears_locals(_raise)(CODE)
    context = caught.value
    while not (isinstance(context, LookupError) and context.args == ("kept",)):
        context = context.__context__
    assert traceback.extract_tb(context.__traceback__)[-1].name == "fails"
    assert [f.f_locals for f, _ in traceback.walk_tb(context.__traceback__)][-1] == {"detail": "kept"}


def test_a_group_is_cleared_with_its_members() -> None:
    @clears_locals
    def fails(secret: str) -> None:
        def one(secret: str) -> ValueError:
            try:
                raise ValueError("one")
            except ValueError as error:
                return error

        raise ExceptionGroup("two", [one(secret), one(secret)])

    with pytest.raises(ExceptionGroup) as caught:
        fails(CODE)
    for each in caught.value.exceptions:
        assert [frame.f_locals for frame, _ in traceback.walk_tb(each.__traceback__)] == [{}]


def test_arguments_that_do_not_fit_are_not_shown() -> None:
    @clears_arguments
    class Wants:
        def __init__(self, one: str) -> None: ...

    with pytest.raises(TypeError) as caught:
        Wants(CODE, PASSWORD)
    assert CODE not in printed(caught.value)


# --- what the package raises


@pytest.mark.parametrize(
    "make",
    [
        lambda: OAuthApp("", CLIENT_SECRET),
        lambda: OAuthApp("id", CLIENT_SECRET + "\ud800"),
        lambda: TokenSet(CODE + "\n", VERIFIER, None),
        lambda: TokenSet.from_response({"refresh_token": VERIFIER}),
        lambda: Settings(proxy=f"socks5://user:{PASSWORD}@proxy.example"),
        lambda: Settings(proxy_auth=("user", PASSWORD), retries=-1),
        lambda: Endpoints(f"https://user:{PASSWORD}@account.example"),
        lambda: Endpoints.from_env({"EZEEP_API_URL": "http://api.example", "EZEEP_CLIENT_SECRET": CLIENT_SECRET}),
        lambda: EzeepSession.from_env({"EZEEP_CLIENT_SECRET": CLIENT_SECRET}),
        lambda: RedisTokenStore(f"redis://user:{PASSWORD}@host:port"),
        lambda: RedisTokenStore("redis://localhost", encryption_key=VERIFIER),
    ],
)  # shorter than one item a line  # fmt: skip
def test_arguments_that_are_refused_are_not_shown(make: Callable[[], object], watch: Watch) -> None:
    with pytest.raises(Exception) as caught:
        make()
    assert_no_secret_in(caught.value, watch)


LOGINS: dict[str, Callable[[EzeepSession], Awaitable[object]]] = {
    "a code": lambda session: session.oauth.exchange_code(CODE, VERIFIER),
    "half a code": lambda session: session.oauth.exchange_code(CODE + "\ud800", VERIFIER),
    "half a verifier": lambda session: session.oauth.exchange_code(CODE, VERIFIER + "\ud800"),
    "no code": lambda session: session.oauth.exchange_code(CODE.encode(), VERIFIER),
    "a password": lambda session: session.oauth.login_with_password("user@example.com", PASSWORD),
    "half a password": lambda session: session.oauth.login_with_password("user", PASSWORD + "\ud800"),
    "a pairing": lambda session: session.oauth.wait_for_pairing(
        Pairing(CODE, "https://account.example/" + CODE), timeout=0
    ),
    "another state": lambda session: session.oauth.complete(
        f"http://127.0.0.1/callback?code={CODE}&state=other",
        AuthorizationRequest("https://account.example/?state=" + VERIFIER, PASSWORD, VERIFIER),
    ),
    "declined": lambda session: session.oauth.complete(
        f"http://127.0.0.1/callback?error=access_denied&code={CODE}&state={PASSWORD}",
        AuthorizationRequest("https://account.example/?state=" + VERIFIER, PASSWORD, VERIFIER),
    ),
    "no address": lambda session: session.oauth.complete(
        f"http://[{CODE}", AuthorizationRequest("https://account.example/", PASSWORD, VERIFIER)
    ),
}
TROUBLE: dict[str, dict[str, Any]] = {
    "refused": {},
    "lost": {"drop": "after"},
    "unreadable": {"status": 200, "body": b'{"access_token": "%s", "refresh_token": [' % CODE.encode()},
    "in a cookie": {"status": 200, "body": b"{}", "headers": {"Set-Cookie": f"refresh_token={CODE}"}},
    "echoed": {"status": 400, "body": f'{{"error": "invalid_grant", "echo": "{CODE} {PASSWORD}"}}'},
}


def session_in(sandbox: Sandbox, **options: Any) -> EzeepSession:
    app = OAuthApp(sandbox.oauth_app.client_id, CLIENT_SECRET, "http://127.0.0.1/callback")
    return EzeepSession(app, endpoints=sandbox.endpoints, settings=LIMITS, **options)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLE)
async def test_a_login_that_fails(sandbox: Sandbox, watch: Watch, trouble: str) -> None:
    if TROUBLE[trouble]:
        sandbox.faults.add(TOKEN, times=None, **TROUBLE[trouble])
    async with session_in(sandbox) as session:
        for login in LOGINS.values():
            with pytest.raises(Exception) as caught:
                await login(session)
            assert_no_secret_in(caught.value, watch)


@pytest.mark.slow
@pytest.mark.may_block
def test_a_login_that_fails_in_blocking_code(watch: Watch) -> None:
    with sandbox_in_a_thread() as sandbox, run_sync(session_in(sandbox)) as session:
        for login in LOGINS.values():
            with pytest.raises(Exception) as caught:
                login(session)
            assert_no_secret_in(caught.value, watch)


CALLS: dict[str, dict[str, Any]] = {
    "an error": {"status": 500},
    "a cut": {"drop": "before"},
    "no JSON": {"status": 200, "body": b"<html>"},
    "a redirect": {"status": 302, "headers": {"Location": "https://elsewhere.example/"}},
    "a time limit": {"delay": 2.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", CALLS)
@pytest.mark.parametrize("borrowed", [False, True], ids=["owned", "borrowed"])
async def test_a_call_that_fails(sandbox: Sandbox, watch: Watch, fault: str, *, borrowed: bool) -> None:
    """With the caller's own time limit too: the error is then a `TimeoutError`, whose cause has been through aiohttp."""
    sandbox.faults.add("POST /printing/v1/groups/", times=None, **CALLS[fault])
    async with aiohttp.ClientSession() as http:
        options = {"http": http} if borrowed else {}
        async with session_in(sandbox, store=MemoryTokenStore(sandbox.tokens()), **options) as session:
            group = await session.groups.list().first()
            assert group is not None
            with pytest.raises(Exception) as caught:
                async with asyncio.timeout(0.5):
                    await session.groups.create("Finance", group.organization_id)
    assert_no_secret_in(caught.value, watch)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", [{"status": 400, "body": '{"error": "invalid_grant"}'}, {"drop": "after"}, {"delay": 2.0}]
)
async def test_a_refresh_that_fails(
    sandbox: Sandbox, watch: Watch, fault: dict[str, Any], tmp_path: Path
) -> None:  # shorter than one item a line  # fmt: skip
    sandbox.faults.add(TOKEN, times=None, **fault)
    store = FileTokenStore(tmp_path / "login.json")
    await put(store, expired(sandbox.tokens()))
    session = session_in(sandbox, store=store)
    for call in (session.accounts.me, session.oauth.refresh, session.oauth.revoke):
        with pytest.raises((Exception, asyncio.CancelledError)) as caught:
            async with asyncio.timeout(0.5):
                await call()
        assert_no_secret_in(caught.value, watch)
    await session.aclose()


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", ['{"version": 9, "token": {"refresh_token": "%s"}}', '{"x": "%s"', "%s\x00"]
)
async def test_a_token_file_that_cannot_be_used(tmp_path: Path, watch: Watch, content: str) -> None:
    path = tmp_path / "login.json"
    path.write_text(content % VERIFIER)
    store = FileTokenStore(path)
    for act in (store.load, lambda: store.save(TokenSet.from_response({"access_token": CODE}))):
        with pytest.raises(Exception) as caught:
            async with store.lock():
                await act()
        assert_no_secret_in(caught.value, watch)


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.parametrize("given", ["", PASSWORD + "\n"])
def test_a_fault_inside_a_command(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str
) -> None:
    """A fault of ours keeps its traceback, and shows neither the configuration nor what was typed."""
    config = tmp_path / "config.toml"
    config.write_text(f'client_id = "id"\nclient_secret = "{CLIENT_SECRET}"\ntoken_file = "login.json"\n')
    monkeypatch.setenv("EZEEP_CONFIG", str(config))

    async def fails(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("ezeep_async.auth.refresher.Refresher.log_in", fails)
    monkeypatch.setattr("ezeep_async.cli.terminal.prompts._read_line", lambda: given or PASSWORD)
    with pytest.raises(ZeroDivisionError) as caught:
        main(["login", "--password", "--username", "user"])
    assert_no_secret_in(caught.value, watch)
    assert "login" in {frame.name for frame in traceback.extract_tb(caught.value.__traceback__)}
    assert not isinstance(caught.value, AuthorizationDenied)
