"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter, validators


AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Json = Annotated[bool, Parameter(name="--json", help="Print JSON.")]
Yes = Annotated[bool, Parameter(name=("--yes", "-y"), help="Do not ask first.")]
AllowExternal = Annotated[
    bool,
    Parameter(help="Change groups too that another directory owns, such as Azure. It may change them back."),
]
