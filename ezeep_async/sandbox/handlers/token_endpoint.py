"""The endpoints that clients use: tokens, revocation, and the start of a pairing."""

from __future__ import annotations

import base64
import binascii
import secrets
from urllib.parse import urlencode

import attrs

from ezeep_async.auth.tokens import TokenSet
from ezeep_async.sandbox.behaviour import Behaviour
from ezeep_async.sandbox.replies import Call, Handler, Reply, form, json_reply
from ezeep_async.sandbox.state.organization import Organization
from ezeep_async.sandbox.state.seeding import SANDBOX_PASSWORD
from ezeep_async.sandbox.tokens import SCOPE, Grants, oauth_error


CLIENT_ID = "78KYzeX5wS8r0FYz9KdvNt9xHMRA61PJK80IHwNj"
"""The demo client of the public documentation."""
TOKEN_PATH = "/oauth/access_token/"  # noqa: S105  # a path


@attrs.frozen
class OAuth:
    """The handlers of these endpoints."""

    organization: Organization
    behaviour: Behaviour
    grants: Grants

    def routes(self) -> dict[str, dict[str, Handler]]:
        """Template, method, handler."""
        return {
            TOKEN_PATH: {"POST": self.token},
            "/oauth/revoke/": {"POST": self.revoke},
            "/oauth/pair/": {"POST": self.pair},
        }

    def token(self, call: Call) -> Reply:
        """The token endpoint (RFC 6749 section 3.2)."""
        self._authenticate(call)
        fields = _form(call)
        grant = fields.get("grant_type")
        if not grant:
            raise oauth_error("invalid_request", "grant_type is missing.")
        if not set(fields.get("scope", "").split()) <= {SCOPE}:
            raise oauth_error("invalid_scope", f"The one scope is {SCOPE}.")
        scope = SCOPE
        if grant == "authorization_code":
            tokens = self.grants.redeem(
                _need(fields, "code"), fields.get("redirect_uri"), fields.get("code_verifier")
            )
        elif grant == "refresh_token":
            tokens = self.grants.refresh(_need(fields, "refresh_token"))
            scope = ""  # as documented: no loss of scope
        elif grant == "pairing_code":
            tokens = self.grants.redeem_pairing(_need(fields, "pairing_code"))
        elif grant == "password":
            tokens = self._password(fields)
        else:
            raise oauth_error("unsupported_grant_type", "This grant type is not known.")
        return self._tokens(tokens, scope)

    def revoke(self, call: Call) -> Reply:
        """Revoke a token (RFC 7009). The response is the same for unknown tokens."""
        # Authentication is checked if present; it is not documented as required.
        if "Authorization" in call.headers:
            self._authenticate(call)
        self.grants.revoke(_need(_form(call), "token"))
        return Reply(content_type=None)

    def pair(self, call: Call) -> Reply:
        """Start a pairing: a code for the device, an address for the person."""
        self._authenticate(call)
        fields = _form(call)
        if fields.get("mode", "user") not in {"user", "device"}:
            raise oauth_error("invalid_request", "mode is user or device.")
        if not set(fields.get("scope", "").split()) <= {SCOPE}:
            raise oauth_error("invalid_scope", f"The one scope is {SCOPE}.")
        code = self.grants.begin_pairing()
        query = urlencode({"pairing_code": code})
        return json_reply(
            {"pairing_code": code, "auth_url": f"{call.origin}/oauth/authorize/pairing/?{query}"}
        )

    def _authenticate(self, call: Call) -> None:
        scheme, _, value = call.headers.get("Authorization", "").partition(" ")
        expected = f"{CLIENT_ID}:{self.behaviour.client_secret}".encode()
        try:
            given = base64.b64decode(value.strip(), validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        if not secrets.compare_digest(given, expected):
            raise oauth_error("invalid_client", "Client authentication failed.", 401)

    def _password(self, fields: dict[str, str]) -> TokenSet:
        if not self.behaviour.password_grant:
            raise oauth_error("unauthorized_client", "This client may not use the password grant.")
        person = self.organization.person_with_email(_need(fields, "username"))
        if person is None or _need(fields, "password") != SANDBOX_PASSWORD:
            raise oauth_error("invalid_grant", "User name or password is wrong.")
        return self.grants.issue(person.id)

    def _tokens(self, tokens: TokenSet, scope: str) -> Reply:
        # A repeated response within the grace window has the full lifetime, as in the real framework.
        seconds = self.behaviour.expires_in
        reply = json_reply(
            {
                "access_token": tokens.access_token,
                "token_type": tokens.token_type,
                "expires_in": int(seconds) if seconds == int(seconds) else seconds,
                "scope": scope,
                "refresh_token": tokens.refresh_token,
            }
        )
        reply.headers |= {"Cache-Control": "no-store", "Pragma": "no-cache"}
        return reply


def _form(call: Call) -> dict[str, str]:
    fields = form(call)
    if fields is None:
        raise oauth_error(
            "invalid_request", "Send a form: application/x-www-form-urlencoded, each field once."
        )
    return fields


def _need(fields: dict[str, str], name: str) -> str:
    if not (value := fields.get(name)):
        raise oauth_error("invalid_request", f"{name} is missing.")
    return value
