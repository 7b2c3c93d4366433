import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial

import pytest

from implicit_geometry.cli.app import main


@pytest.fixture
def igeom(monkeypatch, capsys):
    """Run the command in this process: exit code, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["igeom", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def start():
    """Start the command in a process group of its own; none is left at the end."""
    groups = []

    def start(*arguments):
        command = [sys.executable, "-m", "implicit_geometry", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's job may ignore it
        )
        groups.append(process)
        return process

    yield start
    for process in groups:
        _kill_group(process)


@pytest.fixture
def kill_group():
    """``kill -9`` of a command that was started, and of all its workers."""
    return _kill_group


def _kill_group(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
