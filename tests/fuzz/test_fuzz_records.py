"""Records and pages from anything: a record, or an `UnexpectedResponse` that says where."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from helpers.fuzzing import ID, SECRETS, WORDS, bodies, fixture, json_values, leaks, places, shown, spelled
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from ezeep_async import AccountUser, Group, Invitation, UnexpectedResponse, User
from ezeep_async._wire.converter import PageBody, decode, decode_json
from ezeep_async._wire.requests import GROUPS, Request
from ezeep_async._wire.responses import RawResponse, decode_response
from ezeep_async.resources.accounts import Accounts


PAGES: dict[Any, Any] = {
    User: fixture("users_page_1"),
    Group: fixture("groups_page"),
    AccountUser: fixture("account_users_page"),
    Invitation: fixture("invitations_page"),
}
KINDS = pytest.mark.parametrize("kind", PAGES, ids=lambda kind: kind.__name__)
KNOWN: dict[Any, set[str]] = {
    kind: {attribute.name for attribute in kind.__attrs_attrs__} | {"group_id", "provider", "foreign_id"}
    for kind in PAGES
}


def short(page: Any) -> Any:
    return {**page, "results": page["results"][:3]}


def decoded(body: bytes, kind: Any) -> Any:
    return decode(body, kind)


@pytest.mark.slow
@KINDS
@given(data=st.data())
def test_8_1_fuzz_records_and_pages(kind: Any, data: st.DataObject) -> None:
    """8-1: any bytes: a record, or `UnexpectedResponse`, with the path of the wrong value if they are JSON."""
    page = short(PAGES[kind])
    whole = data.draw(st.booleans())
    body = data.draw(bodies(page) if whole else bodies(*page["results"]))
    target = PageBody[kind] if whole else kind
    try:
        record = decoded(body, target)
    except UnexpectedResponse as error:
        assert "\n" not in str(error)
        if error.path is not None:
            assert error.path.startswith("$")
            assert error.path in str(error)
        else:
            with pytest.raises(UnexpectedResponse):
                decode_json(body)
    else:
        assert type(record) is (PageBody if whole else kind)
        ids = [each.id for each in record.results] if whole else [record.id]
        assert all(isinstance(each, UUID) for each in ids)
        hash(record if not whole else tuple(record.results))


@pytest.mark.slow
@given(body=bodies(*PAGES.values()))
def test_8_1_fuzz_plain_json(body: bytes) -> None:
    """8-1: `session.request` gives JSON, None for nothing, or `UnexpectedResponse`."""
    try:
        value = decode_json(body)
    except UnexpectedResponse as error:
        assert error.excerpt == body[:4096].decode("utf-8", "replace")
    else:
        assert value is None or isinstance(value, str | int | float | list | dict)


@pytest.mark.slow
@KINDS
@given(data=st.data())
def test_8_1_fuzz_wrong_types_are_named_by_their_path(kind: Any, data: st.DataObject) -> None:
    """8-1: one value of a known field of another type: its path is in the error, and nothing else is."""
    page = short(PAGES[kind])
    page = json.loads(json.dumps(page))
    spots = [
        spot
        for spot in places(page)
        if isinstance(spot[2], str) and spot[2] in KNOWN[kind] and not spot[0].startswith("$.previous")
    ]
    path, container, key = data.draw(st.sampled_from(spots))
    container[key] = data.draw(st.sampled_from([-1.5, {"a": [{}]}, [[["x"]]], [{"x": 3}]]))
    if key in {"azure_profile", "id_profile", "origin"} and isinstance(container[key], dict):
        container[key] = 7  # an object is what they are
    with pytest.raises(UnexpectedResponse) as caught:
        decoded(json.dumps(page).encode(), PageBody[kind])
    assert caught.value.path is not None
    # Of a list in the place of a list it is an item that is wrong.
    assert caught.value.path == path or (
        key in {"groups", "user_invitations", "roles", "results"}
        and caught.value.path.startswith(f"{path}[0]")
    )


@pytest.mark.slow
@KINDS
@given(data=st.data(), new=st.dictionaries(st.text(max_size=10), json_values, min_size=1, max_size=3))
def test_8_1_fuzz_unknown_fields_are_ignored(kind: Any, data: st.DataObject, new: dict[str, Any]) -> None:
    """8-1: fields that are new to us, anywhere, change nothing."""
    page = short(PAGES[kind])
    expected = decoded(json.dumps(page).encode(), PageBody[kind])
    page = json.loads(json.dumps(page))
    taken = KNOWN[kind] | {"results", "count", "next"}
    new = {name: value for name, value in new.items() if name not in taken}
    holders = [
        page,
        *(container[key] for _, container, key in places(page) if isinstance(container[key], dict)),
    ]
    holder = data.draw(st.sampled_from([each for each in holders if isinstance(each, dict)]))
    if any(
        holder is each.get(profile) for each in page["results"] for profile in ("azure_profile", "id_profile")
    ):
        return  # these are passed on as they are
    holder.update({name: value for name, value in new.items() if name not in holder})
    body = json.dumps(page).encode()
    try:
        decode_json(body)
    except UnexpectedResponse:
        return  # NaN, or a huge integer: not valid for the decoder
    assert decoded(body, PageBody[kind]) == expected


@given(members=st.integers(0, 10**12), printers=st.integers(0, 10**12), count=st.integers(0, 10**12))
def test_8_1_fuzz_counts_may_be_strings(members: int, printers: int, count: int) -> None:
    """8-1: every count in a response may be a number or a string."""
    page = short(PAGES[Group])
    first = {**page["results"][0], "num_members": str(members), "num_printers": f" {printers} "}
    body = json.dumps({**page, "count": str(count), "results": [first]}).encode()
    read = decoded(body, PageBody[Group])
    assert (read.count, read.results[0].num_members, read.results[0].num_printers) == (
        count,
        members,
        printers,
    )


class Recording:
    """An API that returns what it receives."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    async def send(self, request: Request, /) -> RawResponse:
        self.sent.append(request)
        record = {**PAGES[AccountUser]["results"][0], **json.loads(request.body or b"{}")}
        return RawResponse(200, CIMultiDict(), json.dumps(record).encode())


