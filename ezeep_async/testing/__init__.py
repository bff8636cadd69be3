"""A pytest plugin with a sandbox fixture, and contracts for token stores. Needs pytest.

The plugin registers itself where this package is installed. Each test can have its own sandbox, blocking or asynchronous,
with any plugin for asynchronous tests or none:

    @pytest.mark.ezeep_sandbox(users=10)
    def test_all_users_are_listed(ezeep_sandbox):
        session = EzeepSession(
            ezeep_sandbox.oauth_app, tokens=ezeep_sandbox.tokens(), endpoints=ezeep_sandbox.endpoints
        )
        with run_sync(session) as blocking:
            assert my_code(blocking) == 10
        assert ezeep_sandbox.count("GET /printing/v1/users/") == 1

To test your own token store, see `TokenStoreContract`.

PYTEST_DONT_REWRITE
"""
# PYTEST_DONT_REWRITE avoids a warning when conftest.py imports from here before pytest loads it as a plugin.

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from ezeep_async.testing.plugin import ezeep_sandbox, pytest_configure
    from ezeep_async.testing.read_only_contract import ReadOnlyTokenStoreContract
    from ezeep_async.testing.store_contract import TokenStoreContract
    from ezeep_async.testing.threaded import ThreadedSandbox

__all__ = [
    "ReadOnlyTokenStoreContract",
    "ThreadedSandbox",
    "TokenStoreContract",
    "ezeep_sandbox",
    "pytest_configure",
]

pytest_plugins = ["ezeep_async.testing.plugin"]
"""For `pytest_plugins = ["ezeep_async.testing"]`, which is needed where pytest loads no plugins by itself."""

# Imported at their first use: pytest imports this package at every start, because the plugin is in it.
_MODULES = {
    "ReadOnlyTokenStoreContract": "read_only_contract",
    "ThreadedSandbox": "threaded",
    "TokenStoreContract": "store_contract",
    "ezeep_sandbox": "plugin",
    "pytest_configure": "plugin",
}


def __getattr__(name: str) -> object:
    if (module := _MODULES.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value
