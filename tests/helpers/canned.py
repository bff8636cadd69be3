"""Canned responses by aioresponses, for tests that need no server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest.mock import Mock

import aiohttp
from aioresponses import aioresponses


class _CannedResponse(aiohttp.ClientResponse):
    """With the argument that aioresponses 0.7.9 does not pass: https://github.com/pnuckowski/aioresponses/issues/289."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, stream_writer=Mock(output_size=0), **options)


@contextmanager
def canned_responses() -> Iterator[aioresponses]:
    """Replace the requests of aiohttp by the responses that the test adds."""
    with aioresponses() as canned:
        canned.add = partial(
            canned.add, response_class=_CannedResponse
        )  # what `get`, `post` and the others call
        yield canned
