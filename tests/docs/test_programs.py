"""The programs and scripts of the documents run as they stand, each in a folder with a login of its own sandbox."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.documents import Block, all_blocks
from helpers.programs import Programs, prepared


pytestmark = [pytest.mark.slow, pytest.mark.may_block, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    server = Programs()
    yield server
    server.close()


PROGRAMS = [each for each in all_blocks("python") if not each.mark and not each.is_included]
SCRIPTS = [each for each in all_blocks("sh") if each.mark == "run"]


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.name)
def test_a_program_runs(block: Block, programs: Programs, tmp_path: Path) -> None:
    with prepared(tmp_path) as here:
        ran = programs.python(block.text, here.folder, here.environment)
    if (ran.code, ran.err) != (0, ""):
        problem = f"{block.where}: exit code {ran.code}, and on standard error:\n{ran.err}"
        pytest.fail(f"{problem}A program of a page ends with 0, and writes nothing there.", pytrace=False)
    assert ran.out, f"{block.where} prints nothing: a program shows a result"


@pytest.mark.skipif(os.name != "posix", reason="scripts for bash")
@pytest.mark.parametrize("block", SCRIPTS, ids=lambda block: block.name)
def test_a_script_runs(block: Block, programs: Programs, tmp_path: Path) -> None:
    with prepared(tmp_path) as here:
        ran = programs.bash(block.text, here.folder, here.environment)
    if ran.code != 0:
        pytest.fail(f"{block.where}: exit code {ran.code}\n{ran.out}{ran.err}", pytrace=False)


MAIN = """
import atexit, os, pickle, sys
print(__name__, os.path.basename(sys.argv[0]), sorted(os.listdir()), os.environ["EZEEP_TOKEN_FILE"] == os.path.abspath("login.json"))
class Own: ...
print(type(pickle.loads(pickle.dumps(Own()))) is Own, sys.stdin.read() == "", "" in sys.path)
atexit.register(print, "at exit")
"""


@pytest.mark.parametrize(
    ("text", "code", "out", "err"),
    [
        (MAIN, 0, "__main__ program.py ['invoice.pdf', 'login.json', 'login.json.lock', 'people.csv', 'program.py'] True\nTrue True False\nat exit\n", ""),
        ("import warnings; warnings.warn('old')", 1, "", "UserWarning: old\n"),
        ("import socket\nx = socket.socket()\ndel x", 0, "", "ResourceWarning: unclosed"),
        ("import sys; sys.exit(3)", 3, "", ""),
        ("import os, signal; print(1, flush=True); os.kill(os.getpid(), signal.SIGTERM)", -15, "1\n", ""),
        ("import os; os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '600'); print(1)", 0, "1\n", ""),
        ("import os; os.environ['EZEEP_API_URL'] = 'x'; os.chdir('/'); print(1)", 0, "1\n", ""),
    ],
    ids=["main", "warning", "resource", "code", "signal", "left", "changes"],
)  # shorter than one item a line  # fmt: skip
def test_the_server_of_programs(
    text: str, code: int, out: str, err: str, programs: Programs, tmp_path: Path
) -> None:
    """As a process of its own would run them. One of them leaves nothing to the next."""
    with prepared(tmp_path) as here:
        ran = programs.python(text, here.folder, here.environment)
    assert (ran.code, ran.out) == (code, out)
    assert err in ran.err if err else ran.err == ""


def test_a_program_has_a_time_limit(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is terminated."""
    monkeypatch.setattr("helpers.programs.TIME_LIMIT_S", 0.2)
    text = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    with prepared(tmp_path) as here:
        assert programs.python(text, here.folder, here.environment).code == 124
        pid = int((here.folder / "pid").read_text())
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                time.sleep(0.01)


SCRIPT = """
ezeep groups list --json | python -c 'import json, sys; print(len(json.load(sys.stdin)))'
ezeep groups create Sales --quiet >sales.txt & wait $!
ezeep groups show Sales --json >sales.json && test -s sales.json
code=0; ezeep groups show Absent 2>/dev/null || code=$?; echo $code
code=0; ezeep provision plan people.csv >/dev/null || code=$?; echo $code
ezeep keep-alive --interval 600 2>kept.txt & until test -s kept.txt; do sleep 0.05; done; kill $!; code=0; wait $! || code=$?; echo $code
echo text | ezeep --quiet print - --type txt --printer "Front desk laser" --no-wait >/dev/null
ezeep groups absent
"""


@pytest.mark.skipif(os.name != "posix", reason="scripts for bash")
def test_a_script_has_the_command(programs: Programs, tmp_path: Path) -> None:
    """With its exit codes, pipes, redirections and signals. The script ends at the first error."""
    with prepared(tmp_path) as here:
        ran = programs.bash(f"{SCRIPT}echo not shown\n", here.folder, here.environment)
    assert (ran.code, ran.out.split()) == (64, ["13", "1", "2", "0"]), ran
    assert "absent" in ran.err
