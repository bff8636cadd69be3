"""A process that has imported the package, and forks for each program that a test or a shell sends it.

A script of its own, without the other helpers: `python -P -W error program_server.py SOCKET`. A request is one line of JSON
with the standard streams as file descriptors beside it. The response is the exit code. Meanwhile
the client may send a byte, the number of a signal for the program. When the client closes the connection, it is terminated.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import select
import signal
import socket
import sys
import threading
import types
from pathlib import Path


# What almost every program imports. A part that is imported later is imported by the child, as it would be elsewhere.
IMPORTED = [
    "asyncio",
    "ezeep_async.blocking.session",
    "ezeep_async.provisioning.service",
    "ezeep_async.sandbox",
    "ezeep_async.session",
    "ezeep_async.testing",
    "ezeep_async.cli.app",
    "ezeep_async.cli.main",
]
POLL_S = 0.004
"""While programs run: the end of a child is seen no later."""


def request_of(connection: socket.socket) -> tuple[dict, list[int]]:
    """The request and its descriptors, which come with its first byte."""
    text, descriptors, _, _ = socket.recv_fds(connection, 65536, 3)
    while text and not text.endswith(b"\n"):
        text += connection.recv(65536)
    return json.loads(text), descriptors


def become(request: dict, descriptors: list[int]) -> None:
    """Take over the streams, the folder and the environment of the client."""
    os.setpgid(0, 0)
    for number, (descriptor, name) in enumerate(zip(descriptors, ("stdin", "stdout", "stderr"), strict=True)):
        os.dup2(descriptor, number)
        os.close(descriptor)
        old = getattr(sys, name)  # it still knows whether the server's own file could be sought
        stream = io.TextIOWrapper(
            open(number, "wb" if number else "rb", closefd=False),
            encoding=old.encoding,
            errors=old.errors,
            line_buffering=number == 2,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]


def next_program(listener: socket.socket) -> dict:
    """Serve until there is a program to run. Returns in its child only."""
    running: dict[int, socket.socket] = {}
    parent = os.getppid()
    while True:
        watched = [listener, *running.values()]
        ready, _, _ = select.select(watched, [], [], POLL_S if running else 1.0)
        if os.getppid() != parent:
            sys.exit()
        for pid, connection in [*running.items()]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                if connection in ready:  # a signal for the program, or the end of the client
                    os.killpg(pid, int.from_bytes(connection.recv(1)) or signal.SIGTERM)
                continue
            del running[pid]
            with contextlib.suppress(ProcessLookupError):  # what the program has left behind
                os.killpg(pid, signal.SIGKILL)
            with connection, contextlib.suppress(OSError):
                connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        if listener in ready:
            connection, _ = listener.accept()
            request, descriptors = request_of(connection)
            if (pid := os.fork()) == 0:
                for each in [listener, connection, *running.values()]:
                    each.close()
                become(request, descriptors)
                return request
            os.setpgid(pid, pid)  # here too: it has its group before it can be terminated
            for descriptor in descriptors:
                os.close(descriptor)
            running[pid] = connection


def run(program: str) -> None:
    """Run the file as the main module, and leave its end to that of the interpreter."""
    main = types.ModuleType("__main__")
    main.__file__ = program
    sys.modules["__main__"] = main
    exec(compile(Path(program).read_bytes(), program, "exec"), vars(main))


def serve(path: str) -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("listening", flush=True)
        request = next_program(listener)
    if request["program"] is not None:
        run(request["program"])
        return
    from ezeep_async.cli.entry import main

    sys.exit(main())


if __name__ == "__main__":
    serve(sys.argv[1])
