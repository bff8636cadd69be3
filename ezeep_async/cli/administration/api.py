"""`ezeep api`: a call that has no command of its own."""

from __future__ import annotations

import json
import sys
from typing import Annotated

from cyclopts import Parameter

from ezeep_async.cli.connection import HERE, Connection, open_session
from ezeep_async.cli.terminal.output import write_json
from ezeep_async.cli.terminal.prompts import in_background


Data = Annotated[str | None, Parameter(allow_leading_hyphen=True)]


async def api(method: str, path: str, /, *, data: Data = None, connection: Connection = HERE) -> None:
    """Send a request with the stored token, and print the JSON of the response.

    A request other than GET, HEAD and OPTIONS is sent once, and without a question.

    Args:
        method: GET, POST, PATCH, PUT or DELETE.
        path: A path on the API host that begins with a slash, such as /printing/v1/groups/?limit=5, or a complete address
            on one of the hosts of ezeep.
        data: JSON to send; - reads it from standard input.
    """
    text = await in_background(sys.stdin.read) if data == "-" else data
    try:
        body: object = None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--data is not JSON: {error}") from None
    async with open_session(connection) as session:
        response = await session.request(method, path, json=body)
    if response is not None:
        write_json(json.dumps(response, indent=2, ensure_ascii=False))
