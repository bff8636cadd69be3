"""A plain script with asyncio: prints several documents concurrently, and waits for all of them.

pip install 'ezeep_async[cli]'
ezeep login --client-id CLIENT_ID --token-file login.json
python async_printing.py "Front desk laser" *.pdf

Environment: EZEEP_CLIENT_ID, EZEEP_TOKEN_FILE (login.json). Exit codes: 0 all are printed, 1 some are not, 4 log in again, 5 try later.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from ezeep_async import (
    EzeepError,
    EzeepSession,
    Printer,
    ReauthorizationRequired,
    finish_refresh_on,
    is_retryable,
)


async def print_one(session: EzeepSession, printer: Printer, path: str) -> bool:
    """Print a document. Return whether it was printed: the others are printed in any case."""
    try:
        job = await session.printing.print_file(path, printer)
        status = await job.wait()
    except (EzeepError, OSError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return False
    print(f"{path}: {status.pages_printed} pages")
    return True


async def main() -> int:
    """Run the script, and return its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("printer")
    parser.add_argument("documents", nargs="+")
    options = parser.parse_args()
    try:
        async with EzeepSession.from_env() as session:
            printer = await session.printers.find(options.printer)
            printed = await asyncio.gather(*[print_one(session, printer, path) for path in options.documents])
    except EzeepError as error:
        print(error, file=sys.stderr)
        if isinstance(error, ReauthorizationRequired):
            return 4
        return 5 if is_retryable(error) else 1
    return 0 if all(printed) else 1


if __name__ == "__main__":
    finish_refresh_on()  # SIGTERM and SIGHUP wait for a token refresh that has begun
    sys.exit(asyncio.run(main()))
