"""`ezeep assignments`, `connectors`, `webhooks`, `reports` and `api`."""

from __future__ import annotations

import json
import stat
from datetime import date
from pathlib import Path

import pytest
from helpers.command_line import ezeep
from helpers.support import put

from ezeep_async import AmbiguousName, FileTokenStore, PermissionDenied
from ezeep_async.cli.administration import webhooks
from ezeep_async.cli.administration.assignments import add, list_assignments, remove
from ezeep_async.cli.administration.connectors import connectors
from ezeep_async.cli.administration.reports import create_report
from ezeep_async.cli.administration.webhooks import create_webhook, delete_webhook, list_webhooks
from ezeep_async.sandbox import Sandbox


Capture = pytest.CaptureFixture[str]


@pytest.fixture
async def login(sandbox: Sandbox, login: dict[str, str]) -> dict[str, str]:
    """As the fixture of that name, with all scopes."""
    scope = " ".join(sandbox.behaviour.scopes)
    await put(FileTokenStore(login["EZEEP_TOKEN_FILE"]), sandbox.tokens(scope=scope))
    return login


# --- assignments


@pytest.mark.usefixtures("login")
async def test_assignments_by_name(capsys: Capture, sandbox: Sandbox) -> None:
    """Printers and groups by id or exact name; the other groups stay."""
    groups = {group.name: group.id for group in sandbox.organization.groups.values()}
    printer = sandbox.printing.add_printer("Test printer", groups=[groups["Reception"]])
    await add(" Test printer", "Sales", str(groups["Support"]))
    assert set(printer.groups) == {groups[name] for name in ("Reception", "Sales", "Support")}
    assert capsys.readouterr().out == (
        f"id: {printer.id}\nname: Test printer\ngroups: Reception; Sales; Support\n"
    )
    await remove(str(printer.id), "Reception", "Support", as_json=True)
    assert json.loads(capsys.readouterr().out)["printer_id"] == str(printer.id)
    assert printer.groups == [groups["Sales"]]
    await list_assignments(group="Sales")
    assert capsys.readouterr().out == f"{printer.id}\tTest printer\tSales\n"
    await list_assignments(as_json=True)
    assert len(json.loads(capsys.readouterr().out)) == len(sandbox.printing.printers)


@pytest.mark.usefixtures("login")
async def test_what_assignments_refuse(sandbox: Sandbox) -> None:
    """Nothing is written for a name that no printer or group has, or that several printers have."""
    sandbox.printing.add_printer("Test printer")
    with pytest.raises(ValueError, match="no printer is named 'test printer': did you mean 'Test printer'"):
        await add("test printer", "Sales")
    with pytest.raises(ValueError, match="no group is named 'sales'"):
        await add("Test printer", "sales")
    with pytest.raises(ValueError, match="no group is given"):
        await remove("Test printer")
    sandbox.printing.add_printer("Test printer")
    with pytest.raises(AmbiguousName, match="2 printers are named"):
        await add("Test printer", "Sales")
    assert sandbox.count("PUT /printing/v1/assignments/{id}/") == 0


@pytest.mark.usefixtures("login")
async def test_connectors(capsys: Capture, sandbox: Sandbox) -> None:
    await connectors(type="Printserver")
    (server,) = [each for each in sandbox.administration.connectors if each.type == "Printserver"]
    assert capsys.readouterr().out == f"{server.id}\tPrint server A\tPrintserver\tOnline\t\n"
    await connectors(as_json=True)
    assert len(json.loads(capsys.readouterr().out)) == 4


# --- webhooks


