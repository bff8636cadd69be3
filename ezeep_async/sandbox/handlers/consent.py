"""The pages that people use in a browser: consent for an application, and the pairing of a device."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template

from aiohttp import web
from yarl import URL

from ezeep_async.sandbox.handlers.routes import RouteTable, State
from ezeep_async.sandbox.handlers.token_endpoint import CLIENT_ID, PAIRING_PATH
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import Refused, form
from ezeep_async.sandbox.state.organization import Person
from ezeep_async.sandbox.tokens import SCOPE, Pairing


routes = RouteTable()
_AUTHORIZE_PATH = "/oauth/authorize/"
_OWN_FIELDS = {"csrf_token", "username", "decision"}
"""Fields of the form that no query parameter may set."""
_SUGGESTIONS = 20
_PAGE = Template(files("ezeep_async.sandbox").joinpath("data", "page.html").read_text("utf-8"))


@routes.add("GET", PAIRING_PATH)
@routes.add("GET", _AUTHORIZE_PATH)
def show(state: State, request: RecordedRequest) -> web.Response:
    """The page with the question (RFC 6749 section 4.1.1)."""
    if request.route == PAIRING_PATH:
        _pending(state, request.query)
    else:
        _check(state, request.query)
    return _form(state, request, request.query)


@routes.add("POST", _AUTHORIZE_PATH)
def decide(state: State, request: RecordedRequest) -> web.Response:
    """Redirect to the application, with a code or an error."""
    raise authorization(state, *_decision(state, request))


def authorization(state: State, query: Mapping[str, str], person: Person | None) -> Refused:
    """The redirect to the application for the decision about a request; None: the person declined."""
    _check(state, query)
    if person is None:
        return _redirect(query, error="access_denied", error_description="The person declined.")
    scope = query.get("scope") or SCOPE
    code = state.grants.authorize(person.id, query["redirect_uri"], query.get("code_challenge"), scope)
    return _redirect(query, code=code)


@routes.add("POST", PAIRING_PATH)
def decide_pairing(state: State, request: RecordedRequest) -> web.Response:
    """Approve or deny the pairing. The device learns it with its next request."""
    carried, person = _decision(state, request)
    settle_pairing(state, carried, person)
    if person is None:
        return message_page("Declined", "The device was not connected. You can close this page.")
    return message_page("Connected", "Your device is connected. You can close this page.")


def settle_pairing(state: State, query: Mapping[str, str], person: Person | None) -> None:
    """Approve a pairing for that person; None: deny it."""
    pairing = _pending(state, query)
    if person is None:
        pairing.state = "denied"
    else:
        pairing.state, pairing.user_id = "approved", person.id


def _check(state: State, query: Mapping[str, str]) -> None:
    # No redirect before these two are valid (RFC 6749 section 4.1.2.1).
    if query.get("client_id") != CLIENT_ID:
        raise _refusal("This client id is not registered.")
    if query.get("redirect_uri") not in state.behaviour.redirect_uris:
        raise _refusal("This redirect URI is not registered for the client.")
    response_type = query.get("response_type")
    if not response_type:
        raise _redirect(query, error="invalid_request", error_description="response_type is missing.")
    if response_type != "code":
        raise _redirect(query, error="unsupported_response_type")
    if not set(query.get("scope", "").split()) <= {*state.behaviour.scopes}:
        raise _redirect(query, error="invalid_scope")
    # Without a method it would be "plain" (RFC 7636 section 4.3), which protects nothing.
    method, challenge = query.get("code_challenge_method"), query.get("code_challenge")
    if (method, challenge) != (None, None) and (method != "S256" or not challenge):
        problem = "Use PKCE: code_challenge with code_challenge_method S256."
        raise _redirect(query, error="invalid_request", error_description=problem)


def _pending(state: State, query: Mapping[str, str]) -> Pairing:
    pairing = state.grants.pairings.get(query.get("pairing_code", ""))
    if pairing is None or pairing.state != "pending":
        raise _refusal("This pairing code is unknown, or it was used already.")
    return pairing


def _form(
    state: State, request: RecordedRequest, carried: dict[str, str], unknown: str | None = None
) -> web.Response:
    """The page with the form; again, with an error, after an e-mail address that is not in the organization."""
    token = secrets.token_urlsafe(24)
    carried = {name: value for name, value in carried.items() if name not in _OWN_FIELDS}
    state.forms[token] = carried
    title = "Allow this application?"
    asks = "An application asks to manage groups and users of your organization, in your name."
    if request.route == PAIRING_PATH:
        title = "Connect this device?"
        code = escape(carried["pairing_code"])
        asks = f"A device with the code <strong>{code}</strong> asks to print for you."
    error, username = "", unknown
    if unknown is not None:
        error = '<p class="error" role="alert">No person in this organization has that e-mail address.</p>'
    elif (admin := state.organization.people.get(state.organization.admin_id)) is not None:
        username = admin.email
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in {**carried, "csrf_token": token}.items()
    )
    people = "".join(
        f'<option value="{escape(person.email)}">'
        for person in state.organization.listed_people()[:_SUGGESTIONS]
    )
    content = f"""<p>{asks}</p>
{error}
<form method="post" action="{request.route}">
{hidden}
<label for="username">Who is logged in</label>
<input id="username" name="username" type="email" list="people" required value="{escape(username or "")}">
<datalist id="people">{people}</datalist>
<button name="decision" value="approve">Allow</button>
<button name="decision" value="deny" formnovalidate>Decline</button>
</form>"""
    return _page(title, content, 400 if error else 200)


def _decision(state: State, request: RecordedRequest) -> tuple[dict[str, str], Person | None]:
    """The hidden fields of a submitted form, and the person who approves; None: declined."""
    if not _is_from_here(request):
        raise _refusal("This form was sent by a page of another site.", 403)
    fields = form(request)
    if fields is None:
        raise _refusal("This is not a form.")
    # Removed at once: the value is valid for one attempt.
    carried = state.forms.pop(fields.get("csrf_token", ""), None)
    if carried is None or any(fields.get(name) != value for name, value in carried.items()):
        raise _refusal("This form was sent before, or it is not ours: go back and start again.", 403)
    if fields.get("decision") not in {"approve", "deny"}:
        raise _refusal("Press one of the two buttons.")
    if fields["decision"] == "deny":
        return carried, None
    username = fields.get("username", "")
    person = state.organization.person_with_email(username)
    if person is None:
        raise Refused(_form(state, request, carried, username))
    return carried, person


def message_page(title: str, sentence: str, status: int = 200) -> web.Response:
    """A page with one sentence."""
    return _page(title, f"<p>{escape(sentence)}</p>", status)


def _page(title: str, content: str, status: int) -> web.Response:
    """An HTML page that is not cached or framed and sends no referrer, because it is part of a login."""
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    }
    text = _PAGE.substitute(title=escape(title), content=content)
    return web.Response(status=status, body=text.encode(), headers=headers)


def _refusal(sentence: str, status: int = 400) -> Refused:
    return Refused(message_page("That did not work", sentence, status), sentence)


def _redirect(query: Mapping[str, str], **fields: str) -> Refused:
    """Back to the application's redirect URI, with its state."""
    if "state" in query:
        fields["state"] = query["state"]
    location = str(URL(query["redirect_uri"]).update_query(fields))
    return Refused(web.Response(status=302, headers={"Location": location, "Cache-Control": "no-store"}))


def _is_from_here(request: RecordedRequest) -> bool:
    """Whether the form was sent by a page of this server, as far as the browser reports it."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    # "null": our pages have the policy "no-referrer", which hides their origin from ourselves too.
    return request.headers.get("Origin", "null") in {"null", f"http://{request.headers.get('Host', '')}"}
