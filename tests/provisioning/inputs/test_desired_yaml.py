"""`DesiredState.from_yaml`: values of other types, aliases and syntax errors, with both of PyYAML's parsers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ezeep_async.provisioning import DesiredState, InvalidInput


yaml = pytest.importorskip("yaml", reason="the extra yaml is not installed")


@pytest.fixture(params=["in C", "in Python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """PyYAML with its parser in C, and without."""
    if request.param == "in C":
        assert yaml.__with_libyaml__
    else:
        monkeypatch.delattr(yaml, "CSafeLoader")
    return str(request.param)


def parse(text: str) -> DesiredState:
    return DesiredState.from_bytes(text.encode(), "yaml", source="people")


def problems(text: str) -> list[str]:
    """The problems without the file name."""
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    return [str(problem).removeprefix("people, ") for problem in caught.value.problems]


def test_yaml_in_blocks(loader: str) -> None:
    state = parse(
        "\ufeff# people\n---\nSales:\n  - a@example.com\n  - >\n    b@example.com\n'no': []\n"
        '"2024": [!!str c@example.com]\n!!str 7: &anchor []\n2024-05: d@example.com\n...\n',
    )
    assert state.groups == {
        "Sales": ("a@example.com", "b@example.com"),
        "no": (),
        "2024": ("c@example.com",),
        "7": (),
        "2024-05": ("d@example.com",),
    }
    records = parse("- group: Sales\n  member: a@example.com\n- {member: b@example.com, groups: [Sales]}\n")
    assert records.groups == {"Sales": ("a@example.com", "b@example.com")}


@pytest.mark.parametrize(
    ("text", "line", "messages"),
    [
        ("no: []", 1, "no: YAML reads it as bool, so put it in quotes"),
        ("Sales: []\n2024: []", 2, "2024: YAML reads it as int, so put it in quotes"),
        ("10:30: []", 1, "10:30: YAML reads it as int, so put it in quotes"),
        ("1e3: []\n1.5: []", 2, "1.5: YAML reads it as float, so put it in quotes"),
        ("2024-05-01: []", 1, "2024-05-01: YAML reads it as timestamp, so put it in quotes"),
        ("~: []", 1, "~: YAML reads it as null, so put it in quotes"),
        ("<<: []", 1, "<<: YAML reads it as merge, so put it in quotes"),
        ("=: []", 1, "=: YAML reads it as value, so put it in quotes"),
        ("? [a]\n: []", 1, "a list"),
        ("!!int '7': []", 1, "a value with the tag tag:yaml.org,2002:int"),
        ("!local 7: []", 1, "a value with the tag !local"),
    ],
)
def test_values_that_yaml_reads_as_another_type_are_refused_as_groups(
    text: str, line: int, messages: str, loader: str
) -> None:
    assert problems(text) == [f"line {line}: the group name must be text, not {messages}"]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("Sales:", "an empty value"),
        ("Sales: yes", "yes: YAML reads it as bool, so put it in quotes"),
        ("Sales: *team", "the alias *team: write out its value"),
        ("Sales: !!set {a@example.com, [x]}", "a value with the tag tag:yaml.org,2002:set"),
        (
            "Sales: !!python/object/apply:os.system [exit 1]",
            "a value with the tag tag:yaml.org,2002:python/object/apply:os.system",
        ),
    ],
)
def test_members_in_yaml_are_a_list(text: str, messages: str, loader: str) -> None:
    """An empty value is not an empty list: in mode "exact" it would empty the group."""
    (line,) = problems(f"Legal: []\n{text}\nFinance: []\n")
    assert line == f"line 2: the members of 'Sales' must be a list ([] for none), not {messages}"


def test_aliases_are_not_expanded(loader: str) -> None:
    """Each use of an alias is one problem, however many members it would expand to."""
    bomb = "a: &a [x@example.com]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert len(problems(bomb)) == 8 * 9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: the file is empty"),
        ("# people\n", "line 1: the file is empty"),
        ("---\n---\na: []\n", "line 2: a second document begins here: a file must have one document"),
        ("a: []\n---\nb: []\n", "line 2: a second document begins here: a file must have one document"),
        ("a: []\n\tb: []\n", "line 2: not YAML: "),
        ("a: []\n'b: []\n", "line 3: not YAML: "),
        ("a: b: c\n", "line 1: not YAML: mapping values are not allowed"),
        ("%YAML 3.0\n---\na: []\n", "line 1: not YAML: found incompatible YAML document"),
        ("Größe: []\n\nb\x01: []\n", "line 3: not YAML: the character '\\x01'"),
        # Where it is counts bytes in one parser and characters in the other.
        ("ÄÖÜ" * 9 + "\x01: []\n\n\n\nb: []\n", "line 1: not YAML: the character '\\x01'"),
        ('a: []\n"\\UFFFFFFFF": []\n', "not YAML: "),
        ("%YAML 1." + "9" * 9000 + "\n---\na: []\n", "not YAML: "),
    ],
)
def test_yaml_syntax_errors_are_reported_with_lines(text: str, expected: str, loader: str) -> None:
    assert expected in problems(text)[-1]


def test_a_deep_document_is_refused(loader: str) -> None:
    for text in ("Sales: " + "[" * 900, "- " * 900):
        assert problems(text)[-1] == "line 1: mappings and lists are nested more than 100 levels deep"
    assert "tag !x" in problems("Sales: !x " + "[" * 900)[0]


def test_from_yaml_reads_any_suffix(tmp_path: Path) -> None:
    path = tmp_path / "people.txt"
    path.write_text("Sales: [a@example.com]\nLegal: [nomail]\n", "utf-8")
    with pytest.raises(InvalidInput, match=r"people\.txt, line 2: "):
        DesiredState.from_yaml(path)
    path.write_text("Sales: [a@example.com]\n", "utf-8")
    assert DesiredState.from_yaml(str(path)).groups == {"Sales": ("a@example.com",)}
