"""`ezeep printers`."""

from __future__ import annotations

import json

import pytest
from helpers.command_line import ezeep

from ezeep_async import AmbiguousName
from ezeep_async.cli.printing.printers import list_printers, show_printer
from ezeep_async.sandbox import Sandbox


Capture = pytest.CaptureFixture[str]


async def test_the_list_is_the_default(login: dict[str, str], sandbox: Sandbox) -> None:
    laser, queue, label, second = sandbox.printing.printers
    ran = await ezeep("printers", env=login)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        f"{laser}\tFront desk laser\tGround floor\tprinter\n"
        f"{queue}\tPull queue\t\tpull queue\n"
        f"{label}\tWarehouse label\t\tprinter\n"
        f"{second}\tSecond floor\tSecond floor\tprinter\n"
    )
    assert (await ezeep("printers", "list", env=login)).out == ran.out
    listed = json.loads((await ezeep("printers", "--json", env=login)).out)
    assert listed[1] == {"id": str(queue), "name": "Pull queue", "location": "", "is_queue": True}


@pytest.mark.usefixtures("login")
async def test_what_a_printer_can_do(capsys: Capture, sandbox: Sandbox) -> None:
    """Paper, trays, colors and resolutions, as the options of ezeep print take them."""
    laser = next(iter(sandbox.printing.printers))
    await show_printer("Front desk laser")
    assert capsys.readouterr().out == (
        f"id: {laser}\nname: Front desk laser\nlocation: Ground floor\nkind: printer\ndriver: Example PCL 6\n"
        "colors: color, mono\nduplex: long-edge, short-edge, off\norientation: portrait, landscape\n"
        "paper: Auto, A4 (210x297mm, default), Letter (215.9x279.4mm), Custom (100x150mm)\n"
        "tray: Automatic (15, default), Tray 1 (259)\nresolution: Auto, 600\n"
    )
    await show_printer(str(laser), as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["id"], shown["color"], shown["is_queue"]) == (str(laser), True, False)
    assert shown["papers"][1] == {"id": 9, "name": "A4", "width": 210, "length": 297, "is_default": True}
    assert shown["trays"][1] == {"index": 259, "name": "Tray 1", "is_default": False}
    await show_printer("Warehouse label")
    shown = capsys.readouterr().out
    assert "colors: mono\nduplex: off\n" in shown
    assert "tray: no choice\n" in shown


@pytest.mark.usefixtures("login")
async def test_a_printer_that_is_not_found(sandbox: Sandbox) -> None:
    with pytest.raises(
        ValueError, match=r"'Front desk lasr'. Similar: 'Front desk laser'. ezeep printers lists"
    ):
        await show_printer("Front desk lasr")
    with pytest.raises(ValueError, match="no printer with the id 00000000-0000-0000-0000-000000000001"):
        await show_printer("00000000-0000-0000-0000-000000000001")
    twin = sandbox.printing.add_printer("Pull queue")
    with pytest.raises(AmbiguousName, match=f"use an id, .* or {twin.id}"):
        await show_printer("Pull queue")


@pytest.mark.usefixtures("login")
async def test_no_printer_at_all(capsys: Capture, sandbox: Sandbox) -> None:
    sandbox.printing.printers.clear()
    await list_printers()
    assert capsys.readouterr().out == ""
    await list_printers(as_json=True)
    assert capsys.readouterr().out == "[]\n"
