"""Logging in and out against the sandbox: every grant, every refusal."""

from __future__ import annotations

import asyncio
import base64
import inspect

import attrs
import pytest
from helpers.browser import decide
from helpers.support import ME, QUICK, TOKEN, expired, open_session
from yarl import URL

from ezeep_async import (
    AuthenticationError,
    AuthorizationDenied,
    Endpoints,
    EzeepSession,
    FileTokenStore,
    MemoryTokenStore,
    OAuthApp,
    OutcomeUnknown,
    PairingTimeout,
    ReauthorizationRequired,
    StateMismatch,
    TokenSet,
    TransientAuthError,
    UnexpectedResponse,
)
from ezeep_async.auth.app import code_challenge
from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD, Sandbox


REVOKE = "POST /oauth/revoke/"


@pytest.fixture
async def empty(sandbox: Sandbox):
    """A session without a token set."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        yield session


def test_the_basic_header_is_that_of_the_document() -> None:
    """9-4: with no secret the colon stays; the seed document's own example header comes out."""
    app = OAuthApp("78KYzeX5wS8r0FYz9KdvNt9xHMRA61PJK80IHwNj")
    assert app.basic_authorization() == "Basic NzhLWXplWDV3UzhyMEZZejlLZHZOdDl4SE1SQTYxUEpLODBJSHdOajo="
    assert base64.b64decode(OAuthApp("id", "se:cret").basic_authorization()[6:]) == b"id:se:cret"
    assert "cret" not in repr(OAuthApp("id", "secret"))


def test_the_authorization_address_has_every_documented_parameter() -> None:
    """9-4: response_type, client_id, redirect_uri, scope, state, social, prompt, and PKCE with S256."""
    session = EzeepSession(OAuthApp("id", redirect_uri="https://app.example/back?x=1"))
    request = session.oauth.authorization_request(social="azure", prompt="none")
    url = URL(request.url)
    assert str(url.with_query(None)) == "https://account.ezeep.com/oauth/authorize/"
    assert dict(url.query) == {
        "response_type": "code",
        "client_id": "id",
        "redirect_uri": "https://app.example/back?x=1",
        "scope": "printing",
        "state": request.state,
        "social": "azure",
        "prompt": "none",
        "code_challenge": code_challenge(request.code_verifier),
        "code_challenge_method": "S256",
    }
    assert request.state not in repr(request)
    assert request.code_verifier not in repr(request)


