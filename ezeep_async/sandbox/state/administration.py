"""The connectors, drivers and reports of the sandbox."""

from __future__ import annotations

import random
from uuid import UUID

import attrs


@attrs.define(eq=False, kw_only=True)
class SandboxConnector:
    """What connects printers with the service."""

    id: UUID
    readable_name: str
    description: str = ""
    location: str = ""
    type: str = "TPHub"
    """`"TPHub"`, `"Printserver"`, `"Virtual"`, `"Embedded"`."""
    status: str = "Online"
    os_type: str = "Linux"
    serial_string: str = ""
    supported_formats: list[str] = attrs.field(factory=lambda: ["RAW", "PDF"])


@attrs.define(eq=False, kw_only=True)
class SandboxDriver:
    """A printer driver."""

    id: UUID
    name: str
    readable_name: str
    vendor: str
    os: str = "Windows"
    arch: str = "x64"
    printers_using_driver: int = 0
    blob_capabilities: None = None


@attrs.define(eq=False, kw_only=True)
class SandboxReport:
    """A report. Its status depends on the number of requests for it."""

    report_id: str
    created: str
    """With seven digits after the second, as the service has it."""
    start: str
    end: str
    csv_delimiter: str
    timestamp_offset: int
    file_name_obfuscated: bool
    user_email_blank: bool
    user_name_blank: bool
    user_id: UUID
    format: str = "csv"
    status: str = "pending"
    """`"pending"`, `"succeeded"`, or any other word, which it keeps."""


def _connectors(new_id: random.Random) -> list[SandboxConnector]:
    kinds = [
        ("Hub in the server room", "TPHub", "Linux"),
        ("Hub in the warehouse", "TPHub", "Linux"),
        ("Print server A", "Printserver", "Windows"),
        ("Anyprinter", "Virtual", ""),
    ]
    return [
        SandboxConnector(
            id=_id(new_id),
            readable_name=name,
            type=kind,
            os_type=system,
            serial_string=f"SN-{number:04}",
            status="Offline" if number == 1 else "Online",
        )
        for number, (name, kind, system) in enumerate(kinds)
    ]


def _drivers(new_id: random.Random) -> list[SandboxDriver]:
    vendors = ["Example", "Ink & Paper", "O'Neil", "Zed"]
    return [
        SandboxDriver(
            id=_id(new_id), name=f"{vendor} {model}", readable_name=f"{vendor} {model}", vendor=vendor
        )
        for vendor in vendors
        for model in ("PCL 6", "PS", "Label 9000")
    ]


def _id(source: random.Random) -> UUID:
    return UUID(int=source.getrandbits(128), version=4)


@attrs.define(eq=False)
class Administration:
    """Connectors, drivers and reports: `Sandbox.administration`."""

    seed: int = 0
    connectors: list[SandboxConnector] = attrs.field(init=False, repr=False)
    drivers: list[SandboxDriver] = attrs.field(init=False, repr=False)
    reports: dict[str, SandboxReport] = attrs.field(init=False, factory=dict[str, SandboxReport], repr=False)
    """All reports by their id, in the order of their creation."""
    polls: dict[str, int] = attrs.field(init=False, factory=dict[str, int], repr=False)
    """Number of coming requests for each report at which it is pending."""
    report_content: bytes = b"time,file,user,email,pages\r\n2030-01-02T08:00:00Z,***,,,4\r\n"
    """What a download returns."""
    _random: random.Random = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # A generator of its own: other records do not change these ids.
        self._random = random.Random(f"administration {self.seed}")
        self.connectors, self.drivers = _connectors(self._random), _drivers(self._random)

    def new_id(self) -> UUID:
        """Return the next id. The same seed gives the same ids."""
        return _id(self._random)
