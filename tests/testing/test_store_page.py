"""The token stores of the how-to pages: they run as they are printed, and pass the contracts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers import documents
from helpers.programs import prepared

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import SANDBOX_ADMIN


pytestmark = [pytest.mark.slow, pytest.mark.may_block]

FILES = {
    "bucket.py": documents.marked("docs/how-to/token-store-on-a-server.md", "bucket"),
    "leased_object.py": documents.marked("docs/how-to/token-store-on-a-server.md", "object"),
    "bucket_store.py": documents.marked("docs/how-to/token-store-on-a-server.md", "store"),
    "test_bucket_store.py": documents.marked("docs/how-to/token-store-on-a-server.md", "contract"),
    "test_own.py": documents.marked("docs/how-to/token-store-on-a-server.md", "own-tests"),
    "use.py": documents.marked("docs/how-to/token-store-on-a-server.md", "use"),
    "bucket_locks.py": documents.marked("docs/how-to/lend-locks.md", "locks"),
    "test_lending.py": documents.marked("docs/how-to/lend-locks.md", "contract"),
    "mounted.py": documents.marked("docs/how-to/write-a-token-store.md", "read-only"),
    "test_mounted.py": documents.marked("docs/how-to/write-a-token-store.md", "read-only-contract"),
}
ONCE = "not Lending or shared_lock or response_is_lost"
"""What the store with locks inherits is tested once."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.timeout(300)
def test_the_stores_pass_the_contracts(folder: Path) -> None:
    """With warnings as errors, and no plugin for asynchronous tests. Only tests of shared locks are skipped."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-rs", "-p", "no:aiohttp", "-p", "no:asyncio", "-p", "no:cacheprovider", "-k", ONCE],
        cwd=folder, capture_output=True, text=True, timeout=280, check=False,
    )  # shorter than one item a line  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert skipped
    assert not [line for line in skipped if "shared_locks" not in line and "bind" not in line], skipped


def test_a_session_uses_the_store(folder: Path) -> None:
    with prepared(folder) as here:
        done = subprocess.run(
            [sys.executable, "-W", "error", "use.py"],
            cwd=folder, env={**here.environment, "PYTHONSAFEPATH": ""}, capture_output=True, text=True, timeout=60, check=False,
        )  # shorter than one item a line  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert SANDBOX_ADMIN in done.stdout


@pytest.mark.parametrize("which", ["the lock", "shared locks", "shared locks of a store on a server"])
async def test_locks_of_another_store(folder: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    """Two stores exclude each other, and nothing is stored in the file."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    from bucket import Bucket
    from bucket_store import BucketTokenStore

    scope: dict[str, Any] = {"BucketTokenStore": BucketTokenStore, "FileTokenStore": FileTokenStore}
    exec(documents.marked("docs/how-to/lend-locks.md", "borrowed"), scope)
    exec(documents.marked("docs/how-to/write-a-token-store.md", "one-host"), scope)
    on_a_server = "server" in which
    stores = [
        scope["WithLocks"](Bucket("bucket.db"), "login") if on_a_server else scope["OneHost"]()
        for _ in range(2)
    ]
    lent = [store.shared_locks() for store in stores]
    one, two = [
        store.lock if which == "the lock" else partial(locks.hold, "user 1")
        for store, locks in zip(stores, lent, strict=True)
    ]
    order: list[str] = []

    async def hold_two() -> None:
        async with two():
            order.append("two")

    async with one():
        waiting = asyncio.create_task(hold_two())
        await asyncio.wait({waiting}, timeout=0.2)
        order.append("one")
    await waiting
    for locks in lent:
        await locks.aclose()
    assert order == ["one", "two"]
    assert not [*folder.rglob("none")]
