"""Folders, numbers and signatures of the stores."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import stat
from pathlib import Path

import pytest
from helpers.support import put

from ezeep_async import FileTokenStore, ReadOnlyTokens
from ezeep_async.sandbox import Sandbox


def test_8_3_the_environment_is_in_no_signature() -> None:
    """8-3: help() and error pages show default values."""
    assert inspect.signature(ReadOnlyTokens.from_env).parameters["environ"].default is None


@pytest.mark.may_block
@pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")
def test_2_5_every_folder_that_is_made_is_private(sandbox: Sandbox, tmp_path: Path) -> None:
    """2-5: the folders above it too, under umask 000."""
    umask = os.umask(0)
    try:
        asyncio.run(put(FileTokenStore(tmp_path / "a" / "b" / "login.json"), sandbox.tokens()))
    finally:
        os.umask(umask)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "a", tmp_path / "a" / "b")] == [
        0o700
    ] * 2


async def test_2_6_a_number_that_is_too_large_is_none(sandbox: Sandbox, tmp_path: Path) -> None:
    """2-6: no OverflowError, and the token set is kept."""
    path = tmp_path / "login.json"
    store = FileTokenStore(path)
    await put(store, sandbox.tokens())
    document = json.loads(path.read_text())
    document["token"]["expires_in"] = 10**400
    path.write_text(json.dumps(document))
    loaded = await store.load()
    assert loaded is not None
    assert loaded.expires_in is None


async def test_2_8_a_folder_with_the_name_of_a_leftover_blocks_nothing(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """2-8: it was not made by the store, and stays."""
    folder = tmp_path / ".login.json.0.tmp"
    folder.mkdir()
    await put(FileTokenStore(tmp_path / "login.json"), sandbox.tokens())
    assert folder.is_dir()
