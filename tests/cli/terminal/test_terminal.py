"""What a person sees at a terminal: the commands run in a pseudo-terminal."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from helpers.command_line import EZEEP, environment


pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
termios = pytest.importorskip("termios", reason="needs a POSIX terminal")

pytestmark = [pytest.mark.may_block, pytest.mark.timeout(60), pytest.mark.slow]

SECRET = "s3cret"


@attrs.frozen
class Terminal:
    """A terminal with a command in it."""

    process: subprocess.Popen[bytes]
    ours: int
    theirs: int

    def read_until(self, text: str) -> str:
        """What is shown up to that text; without it, all there is."""
        decode, seen = codecs.getincrementaldecoder("utf-8")("replace").decode, ""
        while text not in seen:
            try:
                piece = os.read(self.ours, 1000)
            except OSError:  # what Linux says when the other end is closed
                break
            seen += decode(piece)
        return seen

    def read_rest(self) -> str:
        """What else the command has shown, when it has ended."""
        os.close(self.theirs)
        return self.read_until("never")

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def shows_what_is_typed(self) -> bool:
        return bool(termios.tcgetattr(self.theirs)[3] & termios.ECHO)


@contextlib.contextmanager
def terminal(folder: Path, *arguments: str) -> Iterator[Terminal]:
    """Run the command in one."""
    ours, theirs = pty.openpty()
    known = {"HOME": str(folder), "XDG_STATE_HOME": str(folder), "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        [*EZEEP, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(known),
        start_new_session=True,
    )
    try:
        yield Terminal(process, ours, theirs)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        with contextlib.suppress(OSError):
            os.close(theirs)


@pytest.mark.parametrize("end", ["answer", "ctrl-c", "sigterm"])
def test_a_secret_is_not_shown_while_it_is_typed(tmp_path: Path, end: str) -> None:
    """And the terminal shows again afterwards what is typed, however it ended."""
    with terminal(tmp_path, "login", "--sandbox", "--password", "--username", "absent@example.com") as shown:
        assert "Password: " in shown.read_until("Password: ")
        while shown.shows_what_is_typed():
            time.sleep(0.01)
        if end == "answer":
            shown.type(f"{SECRET}\n")
            assert shown.process.wait(15) == 1
        elif end == "ctrl-c":
            shown.process.send_signal(signal.SIGINT)
            assert shown.process.wait(15) == 130
        else:
            shown.process.send_signal(signal.SIGTERM)
            assert shown.process.wait(15) == 143
        assert shown.shows_what_is_typed()
        assert SECRET not in shown.read_rest()


def test_a_pairing_code_is_large_and_can_be_scanned(tmp_path: Path) -> None:
    """The code letter by letter, the address, and its QR code; then Ctrl-C, which ends the waiting."""
    with terminal(tmp_path, "login", "--sandbox", "--device") as shown:
        text = shown.read_until("Waiting at most 300 s for the confirmation")
        code = re.search(r"\?pairing_code=(\w+)", text)
        assert code is not None, text
        assert " ".join(code[1]) in text
        picture = [line for line in text.splitlines() if len(re.findall("[\u2580\u2584\u2588]", line)) > 10]
        assert len(picture) > 10, text  # a QR code of this length has 33 rows and more, two in a line
        shown.process.send_signal(signal.SIGINT)
        assert shown.process.wait(15) == 130
        assert "interrupted" in shown.read_rest()
