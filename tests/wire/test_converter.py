"""Bytes to records: what the documents contradict each other on is accepted, everything else is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from uuid import UUID

import pytest

from ezeep_async import AccountUser, Group, Invitation, UnexpectedResponse, User
from ezeep_async._wire.converter import PageBody, decode, decode_json, encode


KINDS = [Group, User, AccountUser, Invitation]
PAGES = {
    "users_page_1": User,
    "groups_page": Group,
    "account_users_page": AccountUser,
    "invitations_page": Invitation,
}
ID = "0050a068-cc7b-4490-951a-06920a610ee5"
OTHER = "19b5963a-35eb-416c-9ca4-a4c2950385fb"
ORG = "54e3a324-cc89-4722-8338-c285d26bef15"


def data(name: str) -> bytes:
    return files("ezeep_async.sandbox").joinpath("data", f"{name}.json").read_bytes()


def group(**changes: Any) -> bytes:
    return json.dumps({"id": ID, "name": "Test", "organization_id": ORG, **changes}).encode()


def decoded(body: bytes, kind: Any) -> Any:
    return decode(body, kind)


@pytest.mark.parametrize("name", PAGES)
def test_8_1_the_documents_own_pages_decode(name: str) -> None:
    """8-1: every example page of the document is read, record for record, with its ids."""
    body = data(name)
    page = decoded(body, PageBody[PAGES[name]])
    assert [str(record.id) for record in page.results] == [item["id"] for item in json.loads(body)["results"]]
    assert page.count == json.loads(body)["count"]
    assert page.next == json.loads(body)["next"]


def test_8_1_a_users_groups_have_the_wires_shape_and_a_set() -> None:
    """8-1: `groups` is as on the wire, `group_ids` the frozenset of it."""
    user = decode(json.dumps({"id": ID, "groups": [{"group_id": OTHER}, {"group_id": ORG}]}).encode(), User)
    assert user.id == UUID(ID)
    assert [ref.group_id for ref in user.groups] == [UUID(OTHER), UUID(ORG)]
    assert user.group_ids == frozenset({UUID(OTHER), UUID(ORG)})
    assert isinstance(user.group_ids, frozenset)


def test_8_1_an_account_users_invitations_and_dates() -> None:
    """8-1: nested records and dates of the account directory are typed, dates aware."""
    first = decoded(data("account_users_page"), PageBody[AccountUser]).results[0]
    assert first.date_joined == datetime(2021, 5, 21, 11, 32, 27, 796675, tzinfo=UTC)
    assert first.user_invitations[0].id == UUID("e142a76f-0179-4afd-818c-663a821c2e2e")
    assert first.user_invitations[0].invitation_status == "EXPIRED"


def test_8_1_user_invitations_may_be_null() -> None:
    """8-1: `user_invitations` is a list or null."""
    assert (
        decode(json.dumps({"id": ID, "user_invitations": None}).encode(), AccountUser).user_invitations
        is None
    )


@pytest.mark.parametrize("kind", KINDS)
def test_8_1_unknown_fields_are_ignored(kind: type[Any]) -> None:
    """8-1 (as the design has it): a field that is new to us changes nothing."""
    least = {"id": ID, "name": "n", "organization_id": ORG, "groups": []}
    known = decoded(json.dumps(least).encode(), kind)
    assert decoded(json.dumps({**least, "brand_new": {"deep": [1, None]}}).encode(), kind) == known


def test_8_1_unknown_words_are_kept() -> None:
    """8-1: words of open sets are kept as they are."""
    body = json.dumps({"id": ID, "delivery_status": "BOUNCED", "invitation_status": "MYSTERY"}).encode()
    invitation = decode(body, Invitation)
    assert (invitation.delivery_status, invitation.invitation_status) == ("BOUNCED", "MYSTERY")
    assert decode(json.dumps({"id": ID, "roles": ["admin", "auditor"]}).encode(), AccountUser).roles == (
        "admin",
        "auditor",
    )
    assert decode(group(origin={"provider": "Okta"}), Group).origin.provider == "Okta"


@pytest.mark.parametrize("word", ["Ezeep", "ezeep"])
def test_9_ezeeps_own_groups_are_not_external_however_they_are_written(word: str) -> None:
    """9 (fact 4): the provider is compared without regard to case."""
    assert decode(group(origin={"provider": word}), Group).origin.is_external is False
    assert decode(group(origin={"provider": "Azure", "foreign_id": ORG}), Group).origin.is_external is True


@pytest.mark.parametrize("value", ["3", 3])
def test_8_1_counts_may_be_strings(value: object) -> None:
    """8-1: `num_members` as "3" or 3 gives the integer."""
    read = decode(group(num_members=value, num_printers=value), Group)
    assert (read.num_members, read.num_printers) == (3, 3)
    assert type(read.num_members) is int


@pytest.mark.parametrize("value", ["three", "", "1.5", 1.5, True, [], {}, "-"])
def test_8_1_what_is_no_count_is_refused_by_path(value: object) -> None:
    """8-1: a count that is none is named by its path."""
    with pytest.raises(UnexpectedResponse) as caught:
        decode(group(num_members=value), Group)
    assert caught.value.path == "$.num_members"


def test_8_1_missing_optional_fields_take_their_defaults() -> None:
    """8-1: what is not sent has its default."""
    read = decode(group(), Group)
    assert (read.description, read.local_printing_enabled, read.num_members) == ("", False, 0)


@pytest.mark.parametrize(
    ("kind", "body", "path"),
    [
        (Group, {"name": "n", "organization_id": ORG}, "id"),
        (Group, {"id": "nonsense", "name": "n", "organization_id": ORG}, "$.id"),
        (Group, {"id": ID, "name": 5, "organization_id": ORG}, "$.name"),
        (Group, {"id": ID, "name": None, "organization_id": ORG}, "$.name"),
        (Group, {"id": ID, "name": "n", "organization_id": ORG, "local_printing_enabled": "yes"},
         "$.local_printing_enabled"),
        (Group, {"id": ID, "name": "n", "organization_id": ORG, "origin": []}, "$.origin"),
        (User, {"id": ID, "groups": {}}, "$.groups"),
        (User, {"id": ID, "groups": "abc"}, "$.groups"),
        (User, {"id": ID, "groups": [{"group_id": OTHER}, {"group_id": 7}]}, "$.groups[1].group_id"),
        (User, {"id": ID, "groups": [OTHER]}, "$.groups[0]"),
        (AccountUser, {"id": ID, "date_joined": "yesterday"}, "$.date_joined"),
        (AccountUser, {"id": ID, "roles": "admin"}, "$.roles"),
        (Group, [], "$"),
        (Group, None, "$"),
    ],
)  # shorter than one item a line  # fmt: skip
def test_8_1_wrong_types_are_named_by_their_json_path(kind: type[Any], body: object, path: str) -> None:
    """8-1: a bad required field is an `UnexpectedResponse` with the JSON path of it, and the raw body."""
    raw = json.dumps(body).encode()
    with pytest.raises(UnexpectedResponse) as caught:
        decode(raw, kind)
    assert path in (caught.value.path or "") + str(caught.value)
    assert caught.value.path is not None
    assert caught.value.path.startswith("$")
    assert caught.value.excerpt == raw.decode()


def test_8_1_the_path_leads_into_the_page() -> None:
    """8-1: in a listing the path names the record that is wrong."""
    good, bad = {"id": ID, "groups": []}, {"id": OTHER, "groups": [{"group_id": "x"}]}
    body = json.dumps({"count": 2, "next": None, "results": [good, bad]}).encode()
    with pytest.raises(UnexpectedResponse) as caught:
        decoded(body, PageBody[User])
    assert caught.value.path == "$.results[1].groups[0].group_id"


@pytest.mark.parametrize("body", [{"id": ID}, {"id": ID, "groups": None}])
def test_7_3_missing_memberships_are_refused(body: object) -> None:
    """7-3: memberships that were not sent are never taken for an empty set, which a merge would write back."""
    with pytest.raises(UnexpectedResponse):
        decode(json.dumps(body).encode(), User)


@pytest.mark.parametrize("body", [b"<html><title>Oops</title></html>", b"plain", b"{", b"\xff\xfe", b"[1,]"])
def test_3_9_what_is_not_json_is_an_unexpected_response_with_an_excerpt(body: bytes) -> None:
    """3-9: an HTML page, or anything else that is no JSON, is distinguished from a response."""
    with pytest.raises(UnexpectedResponse) as caught:
        decode(body, Group)
    assert caught.value.excerpt == body.decode("utf-8", "replace")


@pytest.mark.parametrize("body", [b"", b"  \r\n"])
def test_3_9_an_empty_body_is_none(body: bytes) -> None:
    """3-9: 204 and an empty 200 are None."""
    assert decode_json(body) is None


def test_3_8_the_excerpt_has_at_most_4_kib() -> None:
    """3-8: of a long body at most 4096 bytes are kept."""
    with pytest.raises(UnexpectedResponse) as caught:
        decode(b"<" * 100_000, Group)
    assert len(caught.value.excerpt) <= 4096


@pytest.mark.parametrize("value", [False, "", [], 0, {"groups": []}, {"name": ""}, None])
def test_3_16_falsy_values_survive_encoding(value: object) -> None:
    """3-16: `False`, `""`, `[]` and `0` are sent as what they are."""
    assert json.loads(encode(value)) == value


@pytest.mark.parametrize("depth", [500, 100_000])
def test_8_1_deep_nesting_does_not_get_out_as_a_recursion_error(depth: int) -> None:
    """8-1: absurdly nested JSON is refused, not a crash."""
    body = b'{"id":"%s","azure_profile":{"a":%s}}' % (ID.encode(), b"[" * depth + b"]" * depth)
    try:
        decode(body, AccountUser)
    except UnexpectedResponse:
        pass


@pytest.mark.parametrize("digits", ["9" * 30, "9" * 5000])
def test_8_1_huge_numbers_do_not_get_out_as_other_errors(digits: str) -> None:
    """8-1: a count beyond every measure is read or refused."""
    for value in (digits, f'"{digits}"'):
        body = b'{"id":"%s","name":"n","organization_id":"%s","num_members":%s}' % (
            ID.encode(),
            ORG.encode(),
            value.encode(),
        )
        try:
            assert decode(body, Group).num_members > 0
        except UnexpectedResponse:
            pass
