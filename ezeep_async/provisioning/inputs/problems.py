"""What is wrong with an input, and the error that says so."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ezeep_async.errors import EzeepError


PROBLEMS_SHOWN = 20
"""How many problems the message of `InvalidInput` spells out."""
PROBLEMS_KEPT = 10_000
"""How many of them it holds in `problems`. All are counted."""


@attrs.frozen
class Problem:
    """One thing that is wrong with the input."""

    source: str
    """The file, or "mapping", or "rows"."""
    line: int | None
    """Counted from 1, of the file or of the rows; None where there are no lines, or where the whole file is meant."""
    message: str

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}, line {self.line}"
        return f"{where}: {self.message}"


class InvalidInput(EzeepError, ValueError):
    """The input cannot be used. Nothing was read from the server, and nothing written.

    `problems` has what is wrong with it, in its order: everything, up to ten thousand. `count` is how many there are.
    """

    def __init__(self, problems: Sequence[Problem], count: int | None = None) -> None:
        self.problems = list(problems)
        self.count = len(self.problems) if count is None else count
        super().__init__(problems)

    def __str__(self) -> str:
        shown = self.problems[:PROBLEMS_SHOWN]
        told = "; ".join(str(problem) for problem in shown)
        more = self.count - len(shown)
        return f"{told}; and {more} more" if more > 0 else told
