"""Print options: what is accepted, what is sent, and what a printer refuses. Requirement tables of docs/ezeep-api.md#print-jobs."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezeep_async import PaperFormat, PrinterProperties, PrintOptions, Tray, UnsupportedOption
from ezeep_async._wire.print_options import wire_properties


PRINTER = PrinterProperties(
    id=UUID(int=1),
    name="Front desk",
    location="",
    driver="",
    color=True,
    duplex=True,
    collate=True,
    orientations=("portrait", "landscape"),
    papers=(
        PaperFormat(0, "Auto", 0, 0),
        PaperFormat(9, "A4", 210, 297, True),
        PaperFormat(257, "a4", 210, 297),
        PaperFormat(8, "A3", 297, 420),
        PaperFormat(0, None, 0, 0),
    ),
    resolutions=("Auto", "600"),
    trays=(Tray(15, "Automatic", True), Tray(259, "Tray 1")),
    raw={},
)
PLAIN = attrs.evolve(
    PRINTER, color=False, duplex=False, orientations=("portrait",), papers=(), resolutions=(), trays=()
)

TABLE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"copies": 2}, {"copies": 2}),
    ({"color": True}, {"color": True}),
    ({"color": False}, {"color": False}),
    ({"duplex": "off"}, {"duplex": True, "duplexmode": 1}),
    ({"duplex": "long-edge"}, {"duplex": True, "duplexmode": 2}),
    ({"duplex": "short-edge"}, {"duplex": True, "duplexmode": 3}),
    ({"orientation": "portrait"}, {"orientation": 1}),
    ({"orientation": "landscape"}, {"orientation": 2}),
    ({"paper": "A4"}, {"paper": "A4", "paperid": 9}),
    ({"paper": "a3"}, {"paper": "A3", "paperid": 8}),
    ({"paper": (101.6, 152.4)}, {"paperid": 256, "paperwidth": 1016, "paperlength": 1524}),
    ({"paper": (62, 29.06)}, {"paperid": 256, "paperwidth": 620, "paperlength": 291}),
    ({"resolution": "600"}, {"resolution": "600"}),
    ({"tray": "Tray 1"}, {"defaultSource": 259, "trayname": "Tray 1"}),
    ({"tray": 15}, {"defaultSource": 15, "trayname": "Automatic"}),
    ({"pages": "3"}, {"PageRanges": "3"}),
    ({"pages": "1-2,5"}, {"PageRanges": "1-2;5"}),
    ({"pages": " 1-2 ; 4-5 , 8 "}, {"PageRanges": "1-2;4-5;8"}),
]


@pytest.mark.parametrize(("options", "sent"), TABLE)
def test_every_option_on_the_wire(options: dict[str, Any], sent: dict[str, Any]) -> None:
    """Only what was chosen is sent, with the keys and values of the API document."""
    assert wire_properties(PrintOptions(**options), PRINTER) == sent


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"duplex": "off"}, {"duplex": False}),
        ({"duplex": "short-edge"}, {"duplex": True, "duplexmode": 3}),
        ({"paper": "A4"}, {"paper": "A4"}),
        ({"tray": 7}, {"defaultSource": 7}),
        ({"color": True, "resolution": "1200"}, {"color": True, "resolution": "1200"}),
    ],
)
def test_options_without_a_check(options: dict[str, Any], sent: dict[str, Any]) -> None:
    """Without the printer's properties, names are sent as they are."""
    assert wire_properties(PrintOptions(**options), None) == sent


def test_the_name_of_a_tray_needs_a_check() -> None:
    """The index, which is sent with it, is not known."""
    with pytest.raises(ValueError, match="Tray 1"):
        wire_properties(PrintOptions(tray="Tray 1"), None)


@pytest.mark.parametrize(
    ("printer", "options", "available"),
    [
        (PLAIN, {"color": True}, ()),
        (PLAIN, {"duplex": "long-edge"}, ("off",)),
        (PLAIN, {"duplex": "short-edge"}, ("off",)),
        (PLAIN, {"orientation": "landscape"}, ("portrait",)),
        (PRINTER, {"paper": "A5"}, ("Auto", "A4", "a4", "A3")),
        (PRINTER, {"resolution": "1200"}, ("Auto", "600")),
        (PLAIN, {"resolution": "600"}, ()),
        (PRINTER, {"tray": "Tray 2"}, ("Automatic (15)", "Tray 1 (259)")),
        (PRINTER, {"tray": 16}, ("Automatic (15)", "Tray 1 (259)")),
        (PLAIN, {"tray": 15}, ()),
    ],
)
def test_what_a_printer_does_not_have(
    printer: PrinterProperties, options: dict[str, Any], available: tuple[str, ...]
) -> None:
    """`UnsupportedOption` names the option and what the printer has."""
    with pytest.raises(UnsupportedOption) as caught:
        wire_properties(PrintOptions(**options), printer)
    assert caught.value.option == next(iter(options))
    assert caught.value.available == available
    assert all(each.split(" (")[0] in str(caught.value) for each in available)


