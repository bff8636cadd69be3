"""`session.reports`: started, polled, and streamed to a file."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import pickle
import stat
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from helpers.stub_servers import Seen, Stub, no_jitter, session_on
from helpers.support import QUICK, bounded

from ezeep_async import (
    BadRequest,
    Disconnected,
    EzeepSession,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    PrintReport,
    ReportFailed,
    ReportTimeout,
    ServerError,
)
from ezeep_async.sandbox import Sandbox


CREATE = "POST /reporting/reports"
READ = "GET /reporting/reports/{id}"
DOWNLOAD = "GET /reporting/reports/{id}/download"


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[EzeepSession]:
    async with EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(scope="printing reporting"),
        endpoints=sandbox.endpoints,
        settings=QUICK,
    ) as opened:
        yield opened


async def test_from_the_start_to_the_file(session: EzeepSession, sandbox: Sandbox, tmp_path: Path) -> None:
    """Created, pending for some polls, then ready and stored. Paths have no slash at their end."""
    sandbox.behaviour.report_polls = 2
    report = await session.reports.create(date(2026, 10, 1), "2026-11-01")
    assert isinstance(report, PrintReport)
    assert (report.id, report.status) == (report.report_id, "pending")
    assert (report.start, report.end, report.format) == ("2026-10-01", "2026-11-01", "csv")
    ready = await session.reports.wait(report.id, interval=0.001)
    assert ready.status == "succeeded"
    assert ready == await session.reports.get(report.id)
    assert sandbox.count(READ) == 4
    path = tmp_path / "report.csv"
    content = sandbox.administration.report_content
    assert await session.reports.download(report.id, path) == len(content)
    assert path.read_bytes() == content
    assert not any(seen.path.endswith("/") for seen in sandbox.requests)


async def test_all_options_are_sent(session: EzeepSession, sandbox: Sandbox) -> None:
    """The documents do not say what an option that is left out means."""
    await session.reports.create("2026-10-01", "2026-11-01")
    assert json.loads(sandbox.requests[-1].body) == {
        "start": "2026-10-01",
        "end": "2026-11-01",
        "csv_delimiter": ",",
        "timestamp_offset": 0,
        "file_name_obfuscated": True,
        "user_email_blank": True,
        "user_name_blank": True,
    }
    report = await session.reports.create(
        datetime(2026, 10, 1, 2, tzinfo=timezone(timedelta(hours=2))),
        datetime(2026, 10, 1, 0, 0, 0, 500000),  # noqa: DTZ001  # taken as UTC
        delimiter=";",
        utc_offset=-12,
        obfuscate_file_names=False,
        blank_emails=False,
        blank_names=False,
    )
    assert json.loads(sandbox.requests[-1].body) == {
        "start": "2026-10-01T00:00:00Z",
        "end": "2026-10-01T00:00:00.500000Z",
        "csv_delimiter": ";",
        "timestamp_offset": -12,
        "file_name_obfuscated": False,
        "user_email_blank": False,
        "user_name_blank": False,
    }
    assert (report.csv_delimiter, report.timestamp_offset, report.user_name_blank) == (";", -12, False)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"start": "last month"}, "start"),
        ({"start": 5}, "start"),
        ({"end": None}, "end"),
        ({"end": "2026-10-01"}, "after start"),
        ({"end": date(2026, 9, 30)}, "after start"),
        ({"end": datetime(2026, 10, 1, tzinfo=UTC)}, "after start"),
        ({"end": datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))}, "out of range"),
        ({"delimiter": "\t"}, "delimiter"),
        ({"utc_offset": 1.0}, "utc_offset"),
        ({"utc_offset": True}, "utc_offset"),
        ({"utc_offset": 15}, "utc_offset"),
        ({"blank_names": 1}, "blank_names"),
        ({"blank_emails": None}, "blank_emails"),
        ({"obfuscate_file_names": "no"}, "obfuscate_file_names"),
    ],
)
async def test_invalid_arguments_are_refused_unsent(
    session: EzeepSession, sandbox: Sandbox, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        await session.reports.create(**({"start": "2026-10-01", "end": "2026-11-01"} | wrong))
    assert sandbox.requests == []


@pytest.mark.parametrize("bad", ["", " ", ".", "..", None, 5, "x" * 256])
async def test_bad_ids_are_refused_before_any_request(
    session: EzeepSession, sandbox: Sandbox, tmp_path: Path, bad: Any
) -> None:
    for call in (
        lambda: session.reports.get(bad),
        lambda: session.reports.wait(bad),
        lambda: session.reports.download(bad, tmp_path / "x"),
    ):
        with pytest.raises(ValueError, match="report_id"):
            await call()
    assert sandbox.requests == []
    assert [*tmp_path.iterdir()] == []


async def test_an_id_is_text_and_is_quoted() -> None:
    """The documented example is not a UUID. Nothing in an id leaves its part of the path."""
    record = {"report_id": "r/7f?x#é%2F..", "status": "succeeded"}

    def handler(seen: Seen) -> web.Response:
        return web.json_response(record)

    async with Stub(handler) as stub, session_on(stub.url) as session:
        assert (await session.reports.get(record["report_id"])).id == record["report_id"]
        assert stub.seen[0].path == "/reporting/reports/r%2F7f%3Fx%23%C3%A9%252F.."


async def test_a_time_with_seven_digits() -> None:
    """A .NET timestamp; unknown fields are ignored, missing ones have defaults."""
    record = {"report_id": "r7", "status": "pending", "created": "2030-02-01T06:00:00.1234561Z", "other": 1}
    async with Stub(lambda _: web.json_response(record)) as stub, session_on(stub.url) as session:
        report = await session.reports.get("r7")
    assert report == PrintReport(
        report_id="r7", status="pending", created=datetime(2030, 2, 1, 6, 0, 0, 123456, UTC)
    )


async def test_a_lost_creation_is_not_repeated(session: EzeepSession, sandbox: Sandbox) -> None:
    sandbox.faults.add(CREATE, drop="after")
    with pytest.raises(OutcomeUnknown):
        await session.reports.create("2026-10-01", "2026-11-01")
    assert sandbox.count(CREATE) == 1


async def test_refusals(session: EzeepSession, sandbox: Sandbox, tmp_path: Path) -> None:
    """3-8, and an unknown id."""
    sandbox.faults.add(CREATE, status=400, body='{"end": ["Too long a period."]}')
    with pytest.raises(BadRequest) as caught:
        await session.reports.create("2016-10-01", "2026-11-01")
    assert set(caught.value.field_errors) == {"end"}
    for call in (
        session.reports.get,
        session.reports.wait,
        lambda each: session.reports.download(each, tmp_path / "x"),
    ):
        with pytest.raises(NotFound):
            await call("unknown")
    assert [*tmp_path.iterdir()] == []


async def test_a_missing_scope_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    """`PermissionDenied` says to ask for `reporting`."""
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
    ) as session:
        for call in (
            lambda: session.reports.create("2026-10-01", "2026-11-01"),
            lambda: session.reports.get("x"),
            lambda: session.reports.wait("x"),
            lambda: session.reports.download("x", tmp_path / "x"),
        ):
            with pytest.raises(PermissionDenied, match=r"OAuthApp.scope='printing reporting'.") as caught:
                await call()
            assert caught.value.scope == "reporting"


# --- waiting


async def test_a_status_that_is_not_known_is_an_error(session: EzeepSession, sandbox: Sandbox) -> None:
    """The words for a failure are not documented: any other one ends the wait, and is shown."""
    report = await session.reports.create("2026-10-01", "2026-11-01")
    sandbox.administration.reports[report.id].status = "out of paper"
    with pytest.raises(ReportFailed, match="'out of paper'") as caught:
        await session.reports.wait(report.id)
    assert not isinstance(caught.value, ReportTimeout)
    assert caught.value.report is not None
    assert caught.value.report.status == "out of paper"
    assert pickle.loads(pickle.dumps(caught.value)).report == caught.value.report


@pytest.mark.parametrize("timeout", [0, 0.05])
async def test_a_report_that_is_not_ready_in_time(
    session: EzeepSession, sandbox: Sandbox, timeout: float
) -> None:
    """`ReportTimeout`, which has the last status. It is asked for once at least."""
    sandbox.behaviour.report_polls = 10_000
    report = await session.reports.create("2026-10-01", "2026-11-01")
    with pytest.raises(ReportTimeout, match="Wait for it again") as caught:
        await session.reports.wait(report.id, interval=0.02, timeout=timeout)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.report == report
    assert sandbox.count(READ) >= 1


async def test_a_status_that_cannot_be_read_now_is_asked_for_again(
    session: EzeepSession, sandbox: Sandbox
) -> None:
    """Rate limits and server errors are no statuses. Other errors end the wait, and so does the last request."""
    report = await session.reports.create("2026-10-01", "2026-11-01")
    sandbox.faults.add(READ, times=7, status=503)
    assert (await session.reports.wait(report.id, interval=0.001)).status == "succeeded"
    assert sandbox.count(READ) == 9
    sandbox.faults.add(READ, times=None, status=503)
    with pytest.raises(ServerError):
        await session.reports.wait(report.id, interval=0.001, timeout=0)
    with pytest.raises(ValueError, match="interval"):
        await session.reports.wait(report.id, interval=0)


async def test_a_status_is_not_asked_for_before_the_time_that_the_server_names(
    session: EzeepSession, sandbox: Sandbox
) -> None:
    """`Retry-After` of 10 minutes: the next request is the last one, at the end of the timeout."""
    report = await session.reports.create("2026-10-01", "2026-11-01")
    sandbox.faults.add(READ, times=None, status=503, retry_after=600)
    with pytest.raises(ServerError):
        await session.reports.wait(report.id, interval=0.001, timeout=0.05)
    assert sandbox.count(READ) == 2


# --- downloading


async def ready(session: EzeepSession, sandbox: Sandbox) -> str:
    report = await session.reports.create("2026-10-01", "2026-11-01")
    sandbox.administration.reports[report.id].status = "succeeded"
    return report.id


async def test_a_file_is_replaced_when_the_new_one_is_complete(
    session: EzeepSession, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Until then it keeps its content, and after a failure too. It is readable for its owner only."""
    path = tmp_path / "report.csv"
    path.write_text("old")
    report_id = await ready(session, sandbox)
    sandbox.faults.add(DOWNLOAD, status=404)
    with pytest.raises(NotFound):
        await session.reports.download(report_id, path)
    assert path.read_text() == "old"
    await session.reports.download(report_id, str(path))
    assert path.read_bytes() == sandbox.administration.report_content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [path]


