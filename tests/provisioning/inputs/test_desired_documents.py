"""`DesiredState.from_json` and `from_yaml`: what is read, what is refused, and where."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ezeep_async.provisioning import DesiredState, InvalidInput
from ezeep_async.provisioning.inputs.desired import Format


needs_yaml = pytest.mark.skipif(find_spec("yaml") is None, reason="the extra yaml is not installed")
both = pytest.mark.parametrize("form", ["json", pytest.param("yaml", marks=needs_yaml)])


def parse(form: Format, text: str | bytes) -> DesiredState:
    content = text.encode() if isinstance(text, str) else text
    return DesiredState.from_bytes(content, form, source="people")


def problems(form: Format, text: str | bytes) -> list[str]:
    """The problems without the file name."""
    with pytest.raises(InvalidInput) as caught:
        parse(form, text)
    found = [str(problem) for problem in caught.value.problems]
    assert all(line.startswith("people, line ") for line in found)
    return [line.removeprefix("people, ") for line in found]


MAPPING = """{
  "Sales": ["B@example.com", "a@example.com"],
  "Empty": [],
  " Sales ": ["b@example.com"],
  "One": "54E3A324-CC89-4722-8338-C285D26BEF15"
}"""
RECORDS = """[
  {"group": "Sales", "member": "b@example.com"},
  {"Member": " A@example.com", "GROUPS": ["Sales", "Finance"]},
  {"member": "c@example.com", "groups": []},
  {"member": "a@example.com", "group": "Finance"}
]"""


@both
def test_a_mapping(form: Format) -> None:
    """A repeated group gets the members of both lists; 7-10: duplicates are counted."""
    state = parse(form, MAPPING)
    assert list(state.groups.items()) == [
        ("Sales", ("b@example.com", "a@example.com")),
        ("Empty", ()),
        ("One", ("54e3a324-cc89-4722-8338-c285d26bef15",)),
    ]
    assert (state.rows, state.duplicates) == (4, 1)


@both
def test_records(form: Format) -> None:
    state = parse(form, RECORDS)
    assert list(state.groups.items()) == [
        ("Sales", ("b@example.com", "a@example.com")),
        ("Finance", ("a@example.com",)),
    ]
    assert (state.rows, state.duplicates) == (4, 1)


@both
def test_all_problems_of_a_mapping_are_reported_with_lines(form: Format) -> None:
    assert problems(
        form,
        """{
          "": ["a@example.com"],
          "Sales": [
            "nomail",
            ["a@example.com"], {"a": {"b": []}},
            ""
          ],
          "Finance": {"a@example.com": true},
          "Legal": ["a@example.com"],
          "Sa\\u0001les": "nomail"
        }""",
    ) == [
        "line 2: the group name is blank",
        "line 4: the member 'nomail' is neither an e-mail address nor a user id",
        "line 5: the member must be text, not a list",
        "line 5: the member must be text, not a mapping",
        "line 6: the member is blank",
        "line 8: the members of 'Finance' must be a list ([] for none), not a mapping",
        "line 10: the group name 'Sa\\x01les' has a control character",
        "line 10: the member 'nomail' is neither an e-mail address nor a user id",
    ]


@both
def test_all_problems_of_records_are_reported_with_lines(form: Format) -> None:
    either = "either group and member, or member and groups"
    assert problems(
        form,
        """[
          {"group": "Sales"},
          {"mail": {"a": []}, "member": "a@example.com"},
          {"group": "Sales", "groups": ["Sales"], "member": "a@example.com"},
          {"member": "nomail",
           "groups": ["", ["x"], "Sales"]},
          {"member": ["a@example.com"], "groups": "Sales"},
          {"member": "a@example.com", "Member": "b@example.com", "group": "Sales"},
          {},
          "Sales", []
        ]""",
    ) == [
        f"line 2: a record needs {either}; this one has group",
        f"line 3: a record needs {either}; this one has mail, member",
        f"line 4: a record needs {either}; this one has group, groups, member",
        "line 5: the member 'nomail' is neither an e-mail address nor a user id",
        "line 6: the group name is blank",
        "line 6: the group name must be text, not a list",
        "line 7: the member must be text, not a list",
        "line 7: the field groups must be a list, not 'Sales'",
        f"line 8: a record needs {either}; this one has member, member, group",
        f"line 9: a record needs {either}; this one has none of them",
        f"line 10: a record with {either} must be a mapping, not 'Sales'",
        f"line 10: a record with {either} must be a mapping, not a list",
    ]


def test_values_of_json_that_are_not_text() -> None:
    digits = "1" * 10_000
    found = problems("json", f'{{"Sales": [1.5e3, true,\nnull, NaN, -Infinity, {digits}],\n"Finance": null}}')
    assert found == [
        *(f"line 1: the member must be text, not {value}" for value in ("1.5e3", "true")),
        *(f"line 2: the member must be text, not {value}" for value in ("null", "NaN", "-Infinity")),
        f"line 2: the member must be text, not {'1' * 80}...",
        "line 3: the members of 'Finance' must be a list ([] for none), not null",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: the file is empty"),
        ("\ufeff \r\n", "line 1: the file is empty"),
        ("5", "line 1: the document must be a mapping from groups to members or a list of records, not 5"),
        ('"Sales"', "list of records, not 'Sales'"),
        ('{"Sales": []}\r\n\r{}', "line 3: not JSON: Extra data, at '{}'"),
        ('\n{"Sales": ["a@example.com",]}', "line 2: not JSON: "),
        ('\n{"Sales": [],}', "line 2: not JSON: "),
        ('{"Sales": ["a@example.com"\n', "line 2: not JSON: Expecting ',' delimiter, at the end"),
        ('{"Sales": ["a@exam', "line 1: not JSON: Unterminated string starting at, at '\"a@exam'"),
        ('{"Sales"\n["a@example.com"]}', "line 2: not JSON: Expecting ':' delimiter"),
        ('{"Sales": ]}', "line 1: not JSON: Expecting value"),
        ("{'Sales': []}", "line 1: not JSON: Expecting property name enclosed in double quotes"),
        ('{"Sales": ["a@example.com" "b@example.com"]}', "line 1: not JSON: Expecting ',' delimiter"),
        ('{"Sa\nles": []}', "line 1: not JSON: Invalid control character at"),
        ('[{"group": "Sales"}}', "not JSON: Expecting ',' delimiter, at '}'"),
        ("// people\n{}", "line 1: not JSON: Expecting value"),
    ],
)
def test_json_syntax_errors_are_reported_with_lines(text: str, expected: str) -> None:
    assert expected in problems("json", text)[-1]


@both
def test_problems_before_a_syntax_error_are_reported(form: Format) -> None:
    assert [line.partition(":")[0] for line in problems(form, '{"Sales": ["nomail",\n"",\n')] == [
        "line 1",
        "line 2",
        "line 3",
    ]


@both
def test_a_record_that_a_syntax_error_cuts_off_is_one_problem(form: Format) -> None:
    found = problems(form, '[{"group": ""},\n{"group": "Sales"')
    assert len(found) == 3
    assert ["line 1: " in line for line in found] == [True, True, False]
    assert ": not " in found[-1]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("json", '{"Sales": ' + "[" * 100_000),
        ("json", '{"Sales": [' + '{"a":' * 100_000),
        pytest.param("yaml", "Sales: " + "[" * 900, marks=needs_yaml),
        pytest.param("yaml", "- " * 900, marks=needs_yaml),
    ],
    ids=["lists", "mappings", "flow", "blocks"],
)
def test_a_deep_document_is_refused(form: Format, text: str) -> None:
    assert problems(form, text)[-1] == "line 1: mappings and lists are nested more than 100 levels deep"


@both
def test_each_line_that_is_not_utf8_is_reported_and_the_rest_is_read(form: Format) -> None:
    assert problems(form, b'{"Sales": ["a\xff@example.com",\r\n"nomail",\r"\xc3\n"]}')[:2] == [
        "line 1: byte 14 is not UTF-8: save it as UTF-8",
        "line 3: byte 2 is not UTF-8: save it as UTF-8",
    ]
    assert problems(form, b'{"S\xe4les": ["a@example.com",\n"nomail"]}') == [
        "line 1: byte 4 is not UTF-8: save it as UTF-8",
        "line 2: the member 'nomail' is neither an e-mail address nor a user id",
    ]


@both
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_named(form: Format, encoding: str) -> None:
    with pytest.raises(InvalidInput, match=r"^people: this is UTF-16: save it as UTF-8$"):
        parse(form, MAPPING.encode(encoding))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"group,member\nSales,a@example.com\n"),
        ("a.CSV", b"member;groups\na@example.com;Sales\n"),
        ("a.json", b'{"Sales": ["a@example.com"]}'),
        pytest.param("a.yaml", b"Sales: [a@example.com]", marks=needs_yaml),
        pytest.param("a.b.yml", b"- {group: Sales, member: a@example.com}", marks=needs_yaml),
    ],
)
def test_from_file_chooses_the_format_by_suffix(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert DesiredState.from_file(path).groups == {"Sales": ("a@example.com",)}
    assert DesiredState.from_file(str(path)).groups == {"Sales": ("a@example.com",)}
    path.write_bytes(b"?!")
    with pytest.raises(InvalidInput, match=rf"{name}, line 1: "):
        DesiredState.from_file(path)


def test_from_file_refuses_other_suffixes_and_missing_files(tmp_path: Path) -> None:
    for name in ("people", "people.txt", ".csv"):
        with pytest.raises(ValueError, match=r"ends with none of \.csv, \.json, \.yaml, \.yml"):
            DesiredState.from_file(name)
    for read in (DesiredState.from_file, DesiredState.from_json):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "absent.json")


def test_from_json_reads_any_suffix(tmp_path: Path) -> None:
    path = tmp_path / "people.txt"
    path.write_text(MAPPING, "utf-8")
    assert DesiredState.from_json(path) == DesiredState.from_json(str(path)) == parse("json", MAPPING)


@pytest.mark.slow
def test_without_the_extra_only_yaml_raises_import_error(tmp_path: Path) -> None:
    """In a process of its own, where PyYAML cannot be imported."""
    path = tmp_path / "people.yaml"
    path.write_text("Sales: []\n", "utf-8")
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "from ezeep_async.provisioning import DesiredState\n"
        "assert DesiredState.from_bytes(b'{\"Sales\": []}', 'json', source='x').groups == {'Sales': ()}\n"
        "DesiredState.from_yaml(sys.argv[1])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        "ImportError: YAML needs the package PyYAML: pip install 'ezeep_async[yaml]'\n"
    )


@pytest.mark.slow
def test_yaml_is_not_imported_with_the_package() -> None:
    code = "import sys, ezeep_async, ezeep_async.provisioning; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_json_is_not_read_as_yaml() -> None:
    """Tabs, surrogate pairs, escaped slashes and keys of any length are valid; numbers are never text."""
    text = '{\r\n\t"Caf\\u00e9 \\ud83d\\ude00":\t["a@example.com"],\n\t"R\\/D": ["b@example.com"]\n}'
    assert parse("json", text).groups == {"Café 😀": ("a@example.com",), "R/D": ("b@example.com",)}
    assert problems("json", '{\n"' + "k" * 2000 + '": [],\n"Sales": [1e3]}') == [
        "line 2: the group name has 2000 characters, at most 255 are allowed",
        "line 3: the member must be text, not 1e3",
    ]
    assert problems("json", "{Sales: [a@example.com]}")[-1].startswith("line 1: not JSON: ")


@both
def test_a_string_truncated_after_a_backslash_is_a_syntax_error(form: Format) -> None:
    assert problems(form, '{"Sales": ["nomail\\')[-1].startswith("line 1: not ")
