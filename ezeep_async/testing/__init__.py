"""What tests of your own code are made of. Needs pytest; nothing else in the package does.

In the conftest.py at the top of your tests:

    pytest_plugins = ["ezeep_async.testing"]

Then every test can have a service of its own, on loopback, whether it blocks or awaits, and with whichever plugin for
asynchronous tests, or none:

    @pytest.mark.ezeep_sandbox(users=10)
    def test_everybody_is_listed(ezeep_sandbox):
        session = EzeepSession(
            ezeep_sandbox.oauth_app, tokens=ezeep_sandbox.tokens(), endpoints=ezeep_sandbox.endpoints
        )
        with run_sync(session) as blocking:
            assert my_code(blocking) == 10
        assert ezeep_sandbox.count("GET /printing/v1/users/") == 1

A token store of your own passes the tests of ours, plugin or not: see `TokenStoreContract`.

PYTEST_DONT_REWRITE
"""
# The word above is pytest's: without it a conftest.py that imports from here before it names the plugin gets a warning.

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
