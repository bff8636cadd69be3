"""Runs Python programs and shell scripts in a folder with a login of a sandbox, as a reader of the documents does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
from helpers.command_line import Ran
from helpers.support import put, sandbox_in_a_thread

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


SERVER = Path(__file__).with_name("program_server.py")
TIME_LIMIT_S = 30.0
# Without site-packages, it starts in 10 ms. Signals are for the command, whose exit code it waits for.
SHIM = """#!{python} -ISE
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    request = dict(program=None, arguments=["ezeep", *sys.argv[1:]], folder=os.getcwd(), environment=dict(os.environ))
    socket.send_fds(server, [json.dumps(request).encode() + b"\\n"], [0, 1, 2])
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: server.send(bytes([number])))
    code = int(server.recv(16))
    sys.exit(code if code >= 0 else 128 - code)
"""


class Programs:
    """Runs programs in forks of one process that has imported the package. Close it at the end.

    Where there is no `fork`, each program has a process of its own, and there are no shell scripts.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ezeep-"))
        self._socket = str(self._folder / "socket")
        self._process: subprocess.Popen[str] | None = None
        if hasattr(os, "fork"):
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-W", "error", str(SERVER), self._socket],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            )  # shorter than one item a line  # fmt: skip
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == "listening\n"
            self.bin = self._folder / "bin"
            self.bin.mkdir()
            command = self.bin / "ezeep"
            command.write_text(SHIM.format(python=sys.executable, path=self._socket))
            command.chmod(0o755)

    def close(self) -> None:
        if self._process is not None:
            with self._process:
                self._process.terminate()
        shutil.rmtree(self._folder)

    def python(self, text: str, folder: Path, environment: Mapping[str, str]) -> Ran:
        """Run a program to its end, with warnings as errors and without standard input."""
        program = folder / "program.py"
        program.write_text(text, "utf-8")
        if self._process is None:
            done = subprocess.run(
                [sys.executable, "-P", "-W", "error", str(program)],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=TIME_LIMIT_S, check=False,
            )  # shorter than one item a line  # fmt: skip
            return Ran(done.returncode, done.stdout, done.stderr)
        request = {
            "program": str(program),
            "arguments": [str(program)],
            "folder": str(folder),
            "environment": dict(environment),
        }
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            Path(os.devnull).open("rb") as nothing,
            socket.socket(socket.AF_UNIX) as server,
        ):
            server.settimeout(TIME_LIMIT_S)
            server.connect(self._socket)
            streams = [file.fileno() for file in (nothing, out, err)]
            socket.send_fds(server, [json.dumps(request).encode() + b"\n"], streams)
            try:
                code = int(server.recv(16))
            except TimeoutError:
                code = 124
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return Ran(code, *texts)

    def bash(self, text: str, folder: Path, environment: Mapping[str, str]) -> Ran:
        """Run a script that ends at its first error, with `ezeep` on the PATH."""
        path = os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=folder, env={**environment, "PATH": path}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=TIME_LIMIT_S, check=False,
        )  # shorter than one item a line  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)


@attrs.frozen
class Place:
    """A folder with a login, and the environment of its programs."""

    folder: Path
    environment: Mapping[str, str]
    sandbox: Sandbox


@contextlib.contextmanager
def prepared(tmp_path: Path) -> Iterator[Place]:
    """The folder in which the code blocks of the documents run: `login.json`, `people.csv` and `invoice.pdf`.

    The home folder is another one, so that a program leaves nothing in that of the user.
    """
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    (folder / "invoice.pdf").write_bytes(b"%PDF-1.4 a page")
    (folder / "people.csv").write_text(f"group,member\nNight shift,{SANDBOX_ADMIN}\n")
    with sandbox_in_a_thread(job_seconds=0) as sandbox:
        asyncio.run(put(FileTokenStore(folder / "login.json"), sandbox.tokens()))
        outside = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        yield Place(
            folder,
            {
                **outside,
                "HOME": str(home),
                "COLUMNS": "120",
                "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
                "EZEEP_REDIRECT_URI": sandbox.oauth_app.redirect_uri,
                "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
                "EZEEP_API_URL": sandbox.endpoints.api,
                "EZEEP_PRINT_URL": sandbox.endpoints.print,
                "EZEEP_TOKEN_FILE": str(folder / "login.json"),
            },
            sandbox,
        )
