"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from ezeep_async._text.cleaning import refuse_control


def _no_control(_: object, path: Path | None) -> None:
    if path is not None:
        refuse_control(str(path), "the path")


OutFile = Annotated[Path | None, Parameter(validator=_no_control)]
"""A file that a command writes. A name that ends with a line break is a mistake."""
AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Json = Annotated[bool, Parameter(name="--json", help="Print JSON.")]
Yes = Annotated[bool, Parameter(name=("--yes", "-y"), help="Do not ask for confirmation.")]
AllowExternal = Annotated[
    bool,
    Parameter(help="Also change groups of another directory, such as Azure. It may change them back."),
]
