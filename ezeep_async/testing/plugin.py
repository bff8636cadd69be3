"""The pytest plugin: the fixture `ezeep_sandbox`, and the marker of the same name with its options.

It is an entry point of pytest under the name of this module, so that `pytest_plugins` with that name finds it registered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest


if TYPE_CHECKING:
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
    from ezeep_async.testing.threaded import ThreadedSandbox  # not at the start of every test run

    options: dict[str, Any] = {}
    for marker in request.node.iter_markers("ezeep_sandbox"):  # the nearest first
        if marker.args:
            pytest.fail(
                "the marker ezeep_sandbox takes keywords only, such as ezeep_sandbox(users=10)", pytrace=False
            )
        options = {**marker.kwargs, **options}
    with ThreadedSandbox(**options) as sandbox:
        yield sandbox
