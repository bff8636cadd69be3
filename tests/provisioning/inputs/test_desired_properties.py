"""Properties of JSON and YAML input: round trips, and arbitrary bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ezeep_async.provisioning import DesiredState, InvalidInput
from ezeep_async.provisioning.inputs.desired import Format


yaml = pytest.importorskip("yaml", reason="the extra yaml is not installed")


@pytest.fixture(params=["in C", "in Python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """PyYAML with its parser in C, and without."""
    if request.param == "in C":
        assert yaml.__with_libyaml__
    else:
        monkeypatch.delattr(yaml, "CSafeLoader")
    return str(request.param)


def parse(form: Format, text: str | bytes) -> DesiredState:
    content = text.encode() if isinstance(text, str) else text
    return DesiredState.from_bytes(content, form, source="people")


NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=60).filter(str.strip)
MEMBERS = (
    st.emails(domains=st.just("example.com")).filter(lambda text: not set(text) & set(',;"<>'))
    | st.uuids().map(str)
    | st.sampled_from(["=@example.com", "#@example.com", "*a@example.com", "&a@example.com", "%@example.com"])
)
TRAPS = st.sampled_from(
    ["no", "Yes", "~", "null", "<<", "=", "1e3", "0o7", "2024-05-01", "12:30", ".inf", "- x", "? y"]
)
GROUPS = st.dictionaries(NAMES | TRAPS, st.lists(MEMBERS))
DUMPS = st.sampled_from(
    [
        ("json", json.dumps),
        ("json", lambda value: json.dumps(value, ensure_ascii=False, indent=2)),
        ("yaml", lambda value: yaml.safe_dump(value, sort_keys=False)),
        (
            "yaml",
            lambda value: yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=True),
        ),
        (
            "yaml",
            lambda value: yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True),
        ),
    ]
)


def fresh(value: Any) -> Any:
    """Copy without shared objects, for which PyYAML would write anchors."""
    return json.loads(json.dumps(value))


@pytest.mark.slow
@given(GROUPS, DUMPS)
def test_a_dumped_mapping_round_trips(groups: dict[str, list[str]], dump: Any) -> None:
    form, write = dump
    state = parse(form, write(fresh(groups)))
    wanted = DesiredState.from_mapping(groups)
    assert state == wanted
    assert list(state.groups) == list(wanted.groups)


@given(st.lists(st.tuples(NAMES | TRAPS, MEMBERS, st.booleans())), DUMPS)
def test_dumped_records_round_trip(rows: list[tuple[str, str, bool]], dump: Any) -> None:
    form, write = dump
    records = [
        {"group": group, "member": member} if single else {"member": member, "groups": [group]}
        for group, member, single in rows
    ]
    wanted: dict[str, list[str]] = {}
    for group, member, _ in rows:
        wanted.setdefault(group, []).append(member)
    assert parse(form, write(fresh(records))) == DesiredState.from_mapping(wanted)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text()
    | st.sampled_from(["group", "member", "groups"]),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["group", "member", "groups"]), inner)
    ),
)


@pytest.mark.slow
@given(JSON_VALUES, st.sampled_from([None, 1]))
def test_valid_json_has_no_syntax_error(value: Any, indent: int | None) -> None:
    """Output of the standard library is never reported as "not JSON"."""
    try:
        state = parse("json", json.dumps(value, indent=indent))
    except InvalidInput as error:
        assert error.count > 0
        assert not any(problem.message.startswith("not JSON") for problem in error.problems)
    else:
        assert state.rows == state.duplicates + sum(len(members) for members in state.groups.values())


SPICE = rb"""{ } [ ] : , - ? " ' \ group member groups a@example.com Sales &a *a !!str !x | > # % --- ... null true 1 NaN << @ `"""
SPICED = st.binary() | st.lists(
    st.sampled_from(
        [
            *SPICE.split(),
            b" ",
            b"\n",
            b"\r",
            b"\t",
            b"- ",
            b": ",
            b"\x00",
            b"\xff",
            b"\xef\xbb\xbf",
            b"\xc2\x85",
        ]
    ),
    max_size=30,
).map(b"".join)


@given(SPICED)
@example(b"\xef\xbb\xbf\xef\xbb\xbf{}")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(loader: str, content: bytes) -> None:
    """Only `InvalidInput` is raised, with at least one problem."""
    form: Format
    for form in ("json", "yaml", "csv"):
        for prefix in (b"", b'{"Sales": ["a@example.com"', b"Sales:\n- a@example.com\n", b"[{"):
            try:
                state = parse(form, prefix + content)
            except InvalidInput as error:
                assert error.count == len(error.problems) > 0
            else:
                assert state.rows == state.duplicates + sum(len(members) for members in state.groups.values())


@given(SPICED)
def test_json_that_the_standard_library_refuses_is_refused(content: bytes) -> None:
    try:
        json.loads(content.decode())
    except ValueError:
        with pytest.raises(InvalidInput):
            parse("json", content)