@given(roles=st.lists(WORDS, max_size=4), provider=st.text(max_size=20), status=st.text(max_size=20))
async def test_8_1_fuzz_unknown_words_are_kept_and_sent_back(
    roles: list[str], provider: str, status: str
) -> None:
    """8-1: values of open sets are kept; the writable ones are sent back unchanged."""
    person = decoded(json.dumps({"id": ID, "roles": roles}).encode(), AccountUser)
    assert person.roles == tuple(roles)
    api = Recording()
    answer = await Accounts(api).update(person.id, roles=person.roles)
    assert json.loads(api.sent[0].body or b"") == {"roles": roles}
    assert answer.roles == tuple(roles)
    invitation = {"id": ID, "delivery_status": status, "invitation_status": status}
    read = decoded(json.dumps(invitation).encode(), Invitation)
    assert (read.delivery_status, read.invitation_status) == (status, status)
    group = {**PAGES[Group]["results"][0], "origin": {"provider": provider, "foreign_id": status}}
    origin = decoded(json.dumps(group).encode(), Group).origin
    assert (origin.provider, origin.foreign_id) == (provider, status)


@given(data=st.data(), padding=st.integers(0, 4200))
def test_8_3_fuzz_an_unreadable_response_shows_no_secret(data: st.DataObject, padding: int) -> None:
    """8-3: a malformed response that contains the token, escaped in any way and truncated anywhere."""
    secret = data.draw(st.sampled_from(SECRETS))
    text = data.draw(spelled(secret))
    shape = data.draw(
        st.sampled_from(['{"id":"%s"}', '["%s"]', '{"id":5,"%s":0}', '"%s"', '{"id":"%s"', '<a href="%s">'])
    )
    body = b" " * padding + (shape % text).encode()
    request = GROUPS.get(ID)
    answer = RawResponse(200, CIMultiDict({"X-Request-ID": secret}), body, "ours", SECRETS)
    with pytest.raises(UnexpectedResponse) as caught:
        decode_response(request, answer, lambda raw: decode(raw, Group))
    text = shown(caught.value)
    assert leaks(text) == []
    assert secret[:12] not in text
