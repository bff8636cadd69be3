"""`examples/` with one login, which is in a file: scripts, notebooks, Streamlit, and a service on aiohttp.web."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import pytest
from helpers import documents
from helpers.example_servers import EXAMPLES, environment, serving
from helpers.support import put, sandbox_in_a_thread

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block, pytest.mark.timeout(90)]

# The command of docs/how-to/aiohttp-web.md, on another port.
START = documents.marked("docs/how-to/aiohttp-web.md", "start").replace("8400", "{port}").split()[1:]
EXTRA = "the dependency group examples is not installed"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_a_thread(job_seconds=0.0) as server:
        yield server


@pytest.fixture
def login(sandbox: Sandbox, tmp_path: Path) -> str:
    path = tmp_path / "login.json"
    asyncio.run(put(FileTokenStore(path), sandbox.tokens()))
    return str(path)


def run(
    command: Sequence[str | os.PathLike[str]], sandbox: Sandbox, login: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """`python command`, in the folder of the login. Warnings are shown."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=Path(login).parent,
        env=environment(sandbox, EZEEP_TOKEN_FILE=login, **env),
        capture_output=True, text=True, check=False, timeout=60,
    )  # shorter than one item a line  # fmt: skip


def admin(sandbox: Sandbox) -> set:
    """The ids of the groups of the user of the login."""
    people = sandbox.organization.people.items()
    return next(sandbox.organization.users[key].groups for key, one in people if one.email == SANDBOX_ADMIN)


def test_the_blocking_script(sandbox: Sandbox, login: str) -> None:
    group = next(iter(sandbox.organization.groups.values()))
    admin(sandbox).clear()
    script = EXAMPLES / "scripts" / "blocking_groups.py"
    done = run([script, "--add", SANDBOX_ADMIN, group.name], sandbox, login)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(sandbox.organization.groups)
    assert admin(sandbox) == {group.id}
    Path(login).unlink()
    done = run([script], sandbox, login)
    assert (done.returncode, done.stdout) == (4, "")
    assert len(done.stderr.splitlines()) == 1


def test_the_async_script(sandbox: Sandbox, login: str) -> None:
    for name in ("one.txt", "two.txt"):
        (Path(login).parent / name).write_text(name)
    script = EXAMPLES / "scripts" / "async_printing.py"
    done = run([script, "Front desk laser", "one.txt", "missing.txt", "two.txt"], sandbox, login)
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == ["one.txt: 1 pages", "two.txt: 1 pages"]
    assert done.stderr.startswith("missing.txt: ")
    assert sorted(each.content for each in sandbox.printed) == [b"one.txt", b"two.txt"]
    done = run([script, "No such printer", "one.txt"], sandbox, login)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)


NBCLIENT = """
import json, sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=50).execute()
print(json.dumps([cell.get("outputs") for cell in notebook.cells]))
"""


def test_the_jupyter_notebook(sandbox: Sandbox, login: str) -> None:
    """`await` and blocking calls in cells, also mixed in one."""
    pytest.importorskip("nbclient", reason=EXTRA)
    admin(sandbox).clear()
    done = run(["-c", NBCLIENT, EXAMPLES / "notebooks" / "ezeep.ipynb"], sandbox, login)
    assert done.returncode == 0, done.stderr
    outputs = json.loads(done.stdout)
    assert {output["output_type"] for cell in outputs for output in cell or []} == {"execute_result"}
    first = next(iter(sandbox.organization.groups.values()))
    assert first.name in outputs[2][0]["data"]["text/plain"]
    assert admin(sandbox) == {first.id}
    assert [each.content for each in sandbox.printed] == [b"Printed in a notebook"]


BLOCKING_IN_AN_ASYNC_CELL = """
@app.cell
async def _(ezeep, groups):
    import asyncio

    await asyncio.sleep(0)
    with ezeep.run_sync(ezeep.EzeepSession.from_env()) as _session:
        print(_session.groups.list().count(), "counted in an async cell")
    return


if __name__"""


def test_5_1_the_marimo_notebook(sandbox: Sandbox, login: str) -> None:
    """5-1: async and blocking cells, and an async cell that blocks."""
    pytest.importorskip("marimo", reason=EXTRA)
    source = (EXAMPLES / "notebooks" / "ezeep_marimo.py").read_text("utf-8")
    # A copy: marimo writes beside it.
    notebook = source.replace("\nif __name__", BLOCKING_IN_AN_ASYNC_CELL)
    (Path(login).parent / "ezeep_marimo.py").write_text(notebook, "utf-8")
    done = run(["-m", "marimo", "export", "html", "ezeep_marimo.py", "-o", "out.html"], sandbox, login)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = (Path(login).parent / "out.html").read_text("utf-8")
    members = sum(len(user.groups) for user in sandbox.organization.users.values())
    assert f"{len(sandbox.organization.groups)} groups" in shown
    assert f"{members} memberships" in shown
    assert f"{len(sandbox.organization.groups)} counted in an async cell" in shown


