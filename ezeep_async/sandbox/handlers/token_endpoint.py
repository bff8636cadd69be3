"""The endpoints that clients use: tokens, revocation, and the start of a pairing."""

from __future__ import annotations

import base64
import secrets
from urllib.parse import urlencode

from aiohttp import web

from ezeep_async.auth.tokens import TokenSet
from ezeep_async.sandbox.handlers.routes import RouteTable, State
from ezeep_async.sandbox.records import TOKEN_PATH, RecordedRequest
from ezeep_async.sandbox.replies import form, json_response
from ezeep_async.sandbox.state.seeding import SANDBOX_PASSWORD
from ezeep_async.sandbox.tokens import SCOPE, oauth_error


routes = RouteTable()
CLIENT_ID = "78KYzeX5wS8r0FYz9KdvNt9xHMRA61PJK80IHwNj"
"""The demo client of the public documentation."""
PAIRING_PATH = "/oauth/authorize/pairing/"


class _Form(dict[str, str]):
    """The fields of a request, with the error response for a missing one."""

    def __missing__(self, name: str) -> str:
        raise oauth_error("invalid_request", f"{name} is missing.")


@routes.add("POST", TOKEN_PATH)
def token(state: State, request: RecordedRequest) -> web.Response:
    """The token endpoint (RFC 6749 section 3.2)."""
    grants, fields = state.grants, _fields(state, request)
    scope = fields.get("scope", SCOPE)
    match fields["grant_type"]:
        case "authorization_code":
            redirect_uri, verifier = fields.get("redirect_uri"), fields.get("code_verifier")
            tokens = grants.redeem(fields["code"], redirect_uri, verifier)
        case "refresh_token":
            tokens = grants.refresh(fields["refresh_token"], fields.get("scope", ""))
        case "pairing_code":
            tokens = grants.redeem_pairing(fields["pairing_code"])
        case "password":
            tokens = _password(state, fields, scope)
        case "client_credentials":
            if not state.behaviour.client_credentials_grant:
                raise oauth_error("unauthorized_client", "This client may not use client credentials.")
            tokens = grants.issue(state.organization.admin_id, scope)
        case _:
            raise oauth_error("unsupported_grant_type", "This grant type is not known.")
    # A repeated response within the grace window has the full lifetime, as in the real framework.
    seconds = state.behaviour.expires_in
    # Documented for refreshes: empty, which is no loss of scope.
    is_blank = state.behaviour.blank_scopes or fields["grant_type"] == "refresh_token"
    response: dict[str, object] = {
        "access_token": tokens.access_token,
        "token_type": tokens.token_type,
        "expires_in": int(seconds) if seconds == int(seconds) else seconds,
        "scope": "" if is_blank else tokens.scope,
    }
    if fields["grant_type"] != "client_credentials":  # RFC 6749 section 4.4.3
        response["refresh_token"] = tokens.refresh_token
    return json_response(response, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})


def _password(state: State, fields: _Form, scope: str) -> TokenSet:
    if not state.behaviour.password_grant:
        raise oauth_error("unauthorized_client", "This client may not use the password grant.")
    person = state.organization.person_with_email(fields["username"])
    if person is None or fields["password"] != SANDBOX_PASSWORD:
        raise oauth_error("invalid_grant", "User name or password is wrong.")
    return state.grants.issue(person.id, scope)


@routes.add("POST", "/oauth/revoke/")
def revoke(state: State, request: RecordedRequest) -> web.Response:
    """Revoke a token (RFC 7009). The response is the same for unknown tokens."""
    # Authentication is checked if present; it is not documented as required.
    fields = _fields(state, request, authenticate="Authorization" in request.headers)
    state.grants.revoke(fields["token"])
    return web.Response()


@routes.add("POST", "/oauth/pair/")
def pair(state: State, request: RecordedRequest) -> web.Response:
    """Start a pairing: a code for the device, an address for the person."""
    fields = _fields(state, request)
    if fields.get("mode", "user") not in {"user", "device"}:
        raise oauth_error("invalid_request", "mode is user or device.")
    code = state.grants.begin_pairing(fields.get("scope", SCOPE))
    url = f"http://{request.headers['Host']}{PAIRING_PATH}?{urlencode({'pairing_code': code})}"
    return json_response({"pairing_code": code, "auth_url": url})


def _fields(state: State, request: RecordedRequest, *, authenticate: bool = True) -> _Form:
    """The fields of the form, after a check of the client and the scope."""
    if authenticate:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        expected = f"{CLIENT_ID}:{state.behaviour.client_secret}".encode()
        try:
            given = base64.b64decode(value.strip(), validate=True) if scheme.lower() == "basic" else b""
        except ValueError:
            given = b""
        if not secrets.compare_digest(given, expected):
            raise oauth_error("invalid_client", "Client authentication failed.", 401)
    if (fields := form(request)) is None:
        raise oauth_error(
            "invalid_request", "Send a form: application/x-www-form-urlencoded, each field once."
        )
    if not set(fields.get("scope", "").split()) <= {*state.behaviour.scopes}:
        raise oauth_error("invalid_scope", f"The scopes are {' '.join(state.behaviour.scopes)}.")
    return _Form({name: value for name, value in fields.items() if value})
