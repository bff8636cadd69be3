"""The consent and pairing pages, their forms, and their redirects."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from yarl import URL

from ezeep_async import EzeepSession
from ezeep_async.sandbox import SANDBOX_ADMIN


AUTHORIZE = "/oauth/authorize/"
PAIRING = "/oauth/authorize/pairing/"


class Form(HTMLParser):
    """The fields of the one form of a page, its action, and all URLs that a browser would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.buttons: list[str | None] = []
        self.action: str | None = None
        self.fetched: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.fetched += [given[name] for name in ("src", "href") if name in given]
        if tag == "form":
            assert given["method"] == "post"
            self.action = given["action"]
        elif tag == "input":
            self.fields[given["name"]] = given["value"]
        elif tag == "button":
            assert given["name"] == "decision"
            self.buttons.append(given["value"])


def query(server, **changes: str | None) -> dict[str, str]:
    given = {
        "response_type": "code",
        "client_id": server.oauth_app.client_id,
        "redirect_uri": server.oauth_app.redirect_uri,
        "scope": "printing",
        "state": "s&t=<a>",
        **changes,
    }
    return {name: value for name, value in given.items() if value is not None}


async def opened(client, params: dict[str, str], path: str = AUTHORIZE) -> Form:
    status, page = await client("GET", path, auth=None, params=params)
    assert status == 200
    return Form(page)


async def pressed(client, form: Form, decision: str, **changes: str):
    data = {**form.fields, "decision": decision, **changes}
    return await client.raw("POST", form.action, auth=None, data=data)


async def test_consent_page(server, client):
    """One form with the admin filled in and two buttons; nothing is loaded from other hosts or cached."""
    response = await client.raw("GET", AUTHORIZE, auth=None, params=query(server))
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    form = Form(await response.text())
    assert form.action == AUTHORIZE
    assert form.buttons == ["approve", "deny"]
    assert form.fields["username"] == SANDBOX_ADMIN
    assert form.fields["state"] == "s&t=<a>"
    suggested = [person.email for person in server.organization.listed_people()[:20]]
    assert re.findall('<option value="(.*?)">', await response.text()) == suggested
    assert form.fetched == ["data:,"]  # no icon either: browsers would request one


async def test_login_with_pkce(server, client):
    """From the authorization URL to tokens, as an application does it."""
    session = EzeepSession(server.oauth_app, endpoints=server.endpoints)
    request = session.oauth.authorization_request(social="azure", prompt="none")
    url = URL(request.url)
    form = await opened(client, dict(url.query), url.path)
    response = await pressed(client, form, "approve")
    assert response.status == 302
    back = URL(response.headers["Location"])
    assert str(back.with_query(None)) == request.redirect_uri
    assert set(back.query) == {"code", "state"}
    assert back.query["state"] == request.state
    assert (server.requests[0].query["social"], server.requests[0].query["prompt"]) == ("azure", "none")
    fields = {"grant_type": "authorization_code", "code": back.query["code"]}
    for wrong in (
        {"redirect_uri": request.redirect_uri},
        {"redirect_uri": request.redirect_uri, "code_verifier": "x" * 43},
        {"redirect_uri": request.redirect_uri, "code_verifier": "\xe4" * 43},
        {"redirect_uri": "http://127.0.0.1:8400/", "code_verifier": request.code_verifier},
        {"code_verifier": request.code_verifier},
    ):
        status, error = await client.grant(**fields, **wrong)
        assert (status, error["error"]) == (400, "invalid_grant")
    right = {"redirect_uri": request.redirect_uri, "code_verifier": request.code_verifier}
    server.clock.advance(10**7)  # codes do not expire
    status, tokens = await client.grant(**fields, **right)
    assert (status, tokens["scope"]) == (200, "printing")
    assert await client.works(tokens["access_token"])
    assert (await client.grant(**fields, **right))[1]["error"] == "invalid_grant"
    assert await client.works(tokens["access_token"])


async def test_login_as_another_person_without_pkce(server, client):
    person = server.organization.people[server.organization.listed_users()[3].id]
    form = await opened(client, query(server, scope=None, state=None))
    response = await pressed(client, form, "approve", username=person.email.upper())
    back = URL(response.headers["Location"])
    assert set(back.query) == {"code"}
    redirect_uri = server.oauth_app.redirect_uri
    _, tokens = await client.grant(
        grant_type="authorization_code", code=back.query["code"], redirect_uri=redirect_uri
    )
    client.token = tokens["access_token"]
    assert (await client("GET", "/v1/users/me/"))[1]["id"] == str(person.id)


