"""`ezeep print`: documents, options, faults and output."""

from __future__ import annotations

import json
import os
import shlex
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from helpers import documents
from helpers.command_line import ezeep, ezeep_process, started

from ezeep_async import FileTokenStore
from ezeep_async.cli.printing.command import Paper, print_documents
from ezeep_async.sandbox import Sandbox


Capture = pytest.CaptureFixture[str]
LASER = "Front desk laser"


@pytest.fixture(autouse=True)
def _documents(login: dict[str, str], tmp_path: Path) -> None:
    assert login
    (tmp_path / "one.txt").write_bytes(b"1")
    (tmp_path / "three.txt").write_bytes(b"1\f2\f3")
    (tmp_path / "image.xyz").write_bytes(b"an image")
    (tmp_path / "empty.txt").touch()


async def test_a_document_is_printed(capsys: Capture, sandbox: Sandbox) -> None:
    """Its outcome, pages and job are on standard output, and nothing on standard error."""
    assert await print_documents("three.txt", printer=LASER) == 0
    (printed,) = sandbox.printed
    assert (printed.content, printed.type, printed.alias) == (b"1\f2\f3", "txt", "three.txt")
    assert (printed.printer.name, printed.options, printed.deleted) == (LASER, {}, True)
    shown = capsys.readouterr()
    assert shown.out == f"three.txt\tprinted\t3 of 3 pages\t{printed.job_id}\n"
    assert shown.err == ""


async def test_json(capsys: Capture, sandbox: Sandbox) -> None:
    assert await print_documents("three.txt", "image.xyz", printer=LASER, as_json=True) == 1
    good, bad = json.loads(capsys.readouterr().out)
    assert (good["document"], good["outcome"], good["error"]) == ("three.txt", "printed", None)
    assert good["job_id"] == sandbox.printed[0].job_id
    assert (good["status"]["code"], good["status"]["pages_printed"]) == (0, 3)
    assert (bad["document"], bad["outcome"], bad["job_id"], bad["status"]) == (
        "image.xyz",
        "failed",
        None,
        None,
    )
    assert "type 'xyz'" in bad["error"]


# --- options


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (["--copies", "2"], {"copies": 2}),
        (["--pages", "1-2,3"], {"PageRanges": "1-2;3"}),
        (["--duplex", "long-edge"], {"duplex": True, "duplexmode": 2}),
        (["--duplex", "short-edge"], {"duplex": True, "duplexmode": 3}),
        (["--duplex", "off"], {"duplex": True, "duplexmode": 1}),
        (["--paper", "a4"], {"paper": "A4", "paperid": 9}),
        (["--paper", "101.6x152.4mm"], {"paperid": 256, "paperwidth": 1016, "paperlength": 1524}),
        (["--color"], {"color": True}),
        (["--mono"], {"color": False}),
        (["--orientation", "landscape"], {"orientation": 2}),
        (["--resolution", "600"], {"resolution": "600"}),
        (["--tray", "Tray 1"], {"defaultSource": 259, "trayname": "Tray 1"}),
        (["--tray", "259"], {"defaultSource": 259, "trayname": "Tray 1"}),
        (["--tray", "259", "--no-check"], {"defaultSource": 259}),
    ],
)
async def test_each_option(
    login: dict[str, str], sandbox: Sandbox, given: list[str], sent: Mapping[str, object]
) -> None:
    ran = await ezeep("print", "three.txt", "--printer", LASER, *given, env=login)
    assert (ran.code, ran.err) == (0, "")
    assert sandbox.printed[0].options == sent


async def test_a_tray_that_is_named_by_a_number(sandbox: Sandbox) -> None:
    printer = next(iter(sandbox.printing.printers.values()))
    printer.trays[1].name = "2"
    assert await print_documents("one.txt", printer=LASER, paper=Paper(tray="2")) == 0
    assert sandbox.printed[0].options == {"defaultSource": 259, "trayname": "2"}


