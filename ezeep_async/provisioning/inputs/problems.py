"""`InvalidInput`, and the problems it lists."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ezeep_async.errors import EzeepError


PROBLEMS_SHOWN = 20
"""Problems in the message of `InvalidInput`."""
PROBLEMS_KEPT = 10_000
"""Problems in `InvalidInput.problems`. `count` includes the others."""


@attrs.frozen
class Problem:
    """One invalid part of an input."""

    source: str
    """The file, or "mapping", "rows", "pairs" or "input"."""
    line: int | None
    """Line of the file, or number of the row, from 1. None for a mapping or for the whole file."""
    message: str

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}, line {self.line}"
        return f"{where}: {self.message}"


class InvalidInput(EzeepError, ValueError):
    """The input is invalid. Nothing was written to the server.

    `problems` lists the problems in the order of the input, at most 10,000. `count` is the number of all problems.
    """

    def __init__(self, problems: Sequence[Problem], count: int | None = None) -> None:
        self.problems = list(problems)
        self.count = len(self.problems) if count is None else count
        super().__init__(problems)

    def __str__(self) -> str:
        shown = self.problems[:PROBLEMS_SHOWN]
        message = "; ".join(str(problem) for problem in shown)
        more = self.count - len(shown)
        return f"{message}; and {more} more" if more > 0 else message
