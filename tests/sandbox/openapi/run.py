"""Tests a sandbox with schemathesis, against the description that it serves: `nox -s openapi`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import schemathesis
from schemathesis.cli import schemathesis as command

from ezeep_async.testing.threaded import ThreadedSandbox


CONFIG = Path(__file__).with_name("schemathesis.toml")
KEPT = {
    "9f2e2cc1-58ee-4426-998f-62644895f162",  # the admin, who owns the access token
    "19b5963a-35eb-416c-9ca4-a4c2950385fb",  # the groups of schemathesis.toml
    "dd8d4007-2522-42ab-ac2e-bf23d87defc3",
}
"""Records that the other requests need."""
SCOPES = "printing reporting webhooks"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case, __: dict[str, Any]) -> None:
    """Keep the records of `KEPT`, and remove empty fields of forms, which count as absent (RFC 6749 section 3.1)."""
    changes = case.method == "DELETE" or (case.path == "/v1/users/{id}/" and case.method == "PATCH")
    if changes and str(case.path_parameters.get("id")).lower() in KEPT:
        case.path_parameters["id"] = UNKNOWN
    if case.media_type == "application/x-www-form-urlencoded" and isinstance(case.body, dict):
        case.body = {name: value for name, value in case.body.items() if value != ""}


def main() -> None:
    # schemathesis begins with a header that HTTP forbids, to see whether the server accepts it: aiohttp logs that.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    with ThreadedSandbox(password_grant=True) as sandbox:
        os.environ["ACCESS_TOKEN"] = sandbox.tokens(scope=SCOPES).access_token
        file_id = sandbox.printing.new_upload().fileid
        os.environ["FILE_ID"] = file_id
        for name, value in parse_qsl(urlsplit(sandbox.storage.sign(file_id)).query):
            os.environ[name.upper()] = value
        os.environ["CLIENT_ID"] = sandbox.oauth_app.client_id
        url = f"{sandbox.endpoints.api}/openapi.json"
        command(["--config-file", str(CONFIG), "run", url, *sys.argv[1:]])


if __name__ == "__main__":
    main()