async def test_a_symbolic_link_stays_one(session: EzeepSession, sandbox: Sandbox, tmp_path: Path) -> None:
    """And so does its target. A folder is refused."""
    report_id, target = await ready(session, sandbox), tmp_path / "there" / "report.csv"
    target.parent.mkdir()
    (tmp_path / "link").symlink_to(target)
    await session.reports.download(report_id, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == sandbox.administration.report_content
    with pytest.raises(IsADirectoryError):
        await session.reports.download(report_id, target.parent)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "there"]


async def test_a_download_that_breaks_off_begins_again(tmp_path: Path) -> None:
    """What the first attempt wrote is gone: the file has the content once. Without a complete one there is no file."""
    breaks = 1

    async def handler(seen: Seen) -> web.StreamResponse:
        async def pieces() -> AsyncIterator[bytes]:
            nonlocal breaks
            yield b"0123456789" * 10_000
            if breaks:
                breaks -= 1
                raise ConnectionResetError
            yield b"end"

        return web.Response(body=pieces())

    path = tmp_path / "report.csv"
    async with Stub(handler) as stub, session_on(stub.url, retries=2) as session:
        assert await session.reports.download("r", path) == 100_003
        assert path.read_bytes() == b"0123456789" * 10_000 + b"end"
        assert len(stub.seen) == 2
        breaks = 3
        with pytest.raises(Disconnected):
            await session.reports.download("r", tmp_path / "other.csv")
        assert len(stub.seen) == 5
    assert [*tmp_path.iterdir()] == [path]