APP_TEST = """
import sys, threading
from streamlit.testing.v1 import AppTest
app = AppTest.from_file(sys.argv[1], default_timeout=30).run()
for step in (lambda: app, lambda: app.selectbox[0].select_index(2), lambda: app.button[0].click(), lambda: app.button[1].click()):
    step().run()
    assert not app.exception and not app.error, (app.exception, app.error)
    print(app.selectbox[0].value, [each.value for each in app.success])
print([each.name for each in threading.enumerate() if each.name == "ezeep-portal"])
"""


def test_streamlit(sandbox: Sandbox, login: str) -> None:
    """Each run of the script is in another thread, and has the same session."""
    pytest.importorskip("streamlit", reason=EXTRA)
    admin(sandbox).clear()
    groups = [*sandbox.organization.groups.values()]
    done = run(["-c", APP_TEST, EXAMPLES / "streamlit_app" / "app.py"], sandbox, login)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{groups[0].name} []",
        f"{groups[2].name} []",
        f"{groups[2].name} {[f'You are a member of {groups[2].name}.']}",
        f"{groups[2].name} ['Sent to {next(iter(sandbox.printing.printers.values())).name}.']",
        "['ezeep-portal']",
    ]
    assert admin(sandbox) == {groups[2].id}
    assert [each.content for each in sandbox.printed] == [b"A test page"]


async def test_the_service_on_aiohttp_web(sandbox: Sandbox, login: str, tmp_path: Path) -> None:
    """List, add, print, and errors; its end is clean."""
    organization = sandbox.organization
    user, group = next(iter(organization.users)), next(iter(organization.groups))
    organization.users[user].groups.clear()
    with serving("aiohttp_app", START, sandbox, tmp_path, EZEEP_TOKEN_FILE=login) as server:
        async with aiohttp.ClientSession(server.url) as browser:

            async def ask(method: str, path: str, **options) -> tuple[int, str, str]:
                async with browser.request(method, path, **options) as response:
                    return response.status, await response.text(), response.headers.get("Retry-After", "")

            status, text, _ = await ask("GET", "/groups")
            assert (status, len(json.loads(text))) == (200, len(organization.groups))
            status, text, _ = await ask("POST", f"/groups/{group}/members", data={"user_id": str(user)})
            assert (status, json.loads(text)) == (200, [str(group)])
            for _ in range(2):
                sandbox.printing.add_printer("Twin")
            where = {"printer": "Front desk laser", "name": "page.pdf"}
            status, text, _ = await ask("POST", "/print", params=where, data=b"%PDF-1.4 a page")
            assert status == 202, text
            assert [each.content for each in sandbox.printed] == [b"%PDF-1.4 a page"]
            members, unknown = f"/groups/{group}/members", "00000000-0000-4000-8000-000000000000"
            for fields, expected in (({"user_id": unknown}, 404), ({"user_id": "jane"}, 400), ({}, 400)):
                assert (await ask("POST", members, data=fields))[0] == expected, fields
            for query, body, expected in (
                ({**where, "printer": "No such printer"}, b"%PDF-1.4", 404),
                ({**where, "printer": "Twin"}, b"%PDF-1.4", 409),
                ({**where, "name": "page.exe"}, b"MZ", 400),
                ({"printer": "Front desk laser"}, b"%PDF-1.4", 400),
                (where, b"", 400),
            ):
                assert (await ask("POST", "/print", params=query, data=body))[0] == expected, query

            sandbox.faults.add("GET /printing/v1/groups/", status=503, retry_after=3600.0)
            assert (await ask("GET", "/groups"))[::2] == (503, "3600")
            sandbox.faults.add("GET /printing/v1/groups/", status=403)
            assert (await ask("GET", "/groups"))[0] == 403
            assert (await ask("GET", "/groups"))[0] == 200
            sandbox.faults.add("POST /sfapi/Print/", drop="after")
            status, text, _ = await ask("POST", "/print", params=where, data=b"%PDF-1.4 once")
            assert (status, "It may have been done." in text) == (502, True)
        server.stop()
