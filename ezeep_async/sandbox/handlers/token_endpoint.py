"""The endpoints that clients use: tokens, revocation, and the start of a pairing."""

from __future__ import annotations

import base64
import binascii
import secrets
from urllib.parse import urlencode

import attrs
from aiohttp import web

from ezeep_async.auth.tokens import TokenSet
from ezeep_async.sandbox.behaviour import Behaviour
from ezeep_async.sandbox.records import TOKEN_PATH, RecordedRequest
from ezeep_async.sandbox.replies import Routes, form, json_response
from ezeep_async.sandbox.state.organization import Organization
from ezeep_async.sandbox.state.seeding import SANDBOX_PASSWORD
from ezeep_async.sandbox.tokens import SCOPE, Grants, oauth_error


CLIENT_ID = "78KYzeX5wS8r0FYz9KdvNt9xHMRA61PJK80IHwNj"
"""The demo client of the public documentation."""
PAIRING_PATH = "/oauth/authorize/pairing/"


class _Form(dict[str, str]):
    """The fields of a request, with the error response for a missing one."""

    def __missing__(self, name: str) -> str:
        raise oauth_error("invalid_request", f"{name} is missing.")


@attrs.frozen
class OAuth:
    """The handlers of these endpoints."""

    organization: Organization
    behaviour: Behaviour
    grants: Grants

    def routes(self) -> Routes:
        """Template, method, handler."""
        return {
            TOKEN_PATH: {"POST": self.token},
            "/oauth/revoke/": {"POST": self.revoke},
            "/oauth/pair/": {"POST": self.pair},
        }

    def token(self, request: RecordedRequest) -> web.Response:
        """The token endpoint (RFC 6749 section 3.2)."""
        fields = self._fields(request)
        match fields["grant_type"]:
            case "authorization_code":
                redirect_uri, verifier = fields.get("redirect_uri"), fields.get("code_verifier")
                tokens = self.grants.redeem(fields["code"], redirect_uri, verifier)
            case "refresh_token":
                tokens = self.grants.refresh(fields["refresh_token"])
            case "pairing_code":
                tokens = self.grants.redeem_pairing(fields["pairing_code"])
            case "password":
                tokens = self._password(fields)
            case _:
                raise oauth_error("unsupported_grant_type", "This grant type is not known.")
        # A repeated response within the grace window has the full lifetime, as in the real framework.
        seconds = self.behaviour.expires_in
        return json_response(
            {
                "access_token": tokens.access_token,
                "token_type": tokens.token_type,
                "expires_in": int(seconds) if seconds == int(seconds) else seconds,
                # Documented for refreshes: empty, which is no loss of scope.
                "scope": "" if fields["grant_type"] == "refresh_token" else SCOPE,
                "refresh_token": tokens.refresh_token,
            },
            headers={"Cache-Control": "no-store", "Pragma": "no-cache"},
        )

    def revoke(self, request: RecordedRequest) -> web.Response:
        """Revoke a token (RFC 7009). The response is the same for unknown tokens."""
        # Authentication is checked if present; it is not documented as required.
        self.grants.revoke(self._fields(request, required="Authorization" in request.headers)["token"])
        return web.Response()

    def pair(self, request: RecordedRequest) -> web.Response:
        """Start a pairing: a code for the device, an address for the person."""
        if self._fields(request).get("mode", "user") not in {"user", "device"}:
            raise oauth_error("invalid_request", "mode is user or device.")
        code = self.grants.begin_pairing()
        url = f"http://{request.headers['Host']}{PAIRING_PATH}?{urlencode({'pairing_code': code})}"
        return json_response({"pairing_code": code, "auth_url": url})

    def _fields(self, request: RecordedRequest, *, required: bool = True) -> _Form:
        """The fields of the form, after a check of the client and the scope."""
        if required:
            self._authenticate(request)
        if (fields := form(request)) is None:
            raise oauth_error(
                "invalid_request", "Send a form: application/x-www-form-urlencoded, each field once."
            )
        if not set(fields.get("scope", "").split()) <= {SCOPE}:
            raise oauth_error("invalid_scope", f"The one scope is {SCOPE}.")
        return _Form({name: value for name, value in fields.items() if value})

    def _authenticate(self, request: RecordedRequest) -> None:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        expected = f"{CLIENT_ID}:{self.behaviour.client_secret}".encode()
        try:
            given = base64.b64decode(value.strip(), validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        if not secrets.compare_digest(given, expected):
            raise oauth_error("invalid_client", "Client authentication failed.", 401)

    def _password(self, fields: _Form) -> TokenSet:
        if not self.behaviour.password_grant:
            raise oauth_error("unauthorized_client", "This client may not use the password grant.")
        person = self.organization.person_with_email(fields["username"])
        if person is None or fields["password"] != SANDBOX_PASSWORD:
            raise oauth_error("invalid_grant", "User name or password is wrong.")
        return self.grants.issue(person.id)