@pytest.mark.parametrize(
    ("paper", "says"),
    [
        (Paper(color=True, mono=True), "--color and --mono"),
        (Paper(pages="3-1"), "pages must be pages from 1"),
        (Paper(copies=40_000), "copies must be an integer from 1 to 32767, not 40000"),
        (Paper(paper="0x10mm"), "paper must be"),
    ],
)
async def test_options_without_sense(sandbox: Sandbox, paper: Paper, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        await print_documents("one.txt", printer=LASER, paper=paper)
    assert sandbox.count("GET /sfapi/PrepareUpload/") == 0


@pytest.mark.parametrize(
    ("paper", "says"),
    [
        (Paper(paper="A9"), "has no paper format 'A9'. It has 'Label'"),
        (Paper(color=True), "does not print in color"),
        (Paper(duplex="long-edge"), "does not print on both sides. It has 'off'"),
        (Paper(tray="Tray 1"), "has no tray 'Tray 1'"),
        (Paper(resolution="600"), "has no resolution '600'. It has '203'"),
    ],
)
async def test_what_the_printer_does_not_have(
    capsys: Capture, sandbox: Sandbox, paper: Paper, says: str
) -> None:
    """One line for all documents, with what the printer has; nothing is uploaded."""
    assert await print_documents("one.txt", "three.txt", printer="Warehouse label", paper=paper) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ezeep: one.txt, three.txt: the printer Warehouse label ")
    assert says in line
    assert sandbox.count("GET /sfapi/PrepareUpload/") == 0


async def test_a_command_line_without_a_document(login: dict[str, str], sandbox: Sandbox) -> None:
    for arguments, says in (
        (("print", "--printer", LASER), "no document is given"),
        (("print", "-", "-", "--printer", LASER), "standard input can be printed once"),
        (("print", "one.txt", "three.txt", "--name", "x", "--printer", LASER), "--name is the name of one"),
        (
            ("print", "one.txt", "--tray", "Tray 1", "--no-check", "--printer", LASER),
            "takes the index of a tray",
        ),
        (("print", "one.txt", "--printer", "Front desk lasr"), "Similar: 'Front desk laser'"),
    ):
        ran = await ezeep(*arguments, env=login)
        assert says in ran.refused()
    for arguments in (
        ("one.txt",),
        ("one.txt", "--copies", "0"),
        ("one.txt", "--no-such"),
        ("--x", "--printer", LASER),
    ):
        ran = await ezeep("print", *arguments, env=login)
        assert (ran.code, ran.out) == (64, "")
    assert sandbox.printed == []


# --- documents


async def test_several_documents_and_one_that_fails(capsys: Capture, sandbox: Sandbox) -> None:
    """The others are printed; output in the order of the arguments, one line for each problem."""
    code = await print_documents(
        "absent.pdf", "one.txt", "image.xyz", "empty.txt", "three.txt", ".", printer=LASER
    )
    assert code == 1
    assert {printed.alias for printed in sandbox.printed} == {"one.txt", "three.txt"}
    shown = capsys.readouterr()
    assert [line.split("\t")[:2] for line in shown.out.splitlines()] == [
        ["absent.pdf", "failed"], ["one.txt", "printed"], ["image.xyz", "failed"],
        ["empty.txt", "failed"], ["three.txt", "printed"], [".", "failed"],
    ]  # shorter than one item a line  # fmt: skip
    lines = shown.err.splitlines()
    assert lines[0] == "ezeep: absent.pdf: No such file or directory"
    assert lines[1].startswith("ezeep: image.xyz: the print service does not print files of the type 'xyz'")
    assert lines[2] == "ezeep: empty.txt: the source is empty: there is nothing to print"
    assert lines[3] == "ezeep: .: Is a directory"
    assert len(lines) == 4


async def test_documents_are_sent_concurrently(sandbox: Sandbox, tmp_path: Path) -> None:
    names = [f"{number}.txt" for number in range(6)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    sandbox.faults.add("POST /sfapi/Print/", times=None, delay=0.05)
    assert await print_documents(*names, printer=LASER) == 0
    assert sorted(printed.content for printed in sandbox.printed) == [name.encode() for name in names]
    assert sandbox.count("GET /sfapi/GetPrinter/") == 1
    assert sandbox.count("GET /sfapi/GetConfiguration/") == 1


async def test_standard_input(login: dict[str, str], sandbox: Sandbox) -> None:
    ran = await ezeep("print", "-", "--type", "txt", "--printer", LASER, env=login, stdin="from a pipe")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("standard input\tprinted\t")
    assert (sandbox.printed[0].content, sandbox.printed[0].type) == (b"from a pipe", "txt")
    assert sandbox.printed[0].alias is None
    ran = await ezeep("print", "-", "--name", "note.txt", "--printer", LASER, env=login, stdin="named")
    assert ran.code == 0
    assert (sandbox.printed[1].alias, sandbox.printed[1].type) == ("note.txt", "txt")
    ran = await ezeep("print", "-", "--printer", LASER, env=login, stdin="x")
    assert (ran.code, ran.err) == (
        1,
        "ezeep: standard input: the file type is not known: give --type pdf, or another type\n",
    )
    ran = await ezeep("print", "-", "--type", "txt", "--printer", LASER, env=login)
    assert (ran.code, ran.err) == (
        1,
        "ezeep: standard input: the source is empty: there is nothing to print\n",
    )


@pytest.mark.slow
async def test_standard_input_that_is_larger_than_one_upload(login: dict[str, str], sandbox: Sandbox) -> None:
    text = "0123456789abcdef" * 600_000
    ran = await ezeep_process("print", "-", "--type", "txt", "--printer", LASER, env=login, stdin=text)
    assert (ran.code, ran.err) == (0, "")
    assert sandbox.printed[0].content == text.encode()


async def test_a_named_pipe(capsys: Capture, sandbox: Sandbox, tmp_path: Path) -> None:
    """As of a shell's <(command)."""
    os.mkfifo(tmp_path / "pipe.txt")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe.txt").write_bytes(b"through a pipe"))
    writer.start()
    assert await print_documents("pipe.txt", printer=LASER) == 0
    writer.join()
    assert (sandbox.printed[0].content, sandbox.printed[0].alias) == (b"through a pipe", "pipe.txt")
    assert capsys.readouterr().err == ""


async def test_names_and_types(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"text")
    assert await print_documents("plain", printer=LASER, type=".TXT", name="Invoice 7") == 0
    assert (sandbox.printed[0].type, sandbox.printed[0].alias) == ("txt", "Invoice 7")


async def test_a_document_by_its_address(capsys: Capture, sandbox: Sandbox) -> None:
    """The query, which may be a secret, is not shown."""
    url = "https://user:a-password@files.example.com/invoice.pdf?token=a-secret-token"
    sandbox.printing.web[url] = b"%PDF"
    sandbox.behaviour.url_not_ready = 2
    assert await print_documents(url, printer=LASER) == 0
    assert (sandbox.printed[0].url, sandbox.printed[0].content, sandbox.printed[0].type) == (
        url,
        b"%PDF",
        "pdf",
    )
    assert sandbox.count("GET /sfapi/PrepareUpload/") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("https://files.example.com/invoice.pdf\tprinted\t")
    assert await print_documents("https://files.example.com/?token=a-secret-token", printer=LASER) == 1
    shown = capsys.readouterr()
    assert shown.err == (
        "ezeep: https://files.example.com/: the file type is not known: give --type pdf, or another type\n"
    )
    assert await print_documents("https:///x.pdf", printer=LASER) == 1
    assert "must be an http:// or https:// address" in capsys.readouterr().err


async def test_without_a_check_nothing_is_read(sandbox: Sandbox) -> None:
    printer_id = next(iter(sandbox.printing.printers))
    assert await print_documents("one.txt", printer=str(printer_id), no_check=True, no_wait=True) == 0
    assert not any(
        route.endswith(("GetPrinter/", "GetPrinterProperties/", "GetConfiguration/"))
        for route in sandbox.counts
    )
    assert await print_documents("one.txt", printer=LASER, no_check=True, no_wait=True) == 0
    assert sandbox.count("GET /sfapi/GetConfiguration/") == 0


# --- jobs


async def test_no_wait_ends_with_the_job(capsys: Capture, sandbox: Sandbox) -> None:
    sandbox.behaviour.job_seconds = 60
    assert await print_documents("one.txt", printer=LASER, no_wait=True) == 0
    assert capsys.readouterr().out == f"one.txt\taccepted\t\t{sandbox.printed[0].job_id}\n"
    assert sandbox.count("GET /sfapi/Status/") == 0


async def test_a_pull_queue(capsys: Capture, sandbox: Sandbox) -> None:
    """The job is accepted, and waits for a person."""
    assert await print_documents("one.txt", printer="Pull queue") == 0
    shown = capsys.readouterr()
    assert shown.out == f"one.txt\tqueued\t\t{sandbox.printed[0].job_id}\n"
    assert shown.err == ""


async def test_a_job_that_fails(capsys: Capture, sandbox: Sandbox) -> None:
    sandbox.printing.script(3011, when=lambda printed: printed.alias == "one.txt")
    assert await print_documents("one.txt", "three.txt", printer=LASER) == 1
    shown = capsys.readouterr()
    assert [line.split("\t")[1] for line in shown.out.splitlines()] == ["failed", "printed"]
    assert (
        shown.err == "ezeep: one.txt: the job failed: code 3011, failed: print the document again, ERROR|\n"
    )


async def test_a_job_that_takes_too_long(capsys: Capture, sandbox: Sandbox) -> None:
    """The message is the command that waits on."""
    sandbox.behaviour.job_seconds = 60
    assert await print_documents("one.txt", printer=LASER, timeout=0.05) == 1
    shown = capsys.readouterr()
    job_id = sandbox.printed[0].job_id
    assert shown.out.startswith("one.txt\ttimed out\t")
    assert f"may still be printed: ezeep jobs status --wait '{job_id}' waits for it\n" in shown.err


async def test_a_status_that_cannot_be_read(capsys: Capture, sandbox: Sandbox) -> None:
    """For the moment: it is read again. For good: the document was sent all the same."""
    sandbox.faults.add("GET /sfapi/Status/", status=503, retry_after=0, times=2)
    assert await print_documents("one.txt", printer=LASER) == 0
    capsys.readouterr()
    sandbox.faults.add("GET /sfapi/Status/", status=403, times=None)
    assert await print_documents("one.txt", printer=LASER) == 1
    shown = capsys.readouterr()
    assert shown.out == f"one.txt\taccepted\t\t{sandbox.printed[1].job_id}\n"
    assert shown.err.startswith("ezeep: one.txt: it was sent, and its status cannot be read: ")


# --- faults


@pytest.mark.parametrize("effect", [{"drop": "after"}, {"status": 500, "processed": True}, {"body": "?"}])
async def test_a_lost_response_is_an_unknown_outcome(capsys: Capture, sandbox: Sandbox, effect: Any) -> None:
    """The request is not repeated, and the message says what to do."""
    sandbox.faults.add("POST /sfapi/Print/", **effect)
    assert await print_documents("one.txt", printer=LASER) == 1
    assert len(sandbox.printed) == 1
    shown = capsys.readouterr()
    assert shown.out == "one.txt\tunknown\t\t\n"
    (line,) = shown.err.splitlines()
    assert line.startswith("ezeep: one.txt: the document may or may not be printed, ")
    assert line.endswith("Print again only if it is not there")


async def test_a_lost_response_of_a_pull_queue(capsys: Capture, sandbox: Sandbox) -> None:
    sandbox.faults.add("POST /sfapi/Print/", drop="after")
    assert await print_documents("one.txt", "three.txt", printer="Pull queue", as_json=True) == 1
    shown = capsys.readouterr()
    assert sorted(each["outcome"] for each in json.loads(shown.out)) == ["queued", "unknown"]
    assert "Look for it in ezeep jobs queued. Print again only if it is not there" in shown.err
    assert len(sandbox.printed) == 2


async def test_a_refused_job(capsys: Capture, sandbox: Sandbox) -> None:
    sandbox.faults.add("POST /sfapi/Print/", code=804)
    assert await print_documents("one.txt", printer=LASER) == 1
    assert (
        "one.txt: the print service refused the job: failed with the Windows error code 804"
        in capsys.readouterr().err
    )
    assert sandbox.printed == []


async def test_an_upload_that_fails(capsys: Capture, sandbox: Sandbox) -> None:
    """No document ends another one."""
    sandbox.faults.add("PUT /userstorage/{id}", status=409, times=1)
    assert await print_documents("one.txt", "three.txt", printer=LASER) == 1
    assert len(sandbox.printed) == 1
    assert sorted(line.split("\t")[1] for line in capsys.readouterr().out.splitlines()) == [
        "failed",
        "printed",
    ]


@pytest.mark.slow
async def test_a_reader_that_goes_away_misses_no_error(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    """The documents are printed, and what is wrong is on standard error all the same."""
    reading, writing = os.pipe()
    os.close(reading)
    async with started(
        "print", "one.txt", "image.xyz", "--printer", LASER, env=login, folder=tmp_path, stdout=writing
    ) as process:
        os.close(writing)
        _, err = await process.communicate()
    assert process.returncode == 141
    assert err.startswith(b"ezeep: image.xyz: the print service does not print files")
    assert len(sandbox.printed) == 1


async def test_without_a_login(login: dict[str, str], sandbox: Sandbox) -> None:
    path = FileTokenStore(login["EZEEP_TOKEN_FILE"]).path
    path.unlink()
    for more in ((), ("--no-check",)):
        printer = str(UUID(int=1)) if more else LASER
        ran = await ezeep("print", "one.txt", "--printer", printer, *more, env=login)
        assert (ran.code, "run ezeep login" in ran.err) == (4, True), ran
    assert sandbox.printed == []


async def test_the_commands_of_the_documents(login: dict[str, str], sandbox: Sandbox, tmp_path: Path) -> None:
    """Each line of docs/reference/command-line.md does what its comment says."""
    block = documents.marked("docs/reference/command-line.md", "printing")
    for name in ("invoice.pdf", "letter.docx"):
        (tmp_path / name).write_bytes(b"a document")
    for line in block.splitlines():
        _, _, command = line.rpartition("| ")
        ran = await ezeep(*shlex.split(command, comments=True)[1:], env=login, stdin="from a pipe")
        assert (ran.code, ran.err) == (0, ""), line
    assert sorted(printed.type for printed in sandbox.printed) == ["docx", "pdf", "pdf", "txt"]


async def test_the_end_of_a_login_hides_no_unknown_outcome(capsys: Capture, sandbox: Sandbox) -> None:
    """One document is sent and its response lost; the login ends before the other one."""
    sandbox.faults.add("POST /sfapi/Print/", drop="after")
    sandbox.faults.add("GET /sfapi/PrepareUpload/", nth=2, times=None, status=401)
    sandbox.faults.add("POST /oauth/access_token/", times=None, status=400, body='{"error": "invalid_grant"}')
    assert await print_documents("one.txt", "three.txt", printer=LASER) == 1
    shown = capsys.readouterr()
    assert sorted(line.split("\t")[1] for line in shown.out.splitlines()) == ["failed", "unknown"]
    assert "may or may not be printed" in shown.err
