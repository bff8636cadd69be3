"""Every file that a person may have edited is read in the same way: mark, encoding and line ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ezeep_async import FileTokenStore, Plan, ReadOnlyTokens, TokenSet
from ezeep_async._text.text_files import NotText, is_blank, text_of
from ezeep_async.cli.connection import Configuration, Connection, open_account
from ezeep_async.provisioning import DesiredState, read_audit_log
from ezeep_async.provisioning.runs.audit import AuditLog, AuditRecord


TOKEN = {
    "version": 1,
    "token": {"access_token": "a", "refresh_token": "r", "expires_at": 1893456000, "scope": "printing"},
    "note": "Büro",
}
RECORD = '{"run_id":"1","time":"2026-01-01T00:00:00Z","operation":"create_group","outcome":"started","name":"Büro"}'


async def as_token_file(path: Path) -> object:
    return await FileTokenStore(path).load()


async def as_secret_token(path: Path) -> object:
    return await ReadOnlyTokens(path).load()


async def as_csv(path: Path) -> object:
    return DesiredState.from_csv(path).groups


async def as_json(path: Path) -> object:
    return DesiredState.from_json(path).groups


async def as_yaml(path: Path) -> object:
    pytest.importorskip("yaml", reason="the extra yaml is not installed")
    return DesiredState.from_yaml(path).groups


async def as_configuration(path: Path) -> object:
    configuration = Configuration({"EZEEP_CONFIG": str(path)})
    return configuration.get("client_id"), configuration.get("client_secret")


async def as_secret(path: Path) -> object:
    async with open_account(Connection(client_id="x", client_secret_file=path)) as account:
        return account.app.client_secret


async def as_plan(path: Path) -> object:
    return Plan.from_json(path.read_bytes()).notes


async def as_log(path: Path) -> object:
    return [record.name for record in read_audit_log(path)]


PLAN = Plan(notes=("Büro",)).to_json().replace("\\u00fc", "ü")
READERS: list[tuple[str, Callable[[Path], object], object]] = [
    (json.dumps(TOKEN, indent=2, ensure_ascii=False), as_token_file, "a"),
    (json.dumps(TOKEN, indent=2, ensure_ascii=False), as_secret_token, "a"),
    ("group,member\nBüro,a@example.com\n", as_csv, {"Büro": ("a@example.com",)}),
    ('{\n"Büro":\n["a@example.com"]\n}', as_json, {"Büro": ("a@example.com",)}),
    ("Büro:\n- a@example.com\n", as_yaml, {"Büro": ("a@example.com",)}),
    ('client_id = "Büro"\nclient_secret = "b"\n', as_configuration, ("Büro", "b")),
    ("Büro\n", as_secret, "Büro"),
    (PLAN, as_plan, ("Büro",)),
    (f"{RECORD}\n{RECORD}\n", as_log, ["Büro", "Büro"]),
]
IDS = [reader.__name__ for _, reader, _ in READERS]


@pytest.mark.may_block
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(("text", "read", "found"), READERS, ids=IDS)
async def test_a_mark_and_line_ends_do_not_count(
    tmp_path: Path, text: str, read: Callable[[Path], object], found: object, encoding: str, line_end: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(text.replace("\n", line_end).encode(encoding))
    result = await read(path)
    assert (result.access_token if isinstance(result, TokenSet) else result) == found


@pytest.mark.may_block
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "cp1252", "mac-roman"])
@pytest.mark.parametrize(("text", "read", "found"), READERS, ids=IDS)
async def test_another_encoding_has_the_same_advice_everywhere(
    tmp_path: Path, text: str, read: Callable[[Path], object], found: object, encoding: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(
        Exception, match=r"(this is UTF-16|byte \d+ is not UTF-8): save it as UTF-8"
    ) as caught:
        await read(path)
    assert type(caught.value).__module__.startswith(("ezeep_async", "builtins"))
    assert not isinstance(caught.value, UnicodeError)


def test_a_log_that_an_editor_saved_in_another_encoding_is_not_cut_short(tmp_path: Path) -> None:
    """Its last line is not one that a killed process left: what it says would not be taken back."""
    path = tmp_path / "log"
    path.write_bytes(RECORD.replace("Büro", "Buero").encode() + b"\n" + RECORD.encode("cp1252") + b"\n")
    with pytest.raises(Exception, match=r"line 2: byte \d+ is not UTF-8: save it as UTF-8"):
        list(read_audit_log(path))
    torn = RECORD.encode()[: RECORD.encode().index("ü".encode()) + 1]
    path.write_bytes(RECORD.encode() + b"\n" + torn)
    assert len(list(read_audit_log(path))) == 1


@pytest.mark.may_block
def test_logs_that_were_put_together_and_lines_that_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(
        b"\xef\xbb\xbf" + RECORD.encode() + b"\r\n\xef\xbb\xbf" + RECORD.encode() + b"\r\nwrong\r\n"
    )
    records: list[AuditRecord] = []
    with pytest.raises(Exception, match=r"line 3: this is no line of an audit log"):
        records += read_audit_log(path)
    asyncio.run(AuditLog(path).check())
    for empty in (b"", b"\xef\xbb\xbf", b"\n"):
        path.write_bytes(empty)
        assert list(read_audit_log(path)) == []
        asyncio.run(AuditLog(path).check())


@pytest.mark.parametrize("content", [b"", b" \r\n", b"\xef\xbb\xbf", "\ufeff\n", ""])
def test_blank(content: bytes | str) -> None:
    assert is_blank(content)
    assert not text_of(content).strip()


@pytest.mark.parametrize("content", [b"\0", b"\0\0\0", b"a", "a\ud800"])
def test_what_is_left_to_the_reader(content: bytes | str) -> None:
    assert text_of(content)


def test_the_error_holds_nothing_of_the_text() -> None:
    with pytest.raises(NotText, match="line 2: byte 7") as caught:
        text_of(b"x\ns3cret\xff\n")
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cret" not in repr(error) + repr(error.args)
        assert not isinstance(error, UnicodeError)
        error = error.__cause__ or error.__context__
