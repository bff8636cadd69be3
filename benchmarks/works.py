"""What is measured: the works with their contenders and targets, and the points of the growth curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal


Metric = Literal["cpu", "wall", "requests", "refreshes"]
"""Seconds of CPU or wall time, or requests, for one unit; or token refreshes in all."""

FLOOR, SDK, UVLOOP = "floor", "SDK", "SDK on uvloop"
HTTPX, REQUESTS, GENERATED, SCRIPT = "httpx + Authlib", "requests", "generated client", "script"
CONTENDERS = {
    FLOOR: "floor.py",
    SDK: "sdk.py",
    UVLOOP: "sdk_on_uvloop.py",
    HTTPX: "httpx_authlib.py",
    REQUESTS: "requests_in_threads.py",
    GENERATED: "generated.py",
    SCRIPT: "scripts.py",
}
"""The modules of the contenders."""


@dataclass(frozen=True)
class Entry:
    """One contender in one work."""

    contender: str
    work: str = ""
    """The contender's own name of the work, if it differs."""
    label: str = ""
    """The name in the table, if it is not that of the contender."""
    share: float = 1.0
    """Part of `n` that a slow contender does. Costs are compared for one unit."""

    @property
    def name(self) -> str:
        """The name in the table."""
        return self.label or self.contender


@dataclass(frozen=True)
class Target:
    """The highest accepted ratio to another entry; without a base, the highest accepted value. Reported, not enforced."""

    entry: str
    base: str
    metric: Metric
    limit: float


