"""The processes of a run: the server on one core, and the contenders, which take turns on another."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from works import CONTENDERS, GENERATED, HTTPX, REQUESTS, UVLOOP


HERE = Path(__file__).parent
NEEDED = {
    UVLOOP: ("uvloop",),
    HTTPX: ("httpx", "authlib"),
    REQUESTS: ("requests",),
    GENERATED: ("httpx",),
}
"""What contenders import besides the SDK and its dependencies."""


def missing(contender: str) -> list[str]:
    """Packages that this contender needs and that are not installed."""
    return [name for name in NEEDED.get(contender, ()) if importlib.util.find_spec(name) is None]


def take_core() -> int | None:
    """Bind this process, and those that it starts, to one core; gives another one for the server, if there is one."""
    if not hasattr(os, "sched_setaffinity") or len(cores := sorted(os.sched_getaffinity(0))) < 2:
        return None
    os.sched_setaffinity(0, cores[:1])
    return cores[-1]


class Server:
    """The server, seen from here."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    def prepare(self, **setup: float) -> None:
        """Set its state and empty its counters."""
        self._control(json.dumps(setup).encode())

    def counted(self) -> dict[str, int]:
        """Requests, refreshes and memberships since then."""
        return self._control(None)

    def _control(self, body: bytes | None) -> dict[str, int]:
        with urllib.request.urlopen(self.base + "/control", body, timeout=60) as response:
            counters: dict[str, int] = json.load(response)
            return counters


class Contender:
    """A process that does works."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self._process = process
        self.works: list[str] = json.loads(self._line())

    def do(self, work: str, n: int, *, repeat: int = 1, groups: int = 1) -> dict[str, float]:
        """Do a work; gives CPU and wall seconds, and the peak memory of the process in MiB."""
        assert self._process.stdin is not None
        job = {"work": work, "n": n, "repeat": repeat, "groups": groups}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        measured: dict[str, float] = json.loads(self._line())
        return measured

    def _line(self) -> str:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise SystemExit(f"{self.name} has ended: its message is above")
        return line


@contextmanager
def server(core: int | None) -> Iterator[Server]:
    """Run the server on a core."""
    command = [sys.executable, str(HERE / "server.py"), *(["--core", str(core)] if core is not None else [])]
    with _process(command) as process:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()))


@contextmanager
def contender(name: str, base: str, generated: Path | None) -> Iterator[Contender]:
    """Run one contender."""
    command = [sys.executable, str(HERE / "contenders" / CONTENDERS[name]), base]
    with _process(command, {"PYTHONPATH": str(generated)} if name == GENERATED else {}) as process:
        yield Contender(name, process)


@contextmanager
def contenders(names: list[str], base: str, generated: Path | None) -> Iterator[dict[str, Contender]]:
    """Run several contenders, which stay alive between their works."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(contender(name, base, generated)) for name in names}


@contextmanager
def _process(command: list[str], more: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EZEEP_")}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, **(more or {})},
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        # Both kinds of process end with their standard input, which leaving the block closes.


def start(command: list[str]) -> dict[str, float]:
    """Run a command to its end; gives CPU and wall seconds."""
    begun = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "120"}
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} has failed")
    return {"cpu": usage.ru_utime + usage.ru_stime, "wall": wall}


def imported(statement: str) -> dict[str, float]:
    """Run an import in a new interpreter; gives CPU and wall seconds without the start of the interpreter."""
    script = (
        "import json, time, warnings\n"
        "wall, cpu = time.perf_counter(), time.process_time()\n"
        f"with warnings.catch_warnings(record=True): {statement}\n"
        "cpu, wall = time.process_time() - cpu, time.perf_counter() - wall\n"
        "print(json.dumps({'cpu': cpu, 'wall': wall}))"
    )
    output = subprocess.check_output([sys.executable, "-c", script], text=True)
    measured: dict[str, float] = json.loads(output)
    return measured
