"""`Script`: which of the coming requests or jobs something scripted applies to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import attrs


T = TypeVar("T")


@attrs.define(eq=False, kw_only=True)
class Script(Generic[T]):
    """What is scripted for requests or jobs. It counts them."""

    nth: int = 1
    times: int | None = None
    when: Callable[[T], bool] | None = None
    calls: int = 0
    """Number of requests or jobs since it was added that it applies to: those for which `when` is true."""
    hits: int = 0
    """Number of those that it was applied to."""
    removed: bool = False

    def counts(self, each: T) -> bool:
        """Count a request or job, and return whether the script applies to it."""
        if self.removed or not self._is_for(each) or not (self.when is None or self.when(each)):
            return False
        self.calls += 1
        return self.calls >= self.nth and (self.times is None or self.calls < self.nth + self.times)

    def _is_for(self, each: T) -> bool:  # noqa: ARG002  # what a subclass compares
        return True

    @property
    def is_pending(self) -> bool:
        """Whether it still applies to a coming request or job."""
        return not self.removed and (self.times is None or self.calls < self.nth + self.times - 1)

    def remove(self) -> None:
        """Apply to nothing that comes."""
        self.removed = True