@dataclass(frozen=True, kw_only=True)
class Work:
    """One row group of the table."""

    name: str
    work: str
    unit: str
    units: int
    """How often the unit occurs in `n`: users, calls, pages."""
    n: int
    entries: tuple[Entry, ...]
    base: str = FLOOR
    metric: Metric = "cpu"
    repeat: int = 1
    setup: Mapping[str, float] = field(default_factory=dict)
    """Options of the server."""
    targets: tuple[Target, ...] = ()

    def scaled(self, factor: float) -> Work:
        """The same with fewer units, for a short look."""
        n = max(200, round(self.n * factor) // 100 * 100)
        setup = {**self.setup, "users": n} if "users" in self.setup else self.setup
        return replace(self, n=n, units=max(1, self.units * n // self.n), setup=setup, repeat=1)


def entries(*names: str, share: float = 1.0) -> tuple[Entry, ...]:
    """Contenders that do the work as it stands."""
    return tuple(Entry(name, share=share) for name in names)


ALL = entries(FLOOR, SDK, UVLOOP, HTTPX, REQUESTS, GENERATED)
SLOW = entries(FLOOR, SDK, UVLOOP) + entries(HTTPX, GENERATED, share=0.1) + entries(REQUESTS, share=0.2)
BLOCKING = (
    Entry(SDK, label="SDK, run_sync"),
    Entry(HTTPX, label="httpx.Client"),
    Entry(REQUESTS),
    Entry(FLOOR, label="aiohttp loop in a thread"),
    Entry(GENERATED),
)
LISTING = {"users": 10_000}

WORKS = [
    Work(
        name="list 10 000 users in sequence",
        work="list",
        unit="page",
        units=100,
        n=10_000,
        repeat=3,
        setup=LISTING,
        entries=(*ALL[:2], Entry(SDK, "iterate", label="SDK, async for"), *ALL[2:]),
        targets=(Target(SDK, FLOOR, "cpu", 1.08),),
    ),
    Work(
        name="the same, 10 pages at a time, 20 ms server",
        work="list concurrently",
        unit="page",
        units=100,
        n=10_000,
        repeat=2,
        setup={**LISTING, "latency": 0.02},
        entries=ALL,
        targets=(Target(SDK, FLOOR, "cpu", 1.10), Target(SDK, FLOOR, "wall", 1.02)),
    ),
    Work(
        name="5000 x (get + set_groups), concurrency 50",
        work="writes",
        unit="request",
        units=10_000,
        n=5000,
        setup=LISTING,
        entries=SLOW,
        targets=(Target(SDK, FLOOR, "cpu", 1.20),),
    ),
    Work(
        name="1000 small print jobs, concurrency 32",
        work="prints",
        unit="job",
        units=1000,
        n=1000,
        repeat=2,
        entries=entries(FLOOR, SDK, UVLOOP),
        # PrepareUpload, upload, Print, two readings of the status; what is read once for all jobs: types, printers, properties.
        targets=(Target(SDK, FLOOR, "cpu", 1.35), Target(SDK, "", "requests", 5.01)),
    ),
    Work(
        name="2000 gets in sequence",
        work="gets",
        unit="request",
        units=2000,
        n=2000,
        entries=ALL,
        targets=(Target(SDK, FLOOR, "cpu", 1.10),),
    ),
    Work(
        name="blocking: 1000 gets in sequence",
        work="blocking gets",
        unit="request",
        units=1000,
        n=1000,
        metric="wall",
        base="httpx.Client",
        entries=BLOCKING,
        targets=(
            Target("SDK, run_sync", "httpx.Client", "wall", 0.75),
            Target("SDK, run_sync", REQUESTS, "wall", 0.45),
            Target("SDK, run_sync", "aiohttp loop in a thread", "wall", 1.05),
        ),
    ),
    Work(
        name="blocking: list 10 000 users",
        work="blocking list",
        unit="page",
        units=100,
        n=10_000,
        repeat=2,
        metric="wall",
        base=REQUESTS,
        setup=LISTING,
        entries=BLOCKING,
        targets=(Target("SDK, run_sync", REQUESTS, "wall", 0.42),),
    ),
    Work(
        name="10 000 tasks meet one expired token",
        work="tasks",
        unit="task",
        units=10_000,
        n=10_000,
        metric="wall",
        base="good token",
        entries=(
            Entry(SDK, label="good token"),
            Entry(SDK, "tasks, expired token", label="expired token"),
            Entry(UVLOOP, "tasks, expired token", label="expired token, uvloop"),
        ),
        targets=(
            Target("expired token", "good token", "wall", 1.10),
            Target("expired token", "", "refreshes", 1),
        ),
    ),
    Work(
        name="access_token() of a good token",
        work="access tokens",
        unit="call",
        units=300_000,
        n=300_000,
        base="",
        entries=entries(SDK),
        targets=(Target(SDK, "", "cpu", 0.5e-6),),
    ),
    Work(
        name="provisioning: 30 000 memberships of 10 000 users",
        work="provision",
        unit="user",
        units=10_000,
        n=10_000,
        base="concurrent script",
        setup={"users": 10_000, "groups_per_user": 0},
        entries=(
            Entry(SCRIPT, label="concurrent script"),
            Entry(SDK),
            Entry(SDK, "provision, trusting the plan", label="SDK, trusting the plan"),
            Entry(SCRIPT, "provision, row by row", label="row by row (cost of one row)", share=0.1),
        ),
        targets=(
            Target(SDK, "concurrent script", "cpu", 1.25),
            Target(SDK, "", "requests", 2.03),
            Target("SDK, trusting the plan", "", "requests", 1.04),
        ),
    ),
]


@dataclass(frozen=True)
class Start:
    """Processes that are started anew for each measurement: an import, or a command."""

    name: str
    metric: Metric
    base: str
    commands: dict[str, str]
    """By the names in the table: a command line of `ezeep`, or a statement that starts with `import` or `from`."""
    targets: tuple[Target, ...] = ()


STARTS = [
    Start(
        "import",
        "cpu",
        "import aiohttp",
        {
            "import aiohttp": "import aiohttp",
            "import ezeep_async": "import ezeep_async",
            "EzeepSession": "from ezeep_async import EzeepSession, OAuthApp, FileTokenStore, Settings",
            "import httpx, Authlib": "from authlib.integrations.httpx_client import AsyncOAuth2Client",
            "import requests": "import requests",
        },
        (
            Target("import ezeep_async", "import aiohttp", "cpu", 1.15),
            Target("EzeepSession", "import aiohttp", "cpu", 1.15),
        ),
    ),
    Start(
        "command",
        "wall",
        "python -c pass",
        {
            "python -c pass": "",
            "ezeep --version": "--version",
            "ezeep --help": "--help",
        },
        (Target("ezeep --version", "", "wall", 0.12), Target("ezeep --help", "", "wall", 0.25)),
    ),
]


@dataclass(frozen=True)
class Curve:
    """How the cost of one unit grows."""

    name: str
    """The horizontal axis."""
    unit: str
    """What the cost is shown for."""
    contender: str
    work: str
    label: str
    """The line in the plot."""
    points: tuple[int, ...]
    by_groups: bool = False
    """The points are groups per user, for `USERS_WITH_GROUPS` users; otherwise they are `n`."""
    after: str = ""
    """A work that is done just before, with the same `n`."""
    least_units: int = 2000
    """Units that are measured at least: smaller points are repeated."""
    every_round: int = 10**9
    """Larger points are measured in the first round only."""


USERS_WITH_GROUPS = 1000
MANY = (1000, 10_000, 100_000, 1_000_000)
TASKS = (1, 10, 100, 1000, 10_000)
GROUPS = (1, 10, 100, 500)
CURVES = [
    Curve("users listed", "user", FLOOR, "stream", "floor", MANY, least_units=10_000),
    Curve("users listed", "user", SDK, "stream", "SDK", MANY, least_units=10_000),
    Curve("users listed", "user", SDK, "stream concurrently", "SDK, 10 pages", MANY, least_units=10_000),
    Curve("concurrent tasks", "task", SDK, "tasks", "good token", TASKS),
    Curve("concurrent tasks", "task", SDK, "tasks, expired token", "expired token", TASKS),
    Curve("groups per user", "user", FLOOR, "list", "floor: list", GROUPS, by_groups=True),
    Curve("groups per user", "user", SDK, "list", "SDK: list", GROUPS, by_groups=True),
    Curve("groups per user", "user", FLOOR, "writes", "floor: get + set_groups", GROUPS, by_groups=True),
    Curve("groups per user", "user", SDK, "writes", "SDK: get + set_groups", GROUPS, by_groups=True),
    Curve("users provisioned", "user", SDK, "plan", "plan", (1000, 10_000, 100_000), every_round=10_000),
    Curve(
        "users provisioned",
        "user",
        SDK,
        "apply",
        "apply",
        (1000, 10_000, 100_000),
        after="plan",
        every_round=10_000,
    ),
]
