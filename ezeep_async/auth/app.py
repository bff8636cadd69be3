"""`OAuthApp`, authorization addresses, PKCE and state."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Self, cast

import attrs
from multidict import MultiMapping
from yarl import URL

from ezeep_async._text.cleaning import cleaned
from ezeep_async._text.redaction import clears_arguments, clears_locals
from ezeep_async._wire.responses import one_line, redact, with_code
from ezeep_async.errors import AuthorizationDenied, StateMismatch


_AMPERSANDS = re.compile("&(?:(?:amp|#38|#x26);)+", re.IGNORECASE)


@clears_arguments
@attrs.frozen(init=False)
class OAuthApp:
    """A client that is registered with ezeep.

    White space and quotes around a value are removed.

    Args:
        client_id: Client id. Not empty.
        client_secret: Client secret; may be empty.
        redirect_uri: One of the addresses registered for the client, exactly. None: no login in a browser.
        scope: OAuth scopes: text with spaces between them, or an iterable of str. Known are `printing`, `reporting`,
            `webhooks` and `webhooks.readonly`. Empty: the server chooses.

    Raises:
        ValueError: A value is not a str or has a control character, the client id is empty, or a scope contains white
            space.

    Note:
        docs/ezeep-api.md#oauth2
    """

    client_id: str
    client_secret: str = attrs.field(repr=False)
    redirect_uri: str | None
    scope: str
    """The scopes, separated by spaces."""

    def __init__(
        self,
        client_id: str,
        client_secret: str | None = "",
        redirect_uri: str | None = None,
        scope: str | Iterable[str] = "printing",
    ) -> None:
        given = {
            "client_id": _setting(client_id, "client_id", shortest=1),
            "client_secret": _setting("" if client_secret is None else client_secret, "client_secret"),
            "redirect_uri": _setting("" if redirect_uri is None else redirect_uri, "redirect_uri") or None,
            "scope": scope_text(scope),
        }
        for name, value in given.items():
            object.__setattr__(self, name, value)  # the class is frozen

    def basic_authorization(self) -> str:
        """Return the value of the `Authorization` header at the token endpoint.

        Returns:
            `Basic` and the encoded client id and secret: a secret too.

        Note:
            RFC 6749 section 2.3.1.
        """
        credentials = f"{self.client_id}:{self.client_secret}".encode()
        return "Basic " + base64.b64encode(credentials).decode("ascii")


def scope_text(scope: str | Iterable[str]) -> str:
    """Scopes as a request has them: separated by one space, each once (RFC 6749 section 3.3). Raises `ValueError`."""
    if isinstance(scope, str):
        return " ".join(dict.fromkeys(_setting(scope, "scope").split()))
    if isinstance(scope, bytes) or not isinstance(scope, Iterable):
        raise ValueError("scope must be a str, or an iterable of str")
    scopes = list(cast("Iterable[object]", scope))
    texts = [_setting(cast("str", each), "a scope", shortest=1) for each in scopes]
    if any(len(text.split()) != 1 for text in texts):
        raise ValueError("a scope contains white space: pass each scope as a str of its own")
    # A set has another order in each process.
    return " ".join(dict.fromkeys(sorted(texts) if isinstance(scope, AbstractSet) else texts))


def _setting(value: str, name: str, *, shortest: int = 0) -> str:
    # Messages never contain the value: it may be a secret.
    text = cleaned(value, name) if isinstance(value, str) else None
    if text is None or len(text) < shortest:
        raise ValueError(f"{name} must be a str{' that is not empty' if shortest else ''}")
    return text


@clears_arguments
@attrs.frozen
class AuthorizationRequest:
    """One login in a browser. Keep it until the redirect arrives: in the app's store of web sessions, or with `to_cookie`.

    Do not put it into a cookie that is signed only: the person at the browser could read the code verifier.
    """

    url: str = attrs.field(repr=lambda url: repr(str(URL(url).with_query(None))))
    """Address of the consent page."""
    state: str = attrs.field(repr=False)
    """Secret value that the redirect repeats."""
    code_verifier: str = attrs.field(repr=False)
    """Secret of PKCE (RFC 7636)."""
    redirect_uri: str | None = None
    """Address of the redirect; None: the one of the app."""

    @clears_locals
    def to_cookie(self, secret: str | bytes | Sequence[str | bytes]) -> str:
        """Encrypt the request for a cookie of the browser, where it waits for the redirect.

        Set the cookie with `HttpOnly`, `Secure`, `SameSite=Lax` and the path of the redirect address. With
        `SameSite=Strict` browsers do not send it. Delete it after `complete`.

        Args:
            secret: A secret of the app, such as its `SECRET_KEY`: at least 32 random characters. A key for this purpose is
                derived from it (RFC 5869). Or a list, to change the secret without ending logins that are under way: the
                first one encrypts.

        Returns:
            The value: letters, digits, `-`, `_` and `=`; at most 3800 characters.

        Raises:
            ImportError: The extra `web` is not installed.
            ValueError: `secret` is empty, or the value is too long for a cookie, because of `state`.

        Note:
            docs/how-to/sign-in-on-a-server.md
        """
        from ezeep_async.auth.login_cookies import sealed

        return sealed(attrs.asdict(self), secret)

    @classmethod
    @clears_locals
    def from_cookie(
        cls, value: str | None, secret: str | bytes | Sequence[str | bytes], *, max_age: float = 600.0
    ) -> Self:
        """Decrypt the value of a cookie that `to_cookie` made.

        Args:
            value: Value of the cookie; None if the browser sent none.
            secret: The secret that `to_cookie` had, or a list that contains it.
            max_age: Seconds after which the login has to be started again. Greater than 0.

        Returns:
            The request. Pass it to `complete`, which compares the state.

        Raises:
            InvalidLoginCookie: There is no cookie, it is too old or from the future, or it was changed. Start the login again.
            ImportError: The extra `web` is not installed.
            ValueError: `secret` is empty, or `max_age` is not greater than 0.
        """
        from ezeep_async.auth.login_cookies import unsealed

        url, state, verifier, redirect_uri = unsealed(value, secret, max_age).values()
        return cls(url or "", state or "", verifier or "", redirect_uri)


def code_challenge(verifier: str) -> str:
    """The S256 challenge of RFC 7636 section 4.2."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def code_from_callback(callback_url: str, request: AuthorizationRequest) -> str:
    """The authorization code in a redirect.

    Raises `StateMismatch` for a missing or another state, and `AuthorizationDenied` for `?error=` (RFC 6749 section
    4.1.2.1), for a redirect without a code, and for text that is not an address.
    """
    query = _query_of(callback_url)
    if not (state := query.get("state")):
        raise StateMismatch(
            "the redirect has no state: it is incomplete, or does not belong to this login. Use the complete address, or "
            "start again",
            error="state_mismatch",
        )
    # Compared in constant time: an attacker must not find the state letter by letter.
    if not secrets.compare_digest(state.encode(), request.state.encode()):
        raise StateMismatch(
            "the redirect's state is not the one of this login: start again", error="state_mismatch"
        )
    if error := query.get("error"):
        secret = (request.state, request.code_verifier, *query.getall("code", []))
        error, detail = (
            one_line(redact(text, secret)) for text in (error, query.get("error_description", ""))
        )
        hint = ". The client may not ask for all of OAuthApp(scope=...)" if error == "invalid_scope" else ""
        raise AuthorizationDenied(f"the login was declined: {with_code(error, detail)}{hint}", error=error)
    if not (code := query.get("code")):
        raise AuthorizationDenied("the redirect has no authorization code: start again")
    return code


def without_entities(address: str) -> str:
    """An address as it was before a page, a mail or a log wrote its `&` as `&amp;`."""
    return _AMPERSANDS.sub("&", address)


def _query_of(address: str) -> MultiMapping[str]:
    try:
        return URL(without_entities(address)).query
    except ValueError:
        pass
    # Without the error of the parser, which may quote a part of the address.
    raise AuthorizationDenied("the redirect is not an address: use the complete address of the browser")