def test_pkce_is_the_example_of_the_rfc() -> None:
    """RFC 7636 appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert code_challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_state_and_verifier_are_new_each_time_and_may_be_given() -> None:
    """9-4: random by default."""
    oauth = EzeepSession(OAuthApp("id", redirect_uri="https://app.example/")).oauth
    requests = [oauth.authorization_request() for _ in range(20)]
    assert (
        len({request.state for request in requests} | {request.code_verifier for request in requests}) == 40
    )
    assert all(len(request.code_verifier) >= 43 for request in requests)
    assert oauth.authorization_request(state="mine", scope="").state == "mine"


def test_an_app_without_a_redirect_uri_cannot_use_the_code_login() -> None:
    """Said before anything is sent."""
    with pytest.raises(ValueError, match="redirect_uri"):
        EzeepSession(OAuthApp("id")).oauth.authorization_request()


async def test_the_whole_code_login(sandbox: Sandbox, empty: EzeepSession) -> None:
    """From the consent page to the first call, with PKCE checked by the server."""
    request = empty.oauth.authorization_request()
    status, location = await decide(request.url)
    assert status == 302
    tokens = await empty.oauth.complete(location, request)
    assert isinstance(tokens, TokenSet)
    assert (await empty.accounts.me()).email == SANDBOX_ADMIN
    assert sandbox.refresh_requests == 0


async def test_a_code_works_once(empty: EzeepSession) -> None:
    """The second exchange is refused, and the first login is kept."""
    request = empty.oauth.authorization_request()
    _, location = await decide(request.url)
    code = URL(location).query["code"]
    await empty.oauth.exchange_code(code, request.code_verifier)
    with pytest.raises(AuthorizationDenied, match="invalid_grant") as caught:
        await empty.oauth.exchange_code(code, request.code_verifier)
    assert code not in str(caught.value) + repr(caught.value.__cause__)
    await empty.accounts.me()


async def test_a_wrong_verifier_is_refused(empty: EzeepSession) -> None:
    """PKCE: the code alone is worth nothing."""
    request = empty.oauth.authorization_request()
    _, location = await decide(request.url)
    with pytest.raises(AuthorizationDenied):
        await empty.oauth.exchange_code(URL(location).query["code"], "w" * 43)


@pytest.mark.parametrize("change", ["another", "", None])
async def test_a_forged_state_is_refused(sandbox: Sandbox, empty: EzeepSession, change: str | None) -> None:
    """Another state, an empty one, none: StateMismatch, and nothing is sent."""
    request = empty.oauth.authorization_request()
    _, location = await decide(request.url)
    url = URL(location)
    query = {"code": url.query["code"]} | ({} if change is None else {"state": change})
    with pytest.raises(
        StateMismatch, match="not the one of this login" if change else "no state: it is incomplete"
    ):
        await empty.oauth.complete(str(url.with_query(query)), request)
    assert sandbox.count(TOKEN) == 0


async def test_declining_is_an_error_of_its_own(empty: EzeepSession) -> None:
    """`?error=access_denied` becomes AuthorizationDenied; a redirect with nothing in it too."""
    request = empty.oauth.authorization_request()
    _, location = await decide(request.url, "deny")
    with pytest.raises(AuthorizationDenied, match="declined: access_denied: The person") as caught:
        await empty.oauth.complete(location, request)
    assert caught.value.error == "access_denied"
    with pytest.raises(AuthorizationDenied, match="no authorization code"):
        await empty.oauth.complete(f"http://127.0.0.1:8400/callback?state={request.state}", request)


async def test_an_unregistered_redirect_uri_never_redirects(sandbox: Sandbox) -> None:
    """The server says so on a page of its own."""
    app = attrs.evolve(sandbox.oauth_app, redirect_uri="https://evil.example/")
    request = EzeepSession(app, endpoints=sandbox.endpoints).oauth.authorization_request()
    status, text = await decide(request.url)
    assert status == 400
    assert "evil.example" not in text or "not registered" in text


async def test_a_cancelled_login_is_kept_all_the_same(sandbox: Sandbox) -> None:
    """A code works once: the caller is gone, the login is in the store."""
    store = MemoryTokenStore()
    async with open_session(sandbox, store) as session:
        request = session.oauth.authorization_request()
        _, location = await decide(request.url)
        hold = sandbox.faults.hold(TOKEN, after=True)
        login = asyncio.create_task(session.oauth.complete(location, request))
        await hold.arrived()
        login.cancel()
        await asyncio.wait({login})
        hold.release()
    assert await store.load() is not None


async def test_the_scope_of_a_refresh_may_be_empty(sandbox: Sandbox) -> None:
    """An empty scope in a refresh response keeps the scope."""
    async with open_session(sandbox) as session:
        assert (await session.oauth.refresh()).scope == "printing"


async def test_revoke_ends_the_login_here_and_there(sandbox: Sandbox, tmp_path) -> None:
    """At the server and in the store; afterwards a person must log in again."""
    store = FileTokenStore(tmp_path / "login.json")
    tokens = sandbox.tokens()
    async with open_session(sandbox, store, tokens=tokens) as session:
        await session.accounts.me()
        await session.oauth.revoke()
        assert await store.load() is None
        with pytest.raises(ReauthorizationRequired, match="not logged in"):
            await session.accounts.me()
        await session.oauth.revoke()
    assert sandbox.count(REVOKE) == 1
    async with open_session(sandbox, stored=expired(tokens)) as session:
        with pytest.raises(ReauthorizationRequired):
            await session.accounts.me()


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": "before"}])
async def test_a_revoke_that_fails_keeps_the_login(sandbox: Sandbox, fault: dict[str, object]) -> None:
    """The server did not revoke the token set, so the store keeps it."""
    store = MemoryTokenStore(sandbox.tokens())
    sandbox.faults.add(REVOKE, **fault)
    async with open_session(sandbox, store) as session:
        with pytest.raises(TransientAuthError):
            await session.oauth.revoke()
        assert await store.load() is not None
        await session.accounts.me()


async def test_pairing_a_device(sandbox: Sandbox, empty: EzeepSession) -> None:
    """Ask until a person has confirmed in a browser."""
    pairing = await empty.oauth.pair(hardware_id="abc")
    assert pairing.pairing_code not in repr(pairing)
    hold = sandbox.faults.hold(TOKEN, times=1)
    waiting = asyncio.create_task(empty.oauth.wait_for_pairing(pairing, interval=0.02, timeout=10))
    await hold.arrived()
    hold.release()
    await decide(pairing.auth_url)
    await waiting
    assert (await empty.accounts.me()).email == SANDBOX_ADMIN


async def test_a_declined_pairing(empty: EzeepSession) -> None:
    """A definite refusal ends the polling."""
    pairing = await empty.oauth.pair()
    await decide(pairing.auth_url, "deny")
    with pytest.raises(AuthorizationDenied):
        await empty.oauth.wait_for_pairing(pairing, interval=0.01, timeout=5)


async def test_an_unconfirmed_pairing_times_out(empty: EzeepSession) -> None:
    """PairingTimeout, which is a TimeoutError too."""
    pairing = await empty.oauth.pair(mode="device")
    with pytest.raises(PairingTimeout) as caught:
        await empty.oauth.wait_for_pairing(pairing, interval=0.02, timeout=0.1)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, AuthenticationError)


async def test_a_pairing_is_looked_at_once_more_at_the_end(sandbox: Sandbox, empty: EzeepSession) -> None:
    """An interval that does not fit any more is no reason to give up early: all of `timeout` is the person's."""
    pairing = await empty.oauth.pair()
    hold = sandbox.faults.hold(TOKEN, after=True, times=1)
    waiting = asyncio.create_task(empty.oauth.wait_for_pairing(pairing, interval=100.0, timeout=0.1))
    await hold.arrived()
    await decide(pairing.auth_url)
    hold.release()
    await waiting
    assert sandbox.count(TOKEN) == 2
    assert (await empty.accounts.me()).email == SANDBOX_ADMIN