@pytest.mark.parametrize("options", [{"color": False}, {"duplex": "off"}, {"orientation": "portrait"}])
def test_what_every_printer_has(options: dict[str, Any]) -> None:
    """Black and white, and one side, are no features."""
    assert wire_properties(PrintOptions(**options), PLAIN)


@pytest.mark.parametrize(
    "options",
    [
        {"copies": 0}, {"copies": True}, {"copies": 1.0}, {"copies": "2"}, {"copies": 32768},
        {"color": 1}, {"color": "mono"},
        {"duplex": True}, {"duplex": "long"}, {"duplex": ""},
        {"orientation": 1}, {"orientation": "Portrait"},
        {"paper": ""}, {"paper": " "}, {"paper": 9}, {"paper": (210,)}, {"paper": (210, 0)}, {"paper": (210, -1)},
        {"paper": (210, math.inf)}, {"paper": (210, math.nan)}, {"paper": ("210", "297")}, {"paper": [210, 297]},
        {"paper": (210, 3277)}, {"paper": (True, 1)}, {"paper": "A4\n"},
        {"resolution": 600}, {"resolution": ""},
        {"tray": -1}, {"tray": 1.5}, {"tray": ""}, {"tray": False},
        {"pages": ""}, {"pages": "0"}, {"pages": "2-1"}, {"pages": "1-"}, {"pages": "-2"}, {"pages": "1,,2"},
        {"pages": "a"}, {"pages": 5}, {"pages": "1-2-3"}, {"pages": "\u0661"}, {"pages": "1 2"}, {"pages": "01"},
    ],
)  # shorter than one item a line  # fmt: skip
def test_values_that_are_refused_on_creation(options: dict[str, Any]) -> None:
    """`ValueError` that names the option and the value, before anything is sent."""
    with pytest.raises(ValueError) as caught:
        PrintOptions(**options)
    ((name, value),) = options.items()
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


PARTS = st.tuples(st.integers(1, 999), st.integers(0, 99)).map(
    lambda part: f"{part[0]}-{sum(part)}" if part[1] else str(part[0])
)


@given(st.lists(PARTS, min_size=1, max_size=5), st.sampled_from([",", ";", " , "]))
def test_pages_keep_their_parts(parts: list[str], separator: str) -> None:
    """Every list of pages and ranges is sent with semicolons."""
    options = PrintOptions(pages=separator.join(parts))
    assert wire_properties(options, None) == {"PageRanges": ";".join(parts)}


@given(st.floats(0.06, 3276), st.floats(0.06, 3276))
def test_a_size_is_sent_in_tenths_of_a_millimetre(width: float, length: float) -> None:
    """The value on the wire differs by at most half a tenth."""
    sent = wire_properties(PrintOptions(paper=(width, length)), None)
    assert abs(float(str(sent["paperwidth"])) - width * 10) <= 0.5
    assert abs(float(str(sent["paperlength"])) - length * 10) <= 0.5


def test_a_paper_name_in_another_case_must_be_unique() -> None:
    """The exact name counts first."""
    twice = attrs.evolve(PRINTER, papers=(PaperFormat(1, "LETTER", 0, 0), PaperFormat(2, "Letter", 0, 0)))
    assert wire_properties(PrintOptions(paper="Letter"), twice)["paperid"] == 2
    with pytest.raises(UnsupportedOption):
        wire_properties(PrintOptions(paper="letter"), twice)


@pytest.mark.parametrize("paper", [(10**400, 1), (1, -(10**400))])
def test_a_size_that_is_no_float(paper: Any) -> None:
    """A `ValueError` like every other wrong value."""
    with pytest.raises(ValueError, match="paper"):
        PrintOptions(paper=paper)


def test_a_tray_without_a_name() -> None:
    """It is chosen by its index; an empty name is not sent."""
    printer = attrs.evolve(PRINTER, trays=(Tray(5, ""),))
    assert wire_properties(PrintOptions(tray=5), printer) == {"defaultSource": 5}


def test_orientations_in_another_case() -> None:
    """The words of a driver."""
    printer = attrs.evolve(PRINTER, orientations=("Portrait",))
    assert wire_properties(PrintOptions(orientation="portrait"), printer) == {"orientation": 1}
    with pytest.raises(UnsupportedOption):
        wire_properties(PrintOptions(orientation="landscape"), printer)


def test_a_printer_with_very_many_papers() -> None:
    """The message is bounded and has no control characters; the error has all names."""
    papers = tuple(PaperFormat(each, f"paper {each}", 1, 1) for each in range(5000))
    printer = attrs.evolve(PRINTER, name="Front\x1b[2J\ndesk", papers=papers)
    with pytest.raises(UnsupportedOption) as caught:
        wire_properties(PrintOptions(paper="A4"), printer)
    assert len(str(caught.value)) < 3000
    assert str(caught.value).isprintable()
    assert len(caught.value.available) == 5000
