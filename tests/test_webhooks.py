"""`ezeep_async.webhooks`: events and their authentication, without a framework."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

import ezeep_async
from ezeep_async import WebhookEvent, WebhookPrintJob
from ezeep_async.webhooks import parse_event, verify_basic


JOB: dict[str, Any] = {
    "printjob_id": "66666666-7777-4888-8999-000000000001",
    "status": "succeeded",
    "filename": "invoice 7.pdf",
    "created": "2030-01-31T11:02:03Z",
    "user_id": "77777777-8888-4999-8aaa-000000000001",
    "user_name": "Ada Example",
    "user_email": "ada@example.com",
    "printer_id": "11111111-2222-4333-8444-000000000001",
    "printer_name": "Front desk laser",
    "connector_id": "33333333-4444-4555-8666-000000000001",
    "connector_name": "Print server A",
    "type": "network",
    "color": False,
    "duplex": True,
    "copies": 2,
    "paper": "A4",
    "total_printed_pages": 8,
    "co2_impact": 5,
}


def event(**changes: Any) -> dict[str, Any]:
    return {"content": {"printjob": JOB | changes}}


@pytest.mark.parametrize("form", ["bytes", "bytes with a mark", "str", "mapping"])
def test_an_event_as_it_was_seen(form: str) -> None:
    """The body as bytes, text, or decoded by a framework."""
    text = json.dumps(event())
    body: Any = {
        "bytes": text.encode(),
        "bytes with a mark": b"\xef\xbb\xbf" + text.encode(),
        "str": text,
        "mapping": event(),
    }[form]
    parsed = parse_event(body)
    assert isinstance(parsed, WebhookEvent)
    assert parsed.topic is None
    assert parsed.raw == event()
    expected = {name: value for name, value in JOB.items() if name not in {"created", "co2_impact"}}
    job = parsed.printjob
    assert isinstance(job, WebhookPrintJob)
    assert {name: getattr(job, name) for name in expected} == expected
    assert (job.created, job.co2_impact) == (datetime(2030, 1, 31, 11, 2, 3, tzinfo=UTC), 5.0)
    assert job.raw == JOB


def test_what_is_not_known_is_kept() -> None:
    """Unknown fields are in `raw`; a topic is read if there is one."""
    body = event(tray="Tray 1") | {"topic": "printjob_failed", "event_id": 7}
    parsed = parse_event(body)
    assert parsed.topic == "printjob_failed"
    assert (parsed.raw["event_id"], parsed.printjob.raw["tray"]) == (7, "Tray 1")


def test_what_is_missing_or_of_another_type_is_empty() -> None:
    """The fields are not documented: none is required, and none makes an event unreadable."""
    assert parse_event({"content": {"printjob": {}}}).printjob == WebhookPrintJob(raw={})
    odd = dict.fromkeys(JOB, None) | {
        "copies": "2",
        "color": 1,
        "total_printed_pages": True,
        "created": "soon",
    }
    assert parse_event({"topic": 5, "content": {"printjob": odd}}).printjob == WebhookPrintJob(raw=odd)
    assert parse_event(event(co2_impact=0.25)).printjob.co2_impact == 0.25
    assert parse_event(event(co2_impact="much")).printjob.co2_impact is None


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2030-02-01T06:00:00.1234561Z", datetime(2030, 2, 1, 6, 0, 0, 123456, UTC)),
        ("2030-02-01T06:00:00+00:00", datetime(2030, 2, 1, 6, tzinfo=UTC)),
        ("2030-02-01T06:00:00", datetime(2030, 2, 1, 6)),  # noqa: DTZ001  # as it was sent
        ("2030-02-01", None),
        ('"', None),
        ("\\u0022", None),
        (1900000000, None),
    ],
)
def test_times(created: Any, expected: datetime | None) -> None:
    """Seven digits of a second, as another service of ezeep sends; what is no time is None."""
    assert parse_event(event(created=created)).printjob.created == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"\xff",
        "\ud800",
        b"[]",
        b"{}",
        b"null",
        b'{"content": null}',
        b'{"content": {"printjob": []}}',
        b"[" * 100_000,
        {},
        {"content": {}},
        None,
        5,
        [],
    ],
)
def test_another_shape_is_a_value_error(body: Any) -> None:
    """Whatever arrives: a handler responds with 400. The message has nothing of the body."""
    with pytest.raises(ValueError, match=r"content\.printjob"):
        parse_event(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*JOB, "other"]), json_values))
def test_any_print_job_is_read(job: dict[str, Any]) -> None:
    """No value of a field raises."""
    assert parse_event({"content": {"printjob": job}}).printjob.raw == job


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_body_is_an_event_or_a_value_error(body: bytes | str) -> None:
    with pytest.raises(ValueError, match="content"):
        parse_event(body)


# --- authentication


USER, PASSWORD = "hook", "a long pässword"


def basic(user: str = USER, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_the_right_credentials(name: str, scheme: str) -> None:
    """Names of headers and schemes have no case (RFC 9110). Other headers do not matter."""
    value = basic().replace("Basic", scheme)
    assert verify_basic({"Host": "x", name: value}, USER, PASSWORD)
    assert verify_basic(CIMultiDict({name: value}), USER, PASSWORD)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic "},
        {"Authorization": "Basic ????"},
        {"Authorization": "Basic é"},
        {"Authorization": basic()[6:]},
        {"Authorization": basic().replace("Basic", "Bearer")},
        {"Authorization": basic() + "A"},
        {"Authorization": basic(password=PASSWORD + " ")},
        {"Authorization": basic(password=PASSWORD[:-1])},
        {"Authorization": basic(password="")},
        {"Authorization": basic(user="Hook")},
        {"Authorization": basic(user="", password="")},
        {"Authorization": basic(user=f"{USER}:{PASSWORD}", password="")},
        {"Proxy-Authorization": basic()},
        {"Authorization": basic(), "authorization": basic()},
        CIMultiDict([("Authorization", basic()), ("Authorization", basic(password="x"))]),
    ],
)
def test_everything_else_is_refused(headers: Any) -> None:
    """Also two headers, of which another program might have checked the other one."""
    assert verify_basic(headers, USER, PASSWORD) is False


@pytest.mark.parametrize(
    ("username", "password"),
    [("", PASSWORD), (USER, ""), (None, PASSWORD), (USER, None), (USER, b"x"), ("a:b", PASSWORD)],
)
def test_a_setting_that_is_missing_lets_no_one_in(username: Any, password: Any) -> None:
    """An environment variable that is not set must not be a password that is empty."""
    for headers in ({}, {"Authorization": basic("", "")}):
        with pytest.raises(ValueError, match="username"):
            verify_basic(headers, username, password)


def test_credentials_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `compare_digest`, once for each request, and on values of one length whatever was sent."""
    compared: list[int] = []
    real = secrets.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.extend((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(secrets, "compare_digest", compare)
    for value in ("", "Basic x", basic(), basic(password="x" * 10_000)):
        verify_basic({"Authorization": value}, USER, PASSWORD)
    assert compared == [32] * 8


@given(st.text(max_size=20), st.text(max_size=20))
def test_exactly_one_pair_is_right(user: str, password: str) -> None:
    try:
        header = basic(user, password)
    except UnicodeEncodeError:
        return
    assert verify_basic({"Authorization": header}, USER, PASSWORD) is ((user, password) == (USER, PASSWORD))


# --- the module


def modules() -> Iterator[str]:
    yield from ("aiohttp", "anyio", "ezeep_async.session", "fastapi", "flask", "django")


@pytest.mark.slow
@pytest.mark.may_block
def test_the_module_needs_no_framework_and_no_session() -> None:
    """A web application that only receives events imports neither."""
    script = (
        f"import sys, ezeep_async.webhooks; print([name for name in {[*modules()]} if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"


def test_the_records_are_public() -> None:
    """They import from both places."""
    from ezeep_async import webhooks

    for name in ("Webhook", "WebhookEvent", "WebhookPrintJob"):
        assert getattr(webhooks, name) is getattr(ezeep_async, name)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": None},
        {"Authorization": ["Basic dTpw"]},
        {"Authorization": b"Basic dTpw"},
        {None: "Basic dTpw"},
    ],
)
def test_headers_of_another_type_are_no_credentials(headers: Any) -> None:
    """A refusal, not an error of the application."""
    assert not verify_basic(headers, "u", "p")


@pytest.mark.parametrize("pair", [("u", "secret\udc80"), ("u\udc80", "secret")])
def test_credentials_that_cannot_be_encoded(pair: tuple[str, str]) -> None:
    """The error does not hold the password, as that of the encoder does."""
    with pytest.raises(ValueError, match="surrogate") as caught:
        verify_basic({}, *pair)
    assert "secret" not in repr(caught.value)


@pytest.mark.parametrize("event", [False, True])
def test_a_number_that_is_no_float(event: bool) -> None:
    """It is left out, as what has another type."""
    body: Any = {"content": {"printjob": {"co2_impact": 10**400}}}
    assert parse_event(body if event else json.dumps(body)).printjob.co2_impact is None


def test_a_very_large_body() -> None:
    """It is refused before it takes 25 times its size in memory."""
    body = b'{"content": {"printjob": {}}, "x": [' + b"{}," * 1_000_000 + b"{}]}"
    with pytest.raises(ValueError, match="not an event"):
        parse_event(body)
