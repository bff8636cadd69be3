"""`session.oauth` and `pool.oauth`: logging in, refreshing and logging out."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable

import attrs
from yarl import URL

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._text.redaction import Secret, clears_locals
from ezeep_async._wire.requests import checked_text
from ezeep_async.auth.app import (
    AuthorizationRequest,
    OAuthApp,
    code_challenge,
    code_from_callback,
    scope_text,
)
from ezeep_async.auth.refresher import Refresher
from ezeep_async.auth.token_endpoint import (
    PAIR_PATH,
    REVOKE_PATH,
    TokenEndpoint,
    is_ambiguous,
    is_unprocessed,
    pairing_from,
)
from ezeep_async.auth.tokens import CLIENT_CREDENTIALS, TokenSet
from ezeep_async.errors import (
    AuthenticationError,
    AuthorizationDenied,
    OutcomeUnknown,
    PairingTimeout,
    UnexpectedResponse,
)
from ezeep_async.settings import Endpoints


SLOW_DOWN_S = 5.0
"""Seconds that `slow_down` adds to the polling interval (RFC 8628 section 3.5)."""
LONGEST_CODE = 8192
"""Characters of an authorization code."""
_MISCONFIGURED = frozenset(
    {"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
)
"""Error codes that a person in a browser cannot change."""


@attrs.frozen
class Pairing:
    """A device that waits until a person confirms it in a browser."""

    pairing_code: str = attrs.field(repr=False)
    """Secret: it is exchanged for the token set."""
    auth_url: str = attrs.field(repr=False)
    """Address that the person opens. It contains the code: show it to that person only."""


@attrs.frozen(eq=False, repr=False)
class OAuthLogin:
    """Logs in. `session.oauth` stores the token set and returns it, `pool.oauth` returns it without storing it.

    Note:
        docs/ezeep-api.md#oauth2
    """

    _app: OAuthApp
    _endpoints: Endpoints
    _endpoint: TokenEndpoint
    _prepare: Callable[[], Awaitable[None]]
    _log_in: Callable[[Callable[[], Awaitable[TokenSet]]], Awaitable[TokenSet]]
    """Sends the request, and stores the token set or not."""

    @clears_locals
    def authorization_request(
        self,
        state: str | None = None,
        social: str | None = None,
        prompt: str | None = None,
        scope: str | Iterable[str] | None = None,
    ) -> AuthorizationRequest:
        """Create the address of the consent page, with a random state and PKCE.

        Args:
            state: Value that comes back in the redirect; random by default. Not empty.
            social: Identity provider: `"azure"` opens the page of Microsoft directly.
            prompt: `"none"` omits the account picker of the identity provider.
            scope: OAuth scopes, as for `OAuthApp`; those of the app by default.

        Returns:
            The request. Keep it until the redirect arrives, and pass it to `complete`.

        Raises:
            ValueError: The app has no redirect URI, or `state` is empty.

        Note:
            RFC 6749 section 4.1.1, RFC 7636.
        """
        app = self._app
        if app.redirect_uri is None:
            raise ValueError("a login in a browser needs OAuthApp(redirect_uri=...)")
        if state == "":
            raise ValueError("state is empty, which anyone could forge: omit it to get a random one")
        state = secrets.token_urlsafe(24) if state is None else state
        verifier = secrets.token_urlsafe(48)
        query = {
            "response_type": "code",
            "client_id": app.client_id,
            "redirect_uri": app.redirect_uri,
            "scope": app.scope if scope is None else scope_text(scope),
            "state": state,
            "code_challenge": code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        optional = {"social": social, "prompt": prompt}
        query |= {name: value for name, value in optional.items() if value is not None}
        url = URL(self._endpoints.account + "/oauth/authorize/").with_query(query)
        return AuthorizationRequest(str(url), state, verifier, app.redirect_uri)

    @clears_locals
    async def complete(self, callback_url: str, request: AuthorizationRequest) -> TokenSet:
        """Finish a login with the redirect of the browser.

        Args:
            callback_url: Complete address that the browser was redirected to, with its query.
            request: What `authorization_request` returned for this login.

        Returns:
            The token set, which `session.oauth` has stored.

        Raises:
            StateMismatch: The redirect belongs to another login.
            AuthorizationDenied: The redirect contains an error or no code, or the server rejected the code.
            OutcomeUnknown: See `exchange_code`.
            TransientAuthError: See `exchange_code`.
        """
        code = code_from_callback(callback_url, request)
        return await self._exchange_code(
            code, request.redirect_uri or self._app.redirect_uri, request.code_verifier
        )

    @clears_locals
    async def exchange_code(self, code: str, code_verifier: str | None = None) -> TokenSet:
        """Exchange an authorization code for a token set.

        A code works once: after anything was sent, the exchange is not repeated.

        Args:
            code: Authorization code of the redirect; at most 8192 characters.
            code_verifier: `code_verifier` of the `AuthorizationRequest`; None if the request had no PKCE.

        Returns:
            The token set, which `session.oauth` has stored.

        Raises:
            AuthorizationDenied: The server rejected the code.
            OutcomeUnknown: The response was lost or cannot be decoded. Start the login again.
            TransientAuthError: The code was not used. Call again.

        Note:
            RFC 6749 section 4.1.3.
        """
        checked_text(code, "code", shortest=1, longest=LONGEST_CODE, secret=True)
        return await self._exchange_code(code, self._app.redirect_uri, code_verifier)

    @clears_locals
    async def login_with_password(self, username: str, password: str) -> TokenSet:
        """Log in with a password. Only for client ids that are enabled for it.

        Args:
            username: E-mail address of the user.
            password: Password of the user.

        Returns:
            The token set, which `session.oauth` has stored.

        Raises:
            AuthorizationDenied: The server rejected the password.
            TransientAuthError: There was no usable response. Call again.

        Note:
            RFC 6749 section 4.3.
        """
        checked_text(username, "username", shortest=1)
        if not isinstance(password, str):
            raise ValueError("password must be a str")
        await self._prepare()
        form = self._grant("password", username=username, password=Secret(password))
        return await self._log_in(lambda: self._endpoint.tokens(form))

    @clears_locals
    async def login_with_client_credentials(self) -> TokenSet:
        """Get a token set for the app itself, without a person. Only for partner apps, with a secret.

        The server issues no refresh token. When the access token expires, the session requests another one with the
        client id and secret, in place of a refresh: one request at a time, with the store locked. The token set records
        this, so other processes that share the store do the same.

        Returns:
            The token set. Its `grant` is `"client_credentials"`, and its `refresh_token` is empty.

        Raises:
            ValueError: The app has no client secret.
            AuthenticationError: The server rejected the client, or does not allow it this grant.
            TransientAuthError: There was no usable response. Call again.

        Note:
            docs/ezeep-api.md#client-credentials, RFC 6749 section 4.4.
        """
        if not self._app.client_secret:
            raise ValueError("a login of the app itself needs OAuthApp(client_secret=...)")
        await self._prepare()
        form = self._grant(CLIENT_CREDENTIALS)

        async def get_tokens() -> TokenSet:
            # A server that issues a refresh token here contradicts RFC 6749: asking again needs none.
            return attrs.evolve(await self._endpoint.tokens(form), grant=CLIENT_CREDENTIALS, refresh_token="")

        return await self._log_in(get_tokens)

    @clears_locals
    async def pair(self, mode: str = "user", hardware_id: str | None = None) -> Pairing:
        """Request a pairing code for a device without a browser.

        Show its `auth_url` to a person, then call `wait_for_pairing`.

        Args:
            mode: `"user"` or `"device"`.
            hardware_id: Identifies the device; None to omit it.

        Returns:
            The pairing, which is not confirmed yet.

        Raises:
            ValueError: `mode` has another value.
            TransientAuthError: There was no usable response. Call again.
            UnexpectedResponse: The response has no pairing code.
        """
        if mode not in {"user", "device"}:
            raise ValueError(f'mode must be "user" or "device", not {mode!r}')
        form = {"mode": mode, "scope": self._app.scope}
        if hardware_id is not None:
            form["hardware_id"] = hardware_id
        await self._prepare()
        return Pairing(*pairing_from(await self._endpoint.post(PAIR_PATH, form)))

    @clears_locals
    async def wait_for_pairing(
        self,
        pairing: Pairing,
        interval: float = 5.0,
        timeout: float = 600.0,  # noqa: ASYNC109  # it raises PairingTimeout, with the pairing
    ) -> TokenSet:
        """Poll until a person has confirmed the pairing.

        Args:
            pairing: What `pair` returned.
            interval: Seconds between two requests; `slow_down` of the server adds 5.
            timeout: Seconds until `PairingTimeout`. There is one more request at the end.

        Returns:
            The token set, which `session.oauth` has stored.

        Raises:
            AuthorizationDenied: The person declined, or the code expired.
            PairingTimeout: The pairing was not confirmed in time.
            OutcomeUnknown: The response with the token set was lost or cannot be decoded. Start a new pairing.

        Note:
            docs/ezeep-api.md#oauth2
        """
        await self._prepare()
        limit = RunningLimit(timeout)
        form = self._grant("pairing_code", pairing_code=Secret(pairing.pairing_code))
        is_last = timeout <= 0
        lost: AuthenticationError | None = None
        while True:
            try:
                return await self._log_in(lambda: self._endpoint.tokens(form))
            except AuthenticationError as error:
                if isinstance(error, AuthorizationDenied) and lost and error.error != "access_denied":
                    # The lost response may have contained the token set. Its code, which works once, is then invalid.
                    raise _lost("pairing", lost) from error
                if error.status is None and isinstance(error.__cause__, UnexpectedResponse):
                    raise _lost("pairing", error) from error  # a success, whose token set cannot be decoded
                if not _is_pending(error):
                    raise
                lost = error if is_ambiguous(error) else lost
                interval += SLOW_DOWN_S if error.error == "slow_down" or error.status == 429 else 0.0
            if is_last:
                raise PairingTimeout(f"the pairing was not confirmed within {timeout:g} s. Start a new one")
            # The last request comes earlier than the interval, for a confirmation since the one before.
            is_last = limit.left <= interval
            await limit.sleep(interval)

    async def _exchange_code(
        self, code: str, redirect_uri: str | None, code_verifier: str | None
    ) -> TokenSet:
        verifier = None if code_verifier is None else Secret(code_verifier)
        form = self._grant(
            "authorization_code", code=Secret(code), redirect_uri=redirect_uri, code_verifier=verifier
        )
        await self._prepare()
        try:
            return await self._log_in(lambda: self._endpoint.tokens(form))
        except AuthenticationError as error:
            if is_ambiguous(error):
                raise _lost("login", error) from error
            raise

    def _grant(self, grant_type: str, **fields: str | None) -> dict[str, str]:
        given = {name: value for name, value in fields.items() if value is not None}
        return {"grant_type": grant_type, "scope": self._app.scope, **given}


@attrs.frozen(eq=False, repr=False)
class OAuth(OAuthLogin):
    """Logs in and out, and refreshes the token set of one session.

    Note:
        docs/ezeep-api.md#oauth2
    """

    _refresher: Refresher

    @clears_locals
    async def refresh(self) -> TokenSet:
        """Refresh the token set now, even if the access token is still valid.

        Joins a refresh that is under way.

        Returns:
            The stored token set.

        Raises:
            ReauthorizationRequired: The server rejected the refresh token, or there is none.
            TransientAuthError: There was no usable response. Call again.
            AuthenticationError: The server rejected the client.
            TokenStoreError: The token store cannot be read or written.
        """
        await self._prepare()
        return await self._refresher.refresh()

    @clears_locals
    async def revoke(self) -> None:
        """Log out: revoke the token set at the server, and delete it from the store.

        Raises:
            TransientAuthError: There was no usable response. The store keeps the token set.

        Note:
            RFC 7009.
        """
        await self._prepare()
        await self._refresher.log_out(
            lambda tokens: self._endpoint.post(
                REVOKE_PATH, {"token": Secret(tokens.refresh_token or tokens.access_token)}
            )
        )


def _is_pending(error: AuthenticationError) -> bool:
    """Whether the same request may bring the token set later (docs/ezeep-api.md#oauth2)."""
    if isinstance(error, AuthorizationDenied) or error.error in _MISCONFIGURED:
        return False
    return error.status == 400 or is_ambiguous(error) or is_unprocessed(error)


def _lost(what: str, error: AuthenticationError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the response to the {what} was lost, and its code works once: start again ({error})",
        request_id=error.request_id,
    )
