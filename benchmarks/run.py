"""Measure the SDK beside its peers: one table, and with `--out` figures as JSON, a plot, and a page of the documents.

    nox -s bench                                # prints the table, and writes docs/performance.json, .svg and .md
    nox -s bench -- --quick                     # a short look: one round, small sizes; writes nothing without --out
    nox -s bench -- --smallest                  # shows only that everything runs
    nox -s bench -- --only "gets" --rounds 9    # works with this in their name
    nox -s bench -- pace                        # another script of this folder: pace, fairness, shared_locks, logins

Contenders run in processes of their own, on one core, and take turns in each round: noise hits all alike. Costs are CPU
seconds, or wall seconds for blocking calls; ratios are made in each round. The cheap server has another core.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import measure
import processes
import table
from works import CONTENDERS, CURVES, GENERATED, STARTS, WORKS


HERE = Path(__file__).parent
DESCRIPTION = HERE.parent / "ezeep_async" / "sandbox" / "openapi.yaml"


def generate(into: Path) -> Path | None:
    """Generate the peer's client from the description of the API. Gives the folder to import it from."""
    if importlib.util.find_spec("openapi_python_client") is None:
        return None
    config = into / "config.json"
    config.write_text('{"post_hooks": []}')
    options = ["--meta", "none", "--output-path", str(into / "ezeep_client"), "--config", str(config)]
    # By its script: the package cannot be run as a module.
    command = shutil.which("openapi-python-client", path=str(Path(sys.executable).parent))
    assert command is not None
    done = subprocess.run(
        [command, "generate", "--path", str(DESCRIPTION), *options],
        check=False,
        capture_output=True,
        text=True,
    )
    if not (into / "ezeep_client" / "api" / "users").is_dir():
        raise SystemExit(f"openapi-python-client has generated no client:\n{done.stdout}{done.stderr}")
    return into


def say(text: str) -> None:
    """Report progress."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each work (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one round, small sizes")
    parser.add_argument(
        "--smallest", action="store_true", help="one round that shows only that everything runs"
    )
    parser.add_argument("--only", default="", help="only works, curves and starts with this in their name")
    parser.add_argument("--out", type=Path, help="folder for performance.json, .svg and .md")
    return parser.parse_args()


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements."""
    is_short = options.quick or options.smallest
    scale = 0.01 if options.smallest else 0.1 if options.quick else 1.0
    works = [each.scaled(scale) if is_short else each for each in WORKS if options.only in each.name]
    curves = [each for each in CURVES if options.only in each.name]
    if options.smallest:
        curves = [replace(each, least_units=1) for each in curves]
    starts = [each for each in STARTS if options.only in each.name]
    rounds = 1 if is_short else options.rounds
    points = 1 if options.smallest else 2 if options.quick else None
    core = processes.take_core()
    say("server on a core of its own" if core is not None else "no second core: the server shares this one")
    with ExitStack() as stack:
        generated = generate(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        server = stack.enter_context(processes.server(core))
        wanted = {entry.contender for work in works for entry in work.entries}
        names = []
        for name in (each for each in CONTENDERS if each in wanted):
            if lacking := processes.missing(name) or (
                ["openapi-python-client"] if name == GENERATED and generated is None else []
            ):
                say(f"{name} is left out: {', '.join(lacking)} is not installed")
            else:
                names.append(name)
        with processes.contenders(names, server.base, generated) as started:
            if not options.smallest:
                measure.measure_works(
                    [each.scaled(0.01) for each in works], started, server, 1, lambda _: None
                )
                say("warmed up")
            results = measure.measure_works(works, started, server, rounds, say)
        results += measure.measure_starts(starts, 1 if is_short else 2 * rounds, say)
        grown = measure.measure_curves(curves, server, min(3, rounds), points, say)
    return {
        "made": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": measure.machine(),
        "versions": measure.versions(),
        "rounds": rounds,
        "scale": scale,
        "works": results,
        "curves": grown,
        "memory": measure.memory(grown),
    }


def rounded(value: Any) -> Any:
    """The same with four significant digits: more is noise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, (list, tuple)) else value


def main() -> None:
    """Measure, print, and write."""
    options = parsed()
    results = measured(options)
    print(table.text(results))
    if options.out is None:
        return
    # The tables and plots show these figures too, so that they can be made again from the file.
    results = rounded(results)
    (options.out / "performance.json").write_text(json.dumps(results, indent=1) + "\n")
    page = options.out / "performance.md"
    page.write_text(table.inserted(page.read_text(), results))
    if importlib.util.find_spec("matplotlib") is None:
        say("no plot: matplotlib is not installed")
        return
    import plot

    plot.draw(results, options.out)


if __name__ == "__main__":
    main()
