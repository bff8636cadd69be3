"""`session.oauth`: logging in, renewing, and logging out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import attrs

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._text.redaction import clears_locals
from ezeep_async._wire.requests import checked_text, oauth_form
from ezeep_async._wire.responses import RawResponse
from ezeep_async.auth.app import AuthorizationRequest, OAuthApp, authorization_request, code_from_callback
from ezeep_async.auth.clock import Clock
from ezeep_async.auth.exchange import Exchanger
from ezeep_async.auth.grants import (
    PAIR_PATH,
    REVOKE_PATH,
    TOKEN_PATH,
    check_success,
    code_form,
    oauth_error,
    pairing_form,
    pairing_from,
    password_form,
    tokens_from,
)
from ezeep_async.auth.refresher import Refresher
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.errors import (
    AuthorizationDenied,
    EzeepError,
    OutcomeUnknown,
    PairingTimeout,
    TransientAuthError,
    TransportError,
    UnexpectedResponse,
)
from ezeep_async.settings import Endpoints


SLOW_DOWN = 5.0
"""Seconds that `slow_down` adds to the polling interval (RFC 8628 section 3.5)."""
_ASK_AGAIN = frozenset({400, 429, 500, 502, 503, 504})
LONGEST_SECRET = 8192
"""Characters of a code: more than any server makes."""
_MAYBE_DONE = frozenset({500, 502, 504})
_CODE_LOST = "the answer to the login was lost, and its code works once: start again"
_PAIRING_LOST = "the answer to the pairing was lost, and its code works once: start again"
_REFUSED = frozenset({"access_denied", "expired_token", "invalid_grant"})
_MISCONFIGURED = frozenset(
    {"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
)
"""Errors that no person in a browser can make go away."""


@attrs.frozen
class Pairing:
    """A device that waits for a person to confirm it in any browser."""

    pairing_code: str = attrs.field(repr=False)
    auth_url: str = attrs.field(repr=False)
    """Where the person goes. Holds the code, so show it to that person only."""


class OAuth:
    """The login of one session. Source: API document, "OAuth2"."""

    def __init__(
        self,
        app: OAuthApp,
        endpoints: Endpoints,
        exchanger: Exchanger,
        refresher: Refresher,
        clock: Clock,
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self._app = app
        self._endpoints = endpoints
        self._exchanger = exchanger
        self._refresher = refresher
        self._clock = clock
        self._prepare = prepare

    @clears_locals
    def authorization_request(
        self,
        state: str | None = None,
        social: str | None = None,
        prompt: str | None = None,
        scope: str | None = None,
    ) -> AuthorizationRequest:
        """Where to send the browser, with a random state and PKCE. `social="azure"` goes straight to Microsoft,
        `prompt="none"` leaves its account picker out. Raises `ValueError` when the app has no redirect URI.
        """
        return authorization_request(
            self._app, self._endpoints.account, state=state, social=social, prompt=prompt, scope=scope
        )

    @clears_locals
    async def complete(self, callback_url: str, request: AuthorizationRequest) -> TokenSet:
        """Finish a login with the address that the browser came back to.

        Raises `StateMismatch`, `AuthorizationDenied`, and what `exchange_code` raises.
        """
        code = code_from_callback(callback_url, request)
        form = code_form(
            code, request.redirect_uri or self._app.redirect_uri, request.code_verifier, self._app.scope
        )
        return await self._log_in(form)

    @clears_locals
    async def exchange_code(self, code: str, code_verifier: str | None = None) -> TokenSet:
        """Trade an authorization code for a login, and keep it.

        A code works once: the exchange is never repeated after anything was sent. Raises `AuthorizationDenied`,
        `OutcomeUnknown` when the answer was lost or has no login in it that can be read (start the login again),
        `TransientAuthError` when the code was not used.
        """
        checked_text(code, "code", shortest=1, longest=LONGEST_SECRET, secret=True)
        return await self._log_in(code_form(code, self._app.redirect_uri, code_verifier, self._app.scope))

    @clears_locals
    async def login_with_password(self, username: str, password: str) -> TokenSet:
        """For client ids that are enabled for it (RFC 6749 section 4.3).

        A password works again: whatever became of the answer, trying once more is all that there is to do. Raises
        `AuthorizationDenied`, `TransientAuthError`.
        """
        checked_text(username, "username", shortest=1)
        if not isinstance(password, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise ValueError("password is a text")  # noqa: TRY004  # one class for bad arguments; and never its value
        return await self._log_in(password_form(username, password, self._app.scope))

    @clears_locals
    async def pair(self, mode: str = "user", hardware_id: str | None = None) -> Pairing:
        """Ask for a pairing code. Show its `auth_url` to a person, then `wait_for_pairing`.

        Nothing is at stake yet: it may be cancelled, and tried again. Raises `ValueError`, `TransientAuthError`,
        `UnexpectedResponse` for an answer without a code.
        """
        if mode not in {"user", "device"}:
            raise ValueError(f'mode is "user" or "device", not {mode!r}')
        form = {"mode": mode, "scope": self._app.scope}
        if hardware_id is not None:
            form["hardware_id"] = hardware_id
        await self._prepare()
        return Pairing(*pairing_from(await self._post(PAIR_PATH, form)))

    @clears_locals
    async def wait_for_pairing(
        self,
        pairing: Pairing,
        interval: float = 5.0,
        timeout: float = 600.0,  # noqa: ASYNC109  # it ends in an error of its own, PairingTimeout
    ) -> TokenSet:
        """Ask every `interval` seconds, and once more at the end, until the person has confirmed; and keep the login.

        Raises `AuthorizationDenied` when they declined, `PairingTimeout` after `timeout` seconds, `OutcomeUnknown` when
        the answer with the login was lost, or has no login in it that can be read (start again).
        """
        await self._prepare()
        limit = RunningLimit(timeout)
        form = pairing_form(pairing.pairing_code, self._app.scope)
        is_last = timeout <= 0
        lost: Exception | None = None
        while True:
            try:
                return await self._poll(form)
            except _NotYet as answer:
                interval += SLOW_DOWN if answer.slow_down else 0.0
                lost = answer.lost or lost
            except AuthorizationDenied as error:
                if lost is None or error.error == "access_denied":
                    raise
                # It may have been the login: then the code, which works once, is not valid any more.
                raise OutcomeUnknown(f"{_PAIRING_LOST} ({lost})") from error
            if is_last:
                raise PairingTimeout(f"nobody confirmed the pairing within {timeout:g} s")
            # Sooner than the interval, once: whoever confirmed in between shall not have done so in vain.
            is_last = limit.left <= interval
            await limit.sleep(interval)

    @clears_locals
    async def refresh(self) -> TokenSet:
        """Renew the login now, whatever the clock says; joins a renewal that is under way.

        Raises `ReauthorizationRequired`, `TransientAuthError`, `AuthenticationError`, `TokenStoreError`.
        """
        await self._prepare()
        return await self._refresher.refresh()

    @clears_locals
    async def revoke(self) -> None:
        """Log out: revoke at the server (RFC 7009), and empty the store.

        Raises `TransientAuthError` when the server could not be reached; the store then keeps the login.
        """
        await self._prepare()
        await self._refresher.log_out(self._revoke)

    # --- inside ----------------------------------------------------------------------------------------------------

    async def _log_in(self, form: Mapping[str, str]) -> TokenSet:
        works_again = form["grant_type"] == "password"

        async def exchange() -> TokenSet:
            lost: EzeepError
            try:
                response = await self._exchanger.send_through(oauth_form(TOKEN_PATH, form))
                return self._tokens_in(response, form)
            except TransientAuthError as error:
                if works_again or error.status not in _MAYBE_DONE:
                    raise
                lost = error
            except (TransportError, UnexpectedResponse) as error:
                if works_again or (isinstance(error, TransportError) and error.request_sent is False):
                    raise TransientAuthError(
                        f"the login could not be checked just now: {error}", request_id=error.request_id
                    ) from error
                lost = error
            raise OutcomeUnknown(f"{_CODE_LOST} ({lost})", request_id=lost.request_id) from lost

        await self._prepare()
        return await self._refresher.log_in(exchange)

    async def _poll(self, form: Mapping[str, str]) -> TokenSet:
        """The login of a pairing. Raises `_NotYet`."""

        async def ask() -> TokenSet:
            response = await self._exchanger.send_through(oauth_form(TOKEN_PATH, form))
            code = oauth_error(response)
            if response.status in _ASK_AGAIN and code not in _REFUSED | _MISCONFIGURED:
                slow_down = code == "slow_down" or response.status == 429
                lost = (
                    UnexpectedResponse(f"HTTP {response.status}") if response.status in _MAYBE_DONE else None
                )
                raise _NotYet(slow_down=slow_down, lost=lost)
            return self._tokens_in(response, form)

        try:
            return await self._refresher.log_in(ask)
        except TransportError as error:
            raise _NotYet(lost=None if error.request_sent is False else error) from error
        except UnexpectedResponse as error:
            raise OutcomeUnknown(f"{_PAIRING_LOST} ({error})") from error

    def _tokens_in(self, response: RawResponse, form: Mapping[str, str]) -> TokenSet:
        check_success(response, TOKEN_PATH, form)
        return tokens_from(response, self._clock.now(), log=self._refresher.log)

    async def _revoke(self, current: TokenSet) -> None:
        await self._post(REVOKE_PATH, {"token": current.refresh_token or current.access_token})

    async def _post(self, path: str, form: Mapping[str, str]) -> RawResponse:
        try:
            response = await self._exchanger.send_through(oauth_form(path, form))
        except (TransportError, UnexpectedResponse) as error:
            raise TransientAuthError(f"the account service could not be reached just now: {error}") from error
        check_success(response, path, form)
        return response


class _NotYet(Exception):  # a signal between two functions, not an error
    """The person has not confirmed yet."""

    def __init__(self, *, slow_down: bool = False, lost: Exception | None = None) -> None:
        super().__init__()
        self.slow_down = slow_down
        self.lost = lost
        """Why nobody knows what the answer was, if the server may have given one."""
