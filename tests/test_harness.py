"""The guards of this suite work: a guard that cannot fail is worth nothing."""

from __future__ import annotations

import asyncio
import os
import warnings
from pathlib import Path

import pytest
from blockbuster import BlockingError

import ezeep_async
from ezeep_async import FileTokenStore


async def test_a_test_that_blocks_the_loop_fails(tmp_path: Path) -> None:
    """Reading a token file on the loop, which the store itself does in a thread."""
    store = FileTokenStore(tmp_path / "login.json")
    assert await store.load() is None
    with pytest.raises(BlockingError):
        store._save(None)  # type: ignore[arg-type]


async def test_warnings_are_errors() -> None:
    """Whatever the package is warned of fails its test."""
    with pytest.raises(UserWarning):
        warnings.warn("anything", stacklevel=1)


@pytest.mark.skipif(
    "NOX_CURRENT_SESSION" not in os.environ, reason="outside nox the checkout is what is tested"
)
def test_nox_tests_the_built_package() -> None:
    """A file that is missing from the wheel must not be found in the checkout."""
    assert ".nox" in Path(ezeep_async.__file__).parts


@pytest.mark.usefixtures("debug_mode")
async def test_the_debug_mode_is_on_where_it_is_asked_for() -> None:
    """The tests of concurrency run with it."""
    assert asyncio.get_running_loop().get_debug()