@pytest.mark.usefixtures("login")
async def test_the_life_of_a_webhook(capsys: Capture, sandbox: Sandbox) -> None:
    await create_webhook("Archive", "https://hooks.example.com/", topic=("printjob_failed",))
    (endpoint,) = sandbox.webhooks.endpoints.values()
    assert f"id: {endpoint.endpoint_id}\n" in capsys.readouterr().out
    await list_webhooks()
    line = f"{endpoint.endpoint_id}\tArchive\thttps://hooks.example.com/\tprintjob_failed\tenabled\n"
    assert capsys.readouterr().out == line
    await list_webhooks(as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["endpoint_id"] == str(endpoint.endpoint_id)
    with pytest.raises(ValueError, match="--yes"):
        await delete_webhook(str(endpoint.endpoint_id))
    assert await delete_webhook(str(endpoint.endpoint_id), yes=True) == 0
    assert sandbox.webhooks.endpoints == {}


@pytest.mark.usefixtures("login")
async def test_a_declined_deletion(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    """As of a group: nothing is deleted, and the exit code is 1."""

    async def declined(question: str, *, yes: bool) -> bool:
        assert (question, yes) == ("Delete the webhook 'Archive'?", False)
        return False

    monkeypatch.setattr(webhooks, "confirmed", declined)
    monkeypatch.setattr(webhooks, "check_can_ask", lambda *, yes: None)
    await create_webhook("Archive", "https://hooks.example.com/")
    (endpoint,) = sandbox.webhooks.endpoints.values()
    capsys.readouterr()
    assert await delete_webhook(str(endpoint.endpoint_id)) == 1
    assert capsys.readouterr().err == "ezeep: nothing was deleted\n"
    assert len(sandbox.webhooks.endpoints) == 1


async def test_a_password_is_read_from_a_pipe(sandbox: Sandbox, login: dict[str, str]) -> None:
    """It is no option, and is not shown."""
    ran = await ezeep(
        "webhooks", "create", "A", "https://hooks.example.com/", "--username", "hook", "--json",
        env=login, stdin="a-long-password\n",
    )  # shorter than one item a line  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    (endpoint,) = sandbox.webhooks.endpoints.values()
    assert (endpoint.basic_username, endpoint.basic_password) == ("hook", "a-long-password")
    assert endpoint.topics == ["printjob_succeeded", "printjob_failed"]
    assert "a-long-password" not in ran.out
    ran = await ezeep(
        "webhooks", "create", "A", "https://x.example/", "--password", "a-long-password", env=login
    )
    assert ran.code == 64
    assert "a-long-password" not in ran.out + ran.err


async def test_a_missing_scope_is_named(sandbox: Sandbox, login: dict[str, str], tmp_path: Path) -> None:
    await put(FileTokenStore(login["EZEEP_TOKEN_FILE"]), sandbox.tokens())
    with pytest.raises(PermissionDenied, match="EZEEP_SCOPE"):
        await list_webhooks()
    with pytest.raises(PermissionDenied, match="reporting"):
        await create_report(out=tmp_path / "x.csv", month="2026-10")


# --- reports


@pytest.mark.usefixtures("login")
async def test_a_report_of_a_month(capsys: Capture, sandbox: Sandbox, tmp_path: Path) -> None:
    """Stored for its owner only; names are hidden unless they are asked for."""
    sandbox.behaviour.report_polls = 0
    path = tmp_path / "report.csv"
    await create_report(out=path, month="2026-12", delimiter=";", names=True)
    assert path.read_bytes() == sandbox.administration.report_content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert capsys.readouterr().out == f"58 bytes in {path}\n"
    (report,) = sandbox.administration.reports.values()
    assert (report.start, report.end, report.csv_delimiter) == ("2026-12-01", "2027-01-01", ";")
    assert (report.user_name_blank, report.user_email_blank, report.file_name_obfuscated) == (
        False,
        True,
        True,
    )
    await create_report(out=path, start="2026-10-01", end="2026-10-02")
    assert len(sandbox.administration.reports) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no period"),
        ({"start": "2026-10-01"}, "no period"),
        ({"month": "2026-10", "end": "2026-11-01"}, "together"),
        ({"month": "2026-13"}, "YYYY-MM"),
        ({"month": "October"}, "YYYY-MM"),
        ({"start": "2026-10-02", "end": "2026-10-01"}, "after start"),
    ],
)
@pytest.mark.usefixtures("login")
async def test_periods_that_are_refused(
    sandbox: Sandbox, tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await create_report(out=tmp_path / "x.csv", **options)
    assert sandbox.requests == []
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".csv"] == []


@pytest.mark.usefixtures("login")
async def test_a_file_that_cannot_be_written_is_noticed_first(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await create_report(out=tmp_path / "absent" / "x.csv", month="2026-10")
    assert sandbox.requests == []


@pytest.mark.parametrize("month", [f"{year}-{month:02}" for year in (2024, 2026) for month in range(1, 13)])
def test_every_month_has_its_days(month: str) -> None:
    """The end is the first day of the next month."""
    from ezeep_async.cli.administration.reports import _period

    start, end = map(date.fromisoformat, _period(month, None, None))
    assert (start.isoformat()[:7], start.day, end.day) == (month, 1, 1)
    assert 28 <= (end - start).days <= 31


# --- any call


async def test_a_call_of_the_api(sandbox: Sandbox, login: dict[str, str]) -> None:
    """The JSON of the response, and nothing for none. What is wrong is refused in one sentence."""
    ran = await ezeep("api", "GET", "/printing/v1/groups/?limit=1", env=login)
    assert (ran.code, json.loads(ran.out)["count"]) == (0, 13)
    made = {"name": "Füße", "organization_id": str(sandbox.organization.organization_id)}
    ran = await ezeep("api", "post", "/printing/v1/groups/", "--data", json.dumps(made), env=login)
    group = json.loads(ran.out)
    assert group["name"] == "Füße"
    path = f"/printing/v1/groups/{group['id']}/"
    ran = await ezeep("api", "PATCH", path, "--data", "-", env=login, stdin='{"description": "x"}')
    assert json.loads(ran.out)["description"] == "x"
    assert await ezeep("api", "DELETE", path, env=login) == type(ran)(0, "", "")
    for arguments, said in (
        (("GET", path), "404"),
        (("GET", "https://other.example/x"), "not one of the endpoints"),
        (("TRACE", "/x"), "TRACE"),
        (("POST", "/printing/v1/groups/", "--data", "{"), "--data is not JSON"),
    ):
        assert said in (await ezeep("api", *arguments, env=login)).refused()


async def test_a_sandbox_of_ones_own_has_all_scopes() -> None:
    """`--sandbox` needs no login, whatever the command."""
    ran = await ezeep("webhooks", "list", "--sandbox", "--json")
    assert (ran.code, json.loads(ran.out)) == (0, [])


async def test_scopes_are_a_setting(sandbox: Sandbox, login: dict[str, str], tmp_path: Path) -> None:
    """`--scope`, `EZEEP_SCOPE`, or `scope` in config.toml: what a login asks for."""
    from ezeep_async.cli.connection import Connection, open_account

    folder = tmp_path / "config" / "ezeep_async"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('scope = "printing reporting"\n')
    async with open_account(Connection()) as account:
        assert account.app.scope == "printing reporting"
    async with open_account(Connection(scope="printing webhooks")) as account:
        assert account.app.scope == "printing webhooks"
    async with open_account(Connection(scope="printing webhooks", sandbox=True)) as account:
        assert account.app.scope == "printing webhooks"
