"""`python -m ezeep_async`: the same as the command `ezeep`."""

from ezeep_async.cli.entry import main


if __name__ == "__main__":
    raise SystemExit(main())
