"""Pages: sizes and offsets of the framework, silent caps, and next links to other hosts (4-1, 4-2, 4-6, 4-11)."""

from __future__ import annotations

import pytest
from yarl import URL


USERS = "/printing/v1/users/"


async def ids(client, query: str) -> tuple[list[str], str | None, str | None]:
    status, page = await client("GET", f"{USERS}?{query}")
    assert status == 200
    assert page["count"] == 134
    return [user["id"] for user in page["results"]], page["next"], page["previous"]


async def test_next_is_the_public_http_address(server, client):
    """3-1: a client that follows it unchanged leaves the sandbox."""
    _, following, preceding = await ids(client, "limit=50&offset=50")
    assert following == "http://api2.ezeep.com/printing/v1/users/?limit=50&offset=100"
    assert preceding == "http://api2.ezeep.com/printing/v1/users/?limit=50"
    _, page = await client("GET", "/v1/users/?limit=1")
    assert page["next"] == "http://account.ezeep.com/v1/users/?limit=1&offset=1"


async def test_following_offsets_returns_each_user_once(server, client):
    server.behaviour.max_page_size = 7
    query, seen = "limit=1000", []
    while True:
        page, following, _ = await ids(client, query)
        seen += page
        if following is None:
            break
        query = URL(following).query_string
        assert "limit=7" in query
    assert seen == [str(user_id) for user_id in sorted(server.organization.users)]


@pytest.mark.parametrize("limit", ["0", "-3", "many", ""])
async def test_invalid_limit_is_the_default(client, limit):
    page, following, _ = await ids(client, f"limit={limit}")
    assert len(page) == 20
    assert following.endswith("?limit=20&offset=20")


@pytest.mark.parametrize("offset", ["-1", "far", ""])
async def test_invalid_offset_is_zero(server, client, offset):
    page, _, preceding = await ids(client, f"limit=3&offset={offset}")
    assert page == [str(user.id) for user in server.organization.listed_users()[:3]]
    assert preceding is None


async def test_full_last_page_has_no_next(client):
    page, following, _ = await ids(client, "limit=67&offset=67")
    assert (len(page), following) == (67, None)


@pytest.mark.parametrize("offset", [134, 500])
async def test_beyond_the_end_is_an_empty_page(client, offset):
    page, following, preceding = await ids(client, f"offset={offset}")
    assert (page, following) == ([], None)
    assert preceding is not None


async def test_unknown_parameters_are_echoed(client):
    """4-11: page and per_page have no effect here, and are repeated in next."""
    page, following, _ = await ids(client, "page=3&per_page=5")
    assert len(page) == 20
    assert URL(following).query == {"limit": "20", "offset": "20", "page": "3", "per_page": "5"}


async def test_paging_by_number(server, client):
    server.behaviour.paging = "page"
    server.behaviour.max_page_size = 60
    first, following, preceding = await ids(client, "per_page=100&limit=5&offset=7")
    assert (len(first), preceding) == (60, None)
    assert URL(following).query == {"page": "2", "per_page": "60", "limit": "5", "offset": "7"}
    third, following, preceding = await ids(client, "per_page=60&page=3")
    assert (len(third), following) == (14, None)
    assert URL(preceding).query == {"page": "2", "per_page": "60"}
    assert len((await ids(client, ""))[0]) == 20
    for number in ("4", "0", "x"):
        response = await client("GET", f"{USERS}?per_page=60&page={number}")
        assert response == (404, {"detail": "Invalid page."})
    _, page = await client("GET", "/v1/userinvitations/?per_page=1&page=2")
    assert len(page["results"]) == 1


@pytest.mark.parametrize("paging", ["offset", "page"])
async def test_ignored_offset_never_ends(server, client, paging):
    server.behaviour.ignore_offset = True
    server.behaviour.paging = paging
    first, following, _ = await ids(client, "limit=100&per_page=100")
    second, following, _ = await ids(client, URL(following).query_string)
    third, following, _ = await ids(client, URL(following).query_string)
    assert first == second == third
    assert following is not None


async def test_lists_of_both_hosts_page(client):
    for path, count in (("/printing/v1/groups/", 13), ("/v1/users/", 134), ("/v1/userinvitations/", 2)):
        _, page = await client("GET", f"{path}?limit=1&offset=1")
        assert (page["count"], len(page["results"])) == (count, 1)


async def test_insertion_repeats_and_deletion_skips(server, client):
    """4-4: offsets have no snapshot."""
    before = [str(user.id) for user in server.organization.listed_users()]
    first, _, _ = await ids(client, "limit=10")
    server.organization.remove_user(server.organization.listed_users()[0].id)
    _, page = await client("GET", f"{USERS}?limit=10&offset=10")
    assert first == before[:10]
    assert page["results"][0]["id"] == before[11]
    assert page["count"] == 133
