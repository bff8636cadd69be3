"""`ezeep print` that a signal ends: what was sent is reported as sent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from helpers.command_line import ended, started

from ezeep_async import EzeepSession, OutcomeUnknown, PrintJob, ReauthorizationRequired
from ezeep_async.cli.printing.command import print_documents
from ezeep_async.cli.printing.documents import Document, Run
from ezeep_async.sandbox import Sandbox


Capture = pytest.CaptureFixture[str]
LASER = "Front desk laser"
PRINT = "POST /sfapi/Print/"


@pytest.fixture(autouse=True)
def _documents(login: dict[str, str], tmp_path: Path) -> None:
    assert login
    for name in ("one.txt", "two.txt", "three.txt"):
        (tmp_path / name).write_bytes(name.encode())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
async def test_a_print_request_gets_its_response(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path, number: int, code: int
) -> None:
    """The document is reported with its job; one that is being uploaded is not sent."""
    hold = sandbox.faults.hold(PRINT)
    upload = sandbox.faults.hold("PUT /userstorage/{id}", when=lambda request: request.body == b"two.txt")
    async with started(
        "print", "one.txt", "two.txt", "--printer", LASER, env=login, folder=tmp_path
    ) as process:
        await hold.arrived()
        await upload.arrived()
        process.send_signal(number)
        assert process.stderr is not None
        line = await process.stderr.readline()
        assert (
            line
            == b"ezeep: stopping: waiting for the response to 1 print request. Ctrl-C again does not wait\n"
        )
        hold.release()
        ran = await ended(process)
        upload.release()
    (printed,) = sandbox.printed
    assert ran.out == f"one.txt\taccepted\t\t{printed.job_id}\ntwo.txt\tnot sent\t\t\n"
    assert (ran.code, ran.err) == (code, "ezeep: interrupted: 1 of 2 documents sent\n")


@pytest.mark.slow
async def test_an_interruption_while_a_pipe_is_silent(login: dict[str, str], sandbox: Sandbox) -> None:
    """A person who types nothing does not keep the command from its end."""
    async with started("print", "-", "--type", "txt", "--printer", LASER, env=login) as process:
        while sandbox.count("GET /sfapi/PrepareUpload/") == 0:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        ran = await ended(process)
    assert (ran.out, ran.err) == (
        "standard input\tnot sent\t\t\n",
        "ezeep: interrupted: 0 of 1 document sent\n",
    )
    assert sandbox.printed == []


async def test_a_second_signal_does_not_wait(capsys: Capture, sandbox: Sandbox) -> None:
    """The outcome is unknown then, and the command says so."""
    hold = sandbox.faults.hold(PRINT)
    command = asyncio.create_task(print_documents("one.txt", printer=LASER, as_json=True))
    await hold.arrived()
    os.kill(os.getpid(), signal.SIGINT)
    while "stopping" not in (err := capsys.readouterr().err):
        await asyncio.sleep(0)
    assert "1 print request." in err
    os.kill(os.getpid(), signal.SIGINT)
    assert await command == 1
    hold.release()
    shown = capsys.readouterr()
    (document,) = json.loads(shown.out)
    assert (document["outcome"], document["job_id"]) == ("unknown", None)
    assert "one.txt: the document may or may not be printed: there was no response yet" in shown.err
    assert "interrupted: 0 of 1 document sent" in shown.err


async def test_an_interruption_while_a_job_is_printed(capsys: Capture, sandbox: Sandbox) -> None:
    sandbox.behaviour.job_seconds = 60
    command = asyncio.create_task(print_documents("one.txt", printer=LASER))
    while sandbox.count("GET /sfapi/Status/") == 0:
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
    assert await command == 0  # main makes 130 of it
    shown = capsys.readouterr()
    assert shown.out.startswith("one.txt\taccepted\t")
    assert shown.out.endswith(f"\t{sandbox.printed[0].job_id}\n")
    assert shown.err == "ezeep: interrupted: 1 of 1 document sent\n"


async def test_a_url_may_be_printed_from_its_first_request_on(capsys: Capture, sandbox: Sandbox) -> None:
    hold = sandbox.faults.hold(PRINT)
    url = "https://files.example.com/a.pdf"
    command = asyncio.create_task(print_documents(url, printer=LASER))
    await hold.arrived()
    os.kill(os.getpid(), signal.SIGINT)
    while "stopping" not in capsys.readouterr().err:
        await asyncio.sleep(0)
    hold.release()
    await command
    assert capsys.readouterr().out == f"{url}\taccepted\t\t{sandbox.printed[0].job_id}\n"


async def test_documents_that_wait_for_their_turn_are_not_sent(
    capsys: Capture, sandbox: Sandbox, tmp_path: Path
) -> None:
    names = [f"{number}.txt" for number in range(7)]
    for name in names:
        (tmp_path / name).write_bytes(b"text")
    hold = sandbox.faults.hold(PRINT)
    command = asyncio.create_task(print_documents(*names, printer=LASER))
    await hold.arrived(4)
    os.kill(os.getpid(), signal.SIGINT)
    while "4 print requests" not in capsys.readouterr().err:
        await asyncio.sleep(0)
    hold.release()
    await command
    outcomes = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    assert outcomes == ["accepted"] * 4 + ["not sent"] * 3
    assert len(sandbox.printed) == 4


async def test_the_outcome_is_shown_before_the_session_is_closed(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing may wait for a token exchange, and may fail."""

    close = EzeepSession.aclose

    async def aclose(session: EzeepSession) -> None:
        await close(session)
        raise OSError("the token file cannot be written")

    monkeypatch.setattr(EzeepSession, "aclose", aclose)
    with pytest.raises(OSError, match="token file"):
        await print_documents("one.txt", printer=LASER)
    assert capsys.readouterr().out.startswith("one.txt\tprinted\t")


@pytest.mark.slow
async def test_an_unknown_outcome_is_reported_if_standard_output_is_closed(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.faults.add(PRINT, status=502, times=None)
    reading, writing = os.pipe()
    os.close(reading)
    async with started(
        "print", "one.txt", "--printer", LASER, env=login, folder=tmp_path, stdout=writing
    ) as process:
        os.close(writing)
        ran = await ended(process)
    assert ran.code == 141
    assert ran.err.startswith("ezeep: one.txt: ")


async def test_a_login_that_has_ended_does_not_hide_an_unknown_outcome(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(_: Run, document: Document, __: object) -> PrintJob:
        if document.source == "one.txt":
            raise OutcomeUnknown("the response was lost")
        raise ReauthorizationRequired("log in again")

    monkeypatch.setattr(Run, "_send", send)
    assert await print_documents("one.txt", "two.txt", printer=LASER) == 1
    shown = capsys.readouterr()
    assert shown.out == "one.txt\tunknown\t\t\ntwo.txt\tfailed\t\t\n"
    assert "one.txt: the response was lost" in shown.err
