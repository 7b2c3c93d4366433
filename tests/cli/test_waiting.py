"""What is shown while a command computes."""

import io
import threading
import time

import pytest
from rich.console import Console

from implicit_geometry.cli import _waiting
from implicit_geometry.cli._waiting import waiting


@pytest.fixture
def errors(monkeypatch):
    """The error stream as a terminal, and half a tenth of a second of patience."""
    stream = io.StringIO()
    monkeypatch.setattr(_waiting, "Console", lambda stderr: Console(file=stream, force_terminal=True, width=80))
    monkeypatch.setattr(_waiting, "PATIENCE", 0.05)
    return stream


def test_work_that_takes_long_says_what_it_does_and_leaves_no_line(errors):
    with waiting("solving"):
        deadline = time.monotonic() + 10
        while "solving" not in errors.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    shown = errors.getvalue()
    assert "solving" in shown
    assert shown.rstrip().endswith("\x1b[2K")  # the line is erased


def test_short_work_shows_nothing(errors, monkeypatch):
    monkeypatch.setattr(_waiting, "PATIENCE", 60.0)
    with waiting("solving"):
        pass
    assert errors.getvalue() == ""


def test_what_ends_the_work_ends_the_line(errors):
    @waiting("solving")
    def interrupted():
        time.sleep(0.2)
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for thread in set(threading.enumerate()) - before:  # rich lets its own run out
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_no_terminal_no_line(capsys, monkeypatch):
    monkeypatch.setattr(_waiting, "PATIENCE", 0.0)
    with waiting("solving"):
        time.sleep(0.1)
    assert capsys.readouterr() == ("", "")
