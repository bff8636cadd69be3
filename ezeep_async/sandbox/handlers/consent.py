"""The endpoints that people use in a browser: the consent page and the pairing page."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import attrs
from yarl import URL

from ezeep_async.sandbox.behaviour import Behaviour
from ezeep_async.sandbox.handlers import html as pages
from ezeep_async.sandbox.handlers.token_endpoint import CLIENT_ID
from ezeep_async.sandbox.replies import Call, Handler, Refused, Reply, form, html_reply
from ezeep_async.sandbox.state.organization import Organization, Person
from ezeep_async.sandbox.tokens import SCOPE, Grants, Pairing


AUTHORIZE_PATH = "/oauth/authorize/"
PAIRING_PATH = "/oauth/authorize/pairing/"
_CARRIED = (
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "social",
    "prompt",
)
"""The parameters of the authorization request that the form carries."""
_SUGGESTIONS = 20


def _refusal(sentence: str, status: int = 400) -> Refused:
    return Refused(html_reply(pages.message_page("That did not work", sentence), status))


@attrs.frozen
class Consent:
    """The handlers of the two pages."""

    organization: Organization
    behaviour: Behaviour
    grants: Grants
    _forms: dict[str, dict[str, str]] = attrs.field(init=False, factory=dict[str, dict[str, str]], repr=False)
    """The open forms: anti-forgery value, hidden fields."""

    def routes(self) -> dict[str, dict[str, Handler]]:
        """Template, method, handler."""
        return {
            AUTHORIZE_PATH: {"GET": self.show, "POST": self.decide},
            PAIRING_PATH: {"GET": self.show_pairing, "POST": self.decide_pairing},
        }

    # --- authorization code

    def show(self, call: Call) -> Reply:
        """The consent page (RFC 6749 section 4.1.1)."""
        self._check(call.query)
        carried = {name: call.query[name] for name in _CARRIED if name in call.query}
        return self._form(AUTHORIZE_PATH, carried)

    def decide(self, call: Call) -> Reply:
        """Redirect to the application, with a code or an error."""
        fields, carried = self._sent_form(call)
        self._check(carried)
        person = self._person(AUTHORIZE_PATH, fields, carried)
        if fields["decision"] == "deny":
            raise _redirect(carried, {"error": "access_denied", "error_description": "The person declined."})
        code = self.grants.authorize(person.id, carried["redirect_uri"], carried.get("code_challenge"))
        raise _redirect(carried, {"code": code})

    def _check(self, query: Mapping[str, str]) -> None:
        # No redirect before these two are valid (RFC 6749 section 4.1.2.1).
        if query.get("client_id") != CLIENT_ID:
            raise _refusal("This client id is not registered.")
        if query.get("redirect_uri") not in self.behaviour.redirect_uris:
            raise _refusal("This redirect URI is not registered for the client.")
        response_type = query.get("response_type")
        if not response_type:
            raise _redirect(
                query, {"error": "invalid_request", "error_description": "response_type is missing."}
            )
        if response_type != "code":
            raise _redirect(query, {"error": "unsupported_response_type"})
        if not set(query.get("scope", "").split()) <= {SCOPE}:
            raise _redirect(query, {"error": "invalid_scope"})
        if "code_challenge_method" in query or "code_challenge" in query:
            # Without a method it would be "plain" (RFC 7636 section 4.3), which protects nothing.
            if query.get("code_challenge_method") != "S256":
                raise _redirect(
                    query, {"error": "invalid_request", "error_description": "Use PKCE with S256."}
                )
            if not query.get("code_challenge"):
                raise _redirect(
                    query, {"error": "invalid_request", "error_description": "code_challenge is missing."}
                )

    # --- pairing

    def show_pairing(self, call: Call) -> Reply:
        """The page on which a person confirms a device."""
        code = call.query.get("pairing_code", "")
        self._pending(code)
        return self._form(PAIRING_PATH, {"pairing_code": code})

    def decide_pairing(self, call: Call) -> Reply:
        """Approve or deny the pairing. The device learns it with its next request."""
        fields, carried = self._sent_form(call)
        pairing = self._pending(carried.get("pairing_code", ""))
        person = self._person(PAIRING_PATH, fields, carried)
        if fields["decision"] == "deny":
            pairing.state = "denied"
            return html_reply(
                pages.message_page("Declined", "The device was not connected. You can close this page.")
            )
        pairing.state, pairing.user_id = "approved", person.id
        return html_reply(
            pages.message_page("Connected", "Your device is connected. You can close this page.")
        )

    def _pending(self, code: str) -> Pairing:
        pairing = self.grants.pairings.get(code)
        if pairing is None or pairing.state != "pending":
            raise _refusal("This pairing code is not known, or it was answered already.")
        return pairing

    # --- forms

    def _form(self, path: str, carried: dict[str, str], *, error: str = "", username: str = "") -> Reply:
        token = secrets.token_urlsafe(24)
        self._forms[token] = carried
        admin = self.organization.people.get(self.organization.admin_id)
        page = pages.consent_page(
            action=path,
            hidden={**carried, "csrf_token": token},
            username=username or (admin.email if admin is not None else ""),
            suggestions=[person.email for person in self.organization.listed_people()[:_SUGGESTIONS]],
            pairing=path == PAIRING_PATH,
            error=error,
        )
        return html_reply(page, 400 if error else 200)

    def _sent_form(self, call: Call) -> tuple[dict[str, str], dict[str, str]]:
        if not _is_from_here(call):
            raise _refusal("This form was sent by a page of another site.", 403)
        fields = form(call)
        if fields is None:
            raise _refusal("This is not a form.")
        # Removed at once: the value is valid for one attempt.
        carried = self._forms.pop(fields.get("csrf_token", ""), None)
        if carried is None or any(fields.get(name) != value for name, value in carried.items()):
            raise _refusal("This form was sent before, or it is not ours: go back and start again.", 403)
        if fields.get("decision") not in {"approve", "deny"}:
            raise _refusal("Press one of the two buttons.")
        return fields, carried

    def _person(self, path: str, fields: dict[str, str], carried: dict[str, str]) -> Person:
        username = fields.get("username", "")
        person = self.organization.person_with_email(username)
        if person is None:
            error = "Nobody in this organization has that e-mail address."
            raise Refused(self._form(path, carried, error=error, username=username))
        return person


def _is_from_here(call: Call) -> bool:
    """Whether the form was sent by a page of this server, as far as the browser reports it."""
    site = call.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    # "null": our pages have the policy "no-referrer", which hides their origin from ourselves too.
    return call.headers.get("Origin", "null") in {"null", f"http://{call.headers.get('Host', '')}"}


def _redirect(query: Mapping[str, str], answer: dict[str, str]) -> Refused:
    """Back to the application's redirect URI, with its state."""
    if "state" in query:
        answer["state"] = query["state"]
    location = str(URL(query["redirect_uri"]).update_query(answer))
    headers = {"Location": location, "Cache-Control": "no-store"}
    return Refused(Reply(status=302, content_type=None, headers=headers))
