import os
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from functools import partial

import pytest

from implicit_geometry.cli._app import main
from processes import marked


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
    """Start the command in a process group of its own, its processes marked; none is left at the end."""
    groups = []

    def start(*arguments):
        command = [sys.executable, "-m", "implicit_geometry", *map(str, arguments)]
        mark = uuid.uuid4().hex
        process = subprocess.Popen(
            command,
            env=marked(mark),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's job may ignore it
        )
        process.mark = mark
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
