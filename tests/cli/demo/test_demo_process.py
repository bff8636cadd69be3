"""`python -m ezeep_async demo` as a process: the main job, and every bad input that it has to survive."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from helpers.command_line import EZEEP, environment, ezeep


def facts(out: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in out.splitlines() if ": " in line and line[0].islower())


async def test_the_main_job_in_an_empty_directory(tmp_path: Path) -> None:
    ran = await ezeep("demo", folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    shown = facts(ran.out)
    assert {name: shown[name] for name in list(shown) if name not in {"requests sent", "seconds"}} == {
        "rows read": "350",
        "duplicates merged": "14",
        "groups created": "4",
        "users changed": "134",
        "memberships added": "299",
        "refreshes": "1",
        "failures": "0",
    }
    # Reading, two for each user, four groups with a search for each, the refresh, and the replays after it.
    assert 285 <= int(shown["requests sent"]) <= 330
    assert "The same again: nothing to change: 336 memberships as they should be, 0 writes" in ran.out
    sent, status = ran.out.splitlines()[-2:]
    assert sent.startswith("5. A page about this was sent to the printer 'Front desk laser', as job node-")
    assert status == "   printed, page 1 of 1"
    assert "\x1b" not in ran.out
    assert list(tmp_path.iterdir()) == []


async def test_a_file_of_ones_own_and_tokens_in_a_file(tmp_path: Path) -> None:
    """The tokens stay in the file, for its owner only, and are not shown."""
    (tmp_path / "mine.csv").write_text("group;member\nSales;second.user@example.com\n", "utf-8")
    ran = await ezeep("demo", "--csv", "mine.csv", "--token-file", "login.json", folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert facts(ran.out)["memberships added"] == "1"
    path = tmp_path / "login.json"
    assert path.stat().st_mode & 0o777 == 0o600
    stored_token = json.loads(path.read_text("utf-8"))["token"]
    assert not any(stored_token[name] in ran.out for name in ("access_token", "refresh_token"))
    stored = path.read_bytes()
    # Another sandbox, another address: the tokens in the file belong to the other one, and stay.
    again = await ezeep("demo", "--token-file", "login.json", folder=tmp_path)
    shown = again.refused()
    assert "holds a token set of http://127.0.0.1:" in shown
    assert "give --token-file a file that does not exist yet" in shown
    assert path.read_bytes() == stored


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            'group,member\nSales,second.user@example.com\n"Support,second.us',
            "mine.csv, line 3: a quote is not closed",
        ),
        ("group,member\nSales,second.user@example.com\nSupport,second.us", "mine.csv, line 3: the member"),
        ("group,member\nSales,second.user@example.com\nSupp", "mine.csv, line 3: the header has 2 columns"),
        ("", "the file is empty"),
        ("group,member\nSales,absent@example.com\n", "not in the organization: absent@example.com"),
        ("group,member\nWVD Printers,second.user@example.com\n", "another directory owns these groups"),
    ],
)
async def test_a_bad_file_is_one_sentence(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content, "utf-8")
    ran = await ezeep("demo", "--csv", "mine.csv", folder=tmp_path)
    assert says in ran.refused()
    assert path.read_text("utf-8") == content


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--csv", "absent.csv"], "absent.csv: No such file or directory"),
        (["--csv", "."], "Is a directory"),
        (
            ["--redirect-uri", "https://elsewhere.example/cb"],
            "This redirect URI is not registered for the client.",
        ),
        (["--token-file", "corrupt.json"], "corrupt.json is not a stored token set"),
        (["--token-file", "corrupt.json/below"], "corrupt.json/below cannot be"),
    ],
)
async def test_bad_input_is_one_sentence_and_loses_nothing(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    corrupt = tmp_path / "corrupt.json"
    corrupt.write_bytes(b'{"version": 1, "token": {"acc')
    corrupt.chmod(0o600)
    ran = await ezeep("demo", *arguments, folder=tmp_path)
    assert says in ran.refused()
    assert corrupt.read_bytes() == b'{"version": 1, "token": {"acc'


@pytest.mark.slow
async def test_ctrl_c_is_one_line_and_130(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *EZEEP, "demo", cwd=tmp_path, env=environment(), stdout=-1, stderr=-1
    )
    assert process.stdout is not None
    assert process.stderr is not None
    while not (await process.stdout.readline()).startswith(b"3. "):
        pass
    process.send_signal(signal.SIGINT)
    err = await process.stderr.read()
    await process.stdout.read()
    assert (await process.wait(), err) == (130, b"ezeep: interrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
async def test_without_the_extra_it_says_what_to_install(tmp_path: Path, missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['ezeep', 'demo']; import runpy; "
    code += "runpy.run_module('ezeep_async', run_name='__main__')"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=tmp_path, stdout=-1, stderr=-1
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert err == b"ezeep: the command line needs more packages: pip install 'ezeep_async[cli]'\n"
