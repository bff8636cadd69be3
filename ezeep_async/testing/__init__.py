"""A pytest plugin with a sandbox fixture, and contracts for token stores. Needs pytest.

In the conftest.py at the top of your tests:

    pytest_plugins = ["ezeep_async.testing"]

Then each test can have its own sandbox, blocking or asynchronous, with any plugin for asynchronous tests or none:

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
# PYTEST_DONT_REWRITE avoids a warning when conftest.py imports from here before pytest loads the plugin.

from __future__ import annotations

from ezeep_async.testing.plugin import ezeep_sandbox, pytest_configure
from ezeep_async.testing.store_contract import ReadOnlyTokenStoreContract, TokenStoreContract
from ezeep_async.testing.threaded import ThreadedSandbox


__all__ = [
    "ReadOnlyTokenStoreContract",
    "ThreadedSandbox",
    "TokenStoreContract",
    "ezeep_sandbox",
    "pytest_configure",
]