async def test_an_empty_report_is_an_empty_file(
    session: EzeepSession, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.administration.report_content = b""
    path = tmp_path / "report.csv"
    assert await session.reports.download(await ready(session, sandbox), path) == 0
    assert path.read_bytes() == b""


@pytest.mark.slow
async def test_a_large_report_is_never_whole_in_memory(tmp_path: Path) -> None:
    """64 MiB, more than the largest response that is read into memory."""
    piece, number = b"x" * 65536, 1024

    async def handler(seen: Seen) -> web.StreamResponse:
        assert seen.headers["Accept"] == "*/*"

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(number):
                yield piece

        return web.Response(body=pieces())

    path = tmp_path / "report.csv"
    async with Stub(handler) as stub, session_on(stub.url) as session:
        with bounded(8_000_000):
            assert await session.reports.download("r", path) == len(piece) * number
    assert path.stat().st_size == len(piece) * number


async def test_a_folder_that_does_not_exist(session: EzeepSession, sandbox: Sandbox, tmp_path: Path) -> None:
    """The error of the system, not one of the network: nothing is retried."""
    report_id = await ready(session, sandbox)
    with pytest.raises(FileNotFoundError):
        await session.reports.download(report_id, tmp_path / "absent" / "report.csv")
    assert sandbox.count(DOWNLOAD) == 1


class _FullDisk(io.FileIO):
    def write(self, piece: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_full_disk(session: EzeepSession, sandbox: Sandbox, tmp_path: Path) -> None:
    """As above; no part of a file is left."""
    report_id = await ready(session, sandbox)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fdopen", _FullDisk)
        with pytest.raises(OSError, match="space"):
            await session.reports.download(report_id, tmp_path / "report.csv")
    assert [*tmp_path.iterdir()] == []
    assert sandbox.count(DOWNLOAD) == 1


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_cancelled_download_leaves_nothing(
    session: EzeepSession, sandbox: Sandbox, tmp_path: Path, how: str
) -> None:
    """Cancelled by asyncio or by an anyio scope, while the content arrives."""
    arrived = asyncio.Event()

    async def handler(seen: Seen) -> web.StreamResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"x" * 100_000
            arrived.set()
            await asyncio.sleep(30)

        return web.Response(body=pieces())

    async with Stub(handler) as stub, session_on(stub.url) as session:
        if how == "task":
            call = asyncio.create_task(session.reports.download("r", tmp_path / "report.csv"))
            await arrived.wait()
            await asyncio.sleep(0.05)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        else:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(session.reports.download, "r", tmp_path / "report.csv")
                    await arrived.wait()
                    await asyncio.sleep(0.05)
                    scope.cancel()
        assert [*tmp_path.iterdir()] == []


async def test_a_time_limit_that_is_no_number(session: EzeepSession, sandbox: Sandbox) -> None:
    """NaN never ends, and would ask without a pause."""
    report = await session.reports.create("2026-10-01", "2026-11-01")
    with pytest.raises(ValueError, match="timeout"):
        async with asyncio.timeout(2):
            await session.reports.wait(report.id, timeout=float("nan"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
async def test_a_pipe_or_a_device_is_not_replaced(
    session: EzeepSession, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Such as /dev/null, which an administrator may replace."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(FileExistsError, match="regular file"):
        await session.reports.download(await ready(session, sandbox), path)
    assert path.is_fifo()
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]
