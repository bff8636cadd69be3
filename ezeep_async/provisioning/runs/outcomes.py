"""How a change came out: made, certainly not made, perhaps made, or not needed any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import attrs

from ezeep_async.errors import EzeepError, NotFound, UnexpectedResponse
from ezeep_async.provisioning.plans.changes import TargetGroup
from ezeep_async.provisioning.runs.report import Outcome


@attrs.frozen(kw_only=True)
class Done:
    """How one change came out."""

    outcome: Outcome
    error: EzeepError | None = None
    attempts: int = 0
    request_id: str = ""
    group_id: UUID | None = None
    before: frozenset[UUID] | None = None
    after: frozenset[UUID] | None = None
    added: tuple[TargetGroup, ...] = ()
    removed: tuple[TargetGroup, ...] = ()

    @classmethod
    def failed(cls, error: EzeepError, *, begun: bool) -> Done:
        """It ended with an error. What was never begun cannot have happened."""
        return cls(
            outcome="unknown" if begun and _may_have_happened(error) else "failed",
            error=error,
            attempts=getattr(error, "attempts", 0),
            request_id=getattr(error, "request_id", None) or "",
        )


async def unless_absent(failed: Done, *, begun: bool, read: Callable[[], Awaitable[object]]) -> Done:
    """What is gone needs nothing taken from it. Only reading tells that it is gone: a 404 to a write may say that
    something on the way does not let writes through."""
    if failed.outcome != "failed" or not isinstance(failed.error, NotFound):
        return failed
    gone = not begun
    if begun:
        try:
            await read()
        except EzeepError as error:
            gone = isinstance(error, NotFound)
    return attrs.evolve(failed, outcome="already_absent", error=None) if gone else failed


def _may_have_happened(error: EzeepError) -> bool:
    """Whether a write may have been carried out although this is how it ended."""
    return error.may_have_happened or isinstance(error, UnexpectedResponse)
