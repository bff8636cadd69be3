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
    """Register the marker, for `--strict-markers`."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def ezeep_sandbox(request: pytest.FixtureRequest) -> Iterator[ThreadedSandbox]:
    """Open a new sandbox for one test, in its own thread: for blocking tests and for tests in any event loop.

    `@pytest.mark.ezeep_sandbox(users=10, expires_in=60.0)` sets its options, on a test, a class, or with
    `pytestmark` for a module. The marker nearest to the test has precedence.

    Yields:
        The open sandbox.
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
