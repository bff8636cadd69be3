"""`python -m ezeep_async`: the same as the command `ezeep`."""

from __future__ import annotations

import sys

from ezeep_async.cli.main import main


if __name__ == "__main__":
    sys.exit(main())
