"""The pages on files and stores (file-formats.md, token-storage.md): their examples are read, their fields are those of the code."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import attrs
import pytest
from helpers import documents

from ezeep_async import DesiredState, FileTokenStore, KeyringTokenStore, OAuthApp, Plan, TokenSet
from ezeep_async.auth.stores import private
from ezeep_async.auth.stores.document import ENDED_FOR, SCHEMA_VERSION, with_tokens
from ezeep_async.auth.stores.encryption import is_encrypted
from ezeep_async.auth.stores.file_locks import FOLDER
from ezeep_async.auth.stores.keyring import SERVICE
from ezeep_async.provisioning import AuditRecord, read_audit_log
from ezeep_async.provisioning.plans.changes import KINDS
from ezeep_async.provisioning.runs.report import COLUMNS, Outcome


FORMATS = "docs/reference/file-formats.md"
STORAGE = "docs/reference/token-storage.md"


def _names(page: str, section: str, column: str) -> list[str]:
    """The names in code style in the first column of the table below a heading, whose first column is called so."""
    text = (documents.ROOT / page).read_text("utf-8").partition(f"## {section}\n")[2]
    # Also of a heading of another level: the next one ends the section.
    table = text.partition("\n## ")[0].partition(f"\n| {column} |")[2].partition("\n\n")[0]
    return [name for row in table.splitlines()[2:] for name in re.findall("`([^`]+)`", row.split("|")[1])]


def _read(mark_text: str, form: str) -> DesiredState:
    return DesiredState.from_bytes(mark_text.encode(), form, source="the page")  # type: ignore[arg-type]  # a format


def test_the_examples_of_directories_are_read() -> None:
    """The members and printers that each example names."""
    sales = {"Sales": ("ana@example.com", "ben@example.com")}
    members = _read(documents.marked("docs/reference/file-formats.md", "members-csv"), "csv")
    assert members.groups == {**sales, "Night shift": ("ana@example.com",)}
    by_member = _read(documents.marked("docs/reference/file-formats.md", "groups-csv"), "csv")
    assert by_member.groups == members.groups
    printers = _read(documents.marked("docs/reference/file-formats.md", "printers-csv"), "csv")
    assert printers.printers == {"Sales": ("Front desk laser",), "Guests": ("Pull queue",)}
    long = _read(documents.marked("docs/reference/file-formats.md", "directory-json"), "json")
    assert long == _read(documents.marked("docs/reference/file-formats.md", "directory-yaml"), "yaml")
    assert long.groups == {**sales, "Interns": ()}
    assert long.printers == printers.printers
    short = _read(documents.marked("docs/reference/file-formats.md", "mapping-json"), "json")
    assert short.groups == long.groups
    records = _read(documents.marked("docs/reference/file-formats.md", "records-json"), "json")
    assert records.groups == {**sales, "Night shift": ("ben@example.com",)}


def test_the_plan_of_the_page() -> None:
    text = documents.marked("docs/reference/file-formats.md", "plan-json")
    plan = Plan.from_json(text)
    written = plan.to_dict()
    assert json.loads(text) == {**written, "made_at": "2026-11-27T00:21:54Z"}
    assert plan.summary() == "create 1 group, change 1 user, add 1 membership"


def test_the_fields_of_plans_are_documented() -> None:
    assert {*_names(FORMATS, "Plan", "field")} - {"add", "exact", "undo"} == {
        field.name for field in attrs.fields(Plan)
    }
    documented = _names(FORMATS, "Plan", "`kind`")
    assert documented == [*KINDS]
    page = (documents.ROOT / FORMATS).read_text("utf-8")
    for kind, change in KINDS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{kind}` |")]
        assert re.findall("`([^`]+)`", row.split("|")[2])[: len(attrs.fields(change))] == [
            field.name for field in attrs.fields(change)
        ]


def test_the_audit_log_of_the_page(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text(documents.marked("docs/reference/file-formats.md", "audit-log"))
    records = [*read_audit_log(log)]
    assert [(record.operation, record.outcome) for record in records] == [
        ("run", "started"),
        ("create_group", "started"),
        ("create_group", "created"),
    ]
    documented = {*_names(FORMATS, "Audit log", "field")}
    fields = {field.name for field in attrs.fields(AuditRecord)}
    assert documented == fields, f"{FORMATS}: the fields of the table (left) and of a record (right) differ"


def test_the_report_of_the_page() -> None:
    rows = [*csv.DictReader(io.StringIO(documents.marked("docs/reference/file-formats.md", "report-csv")))]
    assert all(tuple(row) == COLUMNS for row in rows)
    assert {row["outcome"] for row in rows} <= {*get_args(Outcome)}
    assert {*_names(FORMATS, "Report", "`outcome`")} == {*get_args(Outcome), "different"}


async def test_the_token_file_of_the_page(tmp_path: Path) -> None:
    """What `FileTokenStore` writes for a session of the client my-client, byte for byte."""
    expires = datetime(2026, 11, 27, tzinfo=UTC)
    tokens = TokenSet(
        "opaque-access-token", "opaque-refresh-token", expires, expires_in=3600.0, token_type="Bearer"
    )
    store = FileTokenStore(tmp_path / "login.json")
    store.bind("my-client", "https://account.ezeep.com")
    await store.save(tokens)
    written = documents.marked("docs/reference/token-storage.md", "token-file")
    assert store.path.read_text() == written.removesuffix("\n")
    assert await store.load() == tokens


def test_the_fields_of_the_token_file_are_documented() -> None:
    tokens = TokenSet("a", "b", datetime.now(UTC), lineage=("~1",), grant="client_credentials", ended=True)
    owners = [("client", "account"), None]
    found = [with_tokens({}, tokens, owner) for owner in owners]
    values = found[0].pop("token")
    assert isinstance(values, dict)
    expected = {"version", "client", "account", ENDED_FOR, *(f"token.{name}" for name in values)}
    documented = {*_names(STORAGE, "The document", "field")}
    assert documented == expected, f"{STORAGE}: the fields of the table (left) and of the file (right) differ"
    page = (documents.ROOT / STORAGE).read_text("utf-8")
    assert f"| `version` | {SCHEMA_VERSION}." in page
    assert "begins with\n`gAAAA`" in page
    assert is_encrypted("gAAAA")


def test_the_names_of_files_keys_and_entries_are_documented(tmp_path: Path) -> None:
    page = (documents.ROOT / STORAGE).read_text("utf-8")
    target = tmp_path / "login.json"
    last = private.SLOTS - 1
    for suffix in ("tmp", "try"):
        assert f"`.login.json.0.{suffix}` to `.{last}.{suffix}`" in page
        with private.temporary_beside(target, b"", target.name, suffix, slots=True) as path:
            assert path.name == f".login.json.0.{suffix}"
    assert f"`{FOLDER}/`" in page
    assert f"| service | `{SERVICE}` |" in page
    assert repr(KeyringTokenStore()) == "KeyringTokenStore('login')"
    client = OAuthApp("my-client", "http://127.0.0.1:8400/callback")
    assert FileTokenStore.for_app(client).path.parent.name == "ezeep_async"


@pytest.mark.slow  # imports the client
def test_the_keys_in_redis_are_documented() -> None:
    pytest.importorskip("redis", reason="the extra redis is not installed")
    from ezeep_async import RedisTokenStore
    from ezeep_async.auth.stores.redis_locks import LOCKS_KEY

    documented = _names(STORAGE, "Redis", "key")
    store = RedisTokenStore("redis://127.0.0.1:1", "NAME")
    assert {*store._server._keys} <= {*documented}
    assert {name for name in documented if name.startswith(LOCKS_KEY)} == {
        f"{LOCKS_KEY}:turn:*",
        f"{LOCKS_KEY}:released:*",
    }
    assert "ezeep:cool-downs" in documented


@pytest.mark.slow  # imports SQLAlchemy
def test_the_tables_are_documented() -> None:
    """Each column with its type, and whether it may be NULL."""
    dialects = pytest.importorskip("sqlalchemy.dialects.postgresql", reason="the extra sql is not installed")
    from ezeep_async import SQLTokenStore

    postgresql = dialects.dialect()
    page = (documents.ROOT / STORAGE).read_text("utf-8")
    for table in SQLTokenStore.metadata().tables.values():
        rows = page.partition(f"\n`{table.name}` has a row")[2].partition("\n\n")[2].partition("\n\n")[0]
        documented = [[cell.strip() for cell in row.split("|")[1:4]] for row in rows.splitlines()[2:]]
        assert documented == [
            [
                f"`{column.name}`",
                f"`{column.type.compile(postgresql)}`" + (", primary key" if column.primary_key else ""),
                "yes" if column.nullable else "no",
            ]
            for column in table.columns
        ], f"{STORAGE}: the table of {table.name} (left) differs from that of the database (right)"