async def test_query_parameters_with_the_names_of_form_fields_are_ignored(server, client):
    params = query(server, username="unknown", csrf_token="forged", decision="deny")
    response = await pressed(client, await opened(client, params), "approve")
    assert "code" in URL(response.headers["Location"]).query


@pytest.mark.parametrize("changes", [{}, {"username": ""}], ids=["admin", "no address"])
async def test_decline(server, client, changes):
    response = await pressed(client, await opened(client, query(server)), "deny", **changes)
    back = URL(response.headers["Location"])
    assert (response.status, back.query["error"], back.query["state"]) == (302, "access_denied", "s&t=<a>")
    assert "code" not in back.query


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "other"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": "http://127.0.0.1:8400/callback/"},
        {"redirect_uri": "https://example.org/<script>"},
    ],
)
async def test_unregistered_redirect_uris_get_no_redirect(server, client, change):
    response = await client.raw("GET", AUTHORIZE, auth=None, params=query(server, **change))
    page = await response.text()
    assert response.status == 400
    assert "Location" not in response.headers
    assert "not registered" in page
    assert "<script>" not in page


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "invalid_request"),
        ({"scope": "printing admin"}, "invalid_scope"),
        ({"code_challenge": "x", "code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "x"}, "invalid_request"),
        ({"code_challenge_method": "S256"}, "invalid_request"),
    ],
)
async def test_other_errors_are_sent_to_the_application(server, client, change, error):
    response = await client.raw("GET", AUTHORIZE, auth=None, params=query(server, **change))
    back = URL(response.headers["Location"])
    assert (response.status, back.query["error"], back.query["state"]) == (302, error, "s&t=<a>")


async def test_a_form_works_once(server, client):
    form = await opened(client, query(server))
    assert (await pressed(client, form, "approve")).status == 302
    assert (await pressed(client, form, "approve")).status == 403
    assert (await pressed(client, await opened(client, query(server)), "maybe")).status == 400


@pytest.mark.parametrize(
    "change", [{"csrf_token": "forged"}, {"state": "other"}, {"redirect_uri": "https://x.y/"}]
)
async def test_forged_forms(server, client, change):
    response = await pressed(client, await opened(client, query(server)), "approve", **change)
    assert response.status == 403
    assert "Location" not in response.headers
    assert (await client("POST", AUTHORIZE, auth=None, json={}))[0] == 400


async def test_unknown_email_address(server, client):
    """The form is shown again with the entered address, and works then."""
    form = await opened(client, query(server))
    response = await pressed(client, form, "approve", username='"><b>x')
    page = await response.text()
    assert (response.status, "<b>" in page) == (400, False)
    again = Form(page)
    assert again.fields["username"] == '"><b>x'
    assert again.fields["csrf_token"] != form.fields["csrf_token"]
    assert (await pressed(client, again, "approve", username=SANDBOX_ADMIN)).status == 302


@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_pairing(server, client, decision):
    """Pending until a person presses a button; then tokens once, or a refusal."""
    _, begun = await client("POST", "/oauth/pair/", auth="basic", data={"mode": "user"})
    fields = {"grant_type": "pairing_code", "pairing_code": begun["pairing_code"]}
    status, error = await client.grant(**fields)
    assert (status, error["error"]) == (400, "authorization_pending")
    form = await opened(client, dict(URL(begun["auth_url"]).query), URL(begun["auth_url"]).path)
    assert form.action == PAIRING
    assert (await pressed(client, form, decision)).status == 200
    status, granted = await client.grant(**fields)
    if decision == "approve":
        assert (status, granted["scope"]) == (200, "printing")
        assert await client.works(granted["access_token"])
        assert (await client.grant(**fields))[1]["error"] == "invalid_grant"
    else:
        assert (status, granted["error"]) == (400, "access_denied")
    assert (await client("GET", PAIRING, auth=None, params={"pairing_code": begun["pairing_code"]}))[0] == 400
    assert (await client("GET", PAIRING, auth=None))[0] == 400
