"""The pytest plugin: the fixture `ezeep_sandbox`, and the marker of the same name with its options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ezeep_async.testing.threaded import ThreadedSandbox


MARKER = (
    "ezeep_sandbox(users=134, groups=13, seed=0, **behaviour): how the fixture ezeep_sandbox is made: the keywords of "
    "ezeep_async.sandbox.Sandbox"
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, for `--strict-markers`."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def ezeep_sandbox(request: pytest.FixtureRequest) -> Iterator[ThreadedSandbox]:
    """A fresh sandbox for one test, in a thread of its own: for blocking tests and for tests on any event loop.

    `@pytest.mark.ezeep_sandbox(users=10, expires_in=60.0)` changes it, for a test, a class, or with `pytestmark` for a
    module. Of two markers that name the same option the one nearer to the test counts.
    """
    options: dict[str, Any] = {}
    for marker in request.node.iter_markers("ezeep_sandbox"):  # the nearest first
        if marker.args:
            pytest.fail(
                "the marker ezeep_sandbox takes keywords only, such as ezeep_sandbox(users=10)", pytrace=False
            )
        options = {**marker.kwargs, **options}
    with ThreadedSandbox(**options) as sandbox:
        yield sandbox