async def test_a_time_limit_of_none_is_one_look(sandbox: Sandbox, empty: EzeepSession) -> None:
    pairing = await empty.oauth.pair()
    with pytest.raises(PairingTimeout):
        await empty.oauth.wait_for_pairing(pairing, timeout=0.0)
    assert sandbox.count(TOKEN) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400, "body": '{"error": "some_new_word"}'},
        {"status": 400, "body": "not yet"},
        {"status": 503},
        {"drop": "before"},
    ],
    ids=str,
)
async def test_what_is_no_refusal_means_ask_again(sandbox: Sandbox, empty: EzeepSession, fault) -> None:
    """The response before the confirmation is not documented: only a definite refusal ends the polling."""
    pairing = await empty.oauth.pair()
    await decide(pairing.auth_url)
    sandbox.faults.add(TOKEN, **fault)
    await empty.oauth.wait_for_pairing(pairing, interval=0.01, timeout=5)
    assert sandbox.count(TOKEN) == 2


@pytest.mark.slow
async def test_slow_down_makes_the_interval_longer(
    sandbox: Sandbox, empty: EzeepSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 8628 section 3.5."""
    monkeypatch.setattr("ezeep_async.auth.oauth.SLOW_DOWN_S", 100.0)
    pairing = await empty.oauth.pair()
    sandbox.faults.add(TOKEN, status=400, body='{"error": "slow_down"}')
    with pytest.raises(PairingTimeout):
        await empty.oauth.wait_for_pairing(pairing, interval=0.01, timeout=0.5)
    assert sandbox.count(TOKEN) == 2  # the first, and the one at the end


async def test_pairing_modes_are_checked(sandbox: Sandbox, empty: EzeepSession) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match="mode"):
        await empty.oauth.pair(mode="printer")
    assert not sandbox.requests


async def test_the_password_grant(sandbox: Sandbox, empty: EzeepSession) -> None:
    """For client ids that are enabled for it; refused plainly for the others, and for a wrong password."""
    with pytest.raises(AuthenticationError, match="unauthorized_client"):
        await empty.oauth.login_with_password(SANDBOX_ADMIN, SANDBOX_PASSWORD)
    sandbox.behaviour.password_grant = True
    with pytest.raises(AuthorizationDenied) as caught:
        await empty.oauth.login_with_password(SANDBOX_ADMIN, "wrong-horse")
    assert "wrong-horse" not in str(caught.value)
    await empty.oauth.login_with_password(SANDBOX_ADMIN, SANDBOX_PASSWORD)
    assert (await empty.accounts.me()).email == SANDBOX_ADMIN


async def test_a_client_secret_is_used(sandbox: Sandbox) -> None:
    """The Basic header carries it; a wrong one is invalid_client."""
    sandbox.behaviour.client_secret = "hush-hush"
    app = attrs.evolve(sandbox.oauth_app, client_secret="hush-hush")
    stored = expired(sandbox.tokens())
    async with EzeepSession(app, MemoryTokenStore(stored), endpoints=sandbox.endpoints) as session:
        await session.accounts.me()
    wrong = attrs.evolve(app, client_secret="wrong")
    async with EzeepSession(
        wrong, MemoryTokenStore(expired(sandbox.tokens())), endpoints=sandbox.endpoints
    ) as session:
        with pytest.raises(AuthenticationError, match="invalid_client"):
            await session.accounts.me()


async def test_a_refresh_token_that_comes_as_a_cookie_is_explained(
    sandbox: Sandbox, empty: EzeepSession
) -> None:
    """9-5: cookies are neither kept nor sent, and the error says so."""
    sandbox.faults.add(TOKEN, status=200, body="{}", headers={"Set-Cookie": "refresh_token=abc; Path=/"})
    with pytest.raises(OutcomeUnknown, match="cookie"):
        await empty.oauth.exchange_code("code")


async def test_oauth_works_on_a_session_that_was_not_entered(sandbox: Sandbox) -> None:
    """The first call opens it, whichever it is."""
    session = EzeepSession(sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints)
    await session.oauth.refresh()
    await session.accounts.me()
    assert sandbox.count(ME) == 1
    await session.aclose()
    await session.aclose()


async def test_from_env(sandbox: Sandbox, tmp_path) -> None:
    """Client, token file and endpoints from the environment; without a client id it is said plainly."""
    with pytest.raises(ValueError, match="EZEEP_CLIENT_ID"):
        EzeepSession.from_env({})
    environ = {
        "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
        "EZEEP_REDIRECT_URI": "http://127.0.0.1:8400/callback",
        "EZEEP_TOKEN_FILE": str(tmp_path / "login.json"),
        "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
        "EZEEP_API_URL": sandbox.endpoints.api,
    }
    async with EzeepSession.from_env(environ) as session:
        request = session.oauth.authorization_request()
        _, location = await decide(request.url)
        await session.oauth.complete(location, request)
    async with EzeepSession.from_env(environ) as session:
        assert (await session.accounts.me()).email == SANDBOX_ADMIN


async def test_2_13_from_env_with_a_token_that_another_process_refreshes(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """2-13: the token of the environment is used; a warning at the start says that it is not refreshed."""
    environ = {
        "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
        "EZEEP_ACCESS_TOKEN": sandbox.tokens().access_token,
        "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
        "EZEEP_API_URL": sandbox.endpoints.api,
    }
    async with EzeepSession.from_env(environ) as session:
        assert "rotation cannot be persisted" in caplog.text
        assert (await session.accounts.me()).email == SANDBOX_ADMIN


@pytest.mark.slow
@pytest.mark.parametrize("path", [REVOKE, "POST /oauth/pair/"])
async def test_every_oauth_request_has_a_time_limit(sandbox: Sandbox, path: str) -> None:
    """A server that never responds holds neither the caller nor the store's lock for longer than `refresh_timeout`."""
    hold = sandbox.faults.hold(path)
    settings = attrs.evolve(QUICK, refresh_timeout=2.0)
    async with open_session(sandbox, stored=sandbox.tokens(), settings=settings) as session:
        with pytest.raises(TransientAuthError, match="no response from the account service"):
            await (session.oauth.revoke() if path == REVOKE else session.oauth.pair())
        await session.oauth.refresh()
    hold.release()


def _everything_in(error: BaseException | None) -> str:
    text = ""
    while error is not None:
        text += f"{error!s} {error!r} {vars(error)!r} "
        error = error.__cause__ or error.__context__
    return text


async def test_8_3_half_a_login_is_in_no_error(sandbox: Sandbox, empty: EzeepSession) -> None:
    """8-3: a truncated response of the token endpoint contains tokens: they are in no message, attribute or cause."""
    body = '{"access_token": "planted-access", "refresh_token": "planted-refresh", "expires_in": 36'
    sandbox.faults.add(TOKEN, times=None, status=200, body=body)
    with pytest.raises(OutcomeUnknown) as code_login:
        await empty.oauth.exchange_code("planted-code")
    async with open_session(sandbox) as session:
        with pytest.raises(TransientAuthError) as refresh:
            await session.oauth.refresh()
    sandbox.faults.add("POST /oauth/pair/", status=200, body='{"pairing_code": "planted-pairing"}')
    with pytest.raises(UnexpectedResponse) as pairing:
        await empty.oauth.pair()
    for caught in (code_login, refresh, pairing):
        assert "planted" not in _everything_in(caught.value)


async def test_8_4_oauth_requests_have_an_id_too(sandbox: Sandbox, empty: EzeepSession) -> None:
    """8-4: every request carries X-Request-ID, and the error names it."""
    with pytest.raises(AuthorizationDenied) as caught:
        await empty.oauth.exchange_code("nonsense")
    assert caught.value.request_id
    assert sandbox.requests[-1].headers["X-Request-ID"] == caught.value.request_id


def test_8_3_help_shows_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """8-3: what is in the environment is no default value, so documentation tools cannot print it."""
    assert inspect.signature(EzeepSession.from_env).parameters["environ"].default is None
    assert inspect.signature(Endpoints.from_env).parameters["environ"].default is None
    monkeypatch.setenv("EZEEP_CLIENT_ID", "from-the-environment")
    assert "from-the-environment" in repr(EzeepSession.from_env())
