"""The upload of one document: `PrepareUpload`, blocks, and a second address if the first one expires."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import Protocol

import attrs

from ezeep_async._runtime.contained_tasks import Exiting, contained
from ezeep_async._text.redaction import clears_locals
from ezeep_async._wire.printing import PREPARE_UPLOAD
from ezeep_async._wire.responses import decode_response
from ezeep_async._wire.uploads import MOST_BLOCKS, Part, StoragePut, UploadTarget, upload_target
from ezeep_async.errors import PermissionDenied, UploadExpired
from ezeep_async.resources._base import Api
from ezeep_async.resources._sources import BLOCK, Progress, Source


logger = logging.getLogger("ezeep_async.resources")

LARGEST_SINGLE = 8 * 1024 * 1024
"""Bytes of a document that is uploaded with one request."""
BLOCKS_IN_FLIGHT = 4


class Storage(Protocol):
    """Where documents are uploaded to."""

    def put(self, request: StoragePut, /) -> Awaitable[None]:
        """Send a request until it succeeds. Raises an `EzeepError`."""
        ...


async def upload(api: Api, storage: Storage, source: Source, on_progress: Progress | None) -> str:
    """Upload a document, and return its file id."""
    if on_progress is not None and (not callable(on_progress) or inspect.iscoroutinefunction(on_progress)):
        raise TypeError("on_progress must be a plain function, which is not awaited")
    target = await _prepare(api)
    try:
        await _Upload(storage, source, target, on_progress).run()
    except _Refused as refused:
        logger.info("the address of an upload has expired (%s): it starts again with a new one", refused)
    else:
        return target.file_id
    await source.rewind()
    target = await _prepare(api)
    try:
        await _Upload(storage, source, target, on_progress).run()
    except _Refused as refused:
        raise UploadExpired(
            f"the second address for the upload was refused too: {refused}. Print again later"
        ) from refused.__cause__
    return target.file_id


@clears_locals
async def _prepare(api: Api) -> UploadTarget:
    response = await api.send(PREPARE_UPLOAD)
    # An error must not show the body, in which the address is.
    return decode_response(
        PREPARE_UPLOAD, attrs.evolve(response, body=b""), lambda _: upload_target(response.body)
    )


class _Refused(Exception):  # never seen by a caller
    """The address has expired: the storage refuses it, or its time is over."""


class _Upload:
    """One attempt with one address."""

    def __init__(
        self, storage: Storage, source: Source, target: UploadTarget, on_progress: Progress | None
    ) -> None:
        self._storage = storage
        self._source = source
        self._target = target
        self._on_progress = on_progress
        self._sent = 0
        self._blocks = 0
        self._read: list[Part] = []
        """Blocks that were read to find the size."""
        self._reading = asyncio.Lock()
        # Of this clock, if that is at all possible: with a wrong one, a new address looks expired, and only the storage knows.
        left = 0.0 if target.expires is None else (target.expires - datetime.now(UTC)).total_seconds()
        self._until = asyncio.get_running_loop().time() + left if left > 0 else None

    async def run(self) -> None:
        """Upload the document."""
        size = 0
        while size <= LARGEST_SINGLE and (block := await self._source.read()):
            self._read.append(block)
            size += len(block)
        if not size:
            raise ValueError("the source is empty: there is nothing to print")
        if size <= LARGEST_SINGLE:
            await self._put(self._target.put_blob(self._read), size)
            return
        await _all_of(self._put_blocks() for _ in range(BLOCKS_IN_FLIGHT))
        await self._put(self._target.put_block_list(self._blocks), 0)

    async def _put_blocks(self) -> None:
        while True:
            async with self._reading:
                block = self._read.pop(0) if self._read else await self._source.read()
                if not block:
                    return
                number = self._blocks
                self._blocks += 1
            if number >= MOST_BLOCKS:
                raise ValueError(
                    f"the source has more than {MOST_BLOCKS * BLOCK} bytes: the storage takes no more"
                )
            await self._put(self._target.put_block(number, block), len(block))

    async def _put(self, request: StoragePut, size: int) -> None:
        if self._until is not None and asyncio.get_running_loop().time() >= self._until:
            raise _Refused("its time was over before the whole document was sent")
        try:
            await self._storage.put(request)
        except PermissionDenied as error:
            raise _Refused(str(error)) from error
        self._sent += size
        if size and self._on_progress is not None:
            self._on_progress(self._sent, self._source.total)


async def _all_of(coroutines: Iterable[Coroutine[object, object, None]]) -> None:
    """Run all of them concurrently. The first failure ends the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(contained(each)) for each in coroutines]
    except BaseExceptionGroup as failed:
        first = failed.exceptions[0]
        raise (first.error if isinstance(first, Exiting) else first) from None
    if any(task.cancelled() for task in tasks):
        # The source or `on_progress` raised it: a task group takes such a task for one that has ended well.
        raise asyncio.CancelledError
