"""Standard output that lacks characters, is full, or that nobody reads any more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


def igeom(*arguments, **options):
    command = [sys.executable, "-m", "implicit_geometry", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120, check=False, **options)


def test_characters_that_the_output_lacks_are_question_marks_and_one_line_says_so():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = igeom("predict", "50,5", env=environment, stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert "|maj|? / |min|?" in done.stdout
    assert done.stderr == "note: characters that ascii lacks are shown as ?; PYTHONIOENCODING=utf-8 shows them\n"


def test_an_error_with_such_characters_is_one_line_and_the_note():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = igeom("predict", "5ö", env=environment, stdout=subprocess.PIPE)
    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "note"]


@needs_full
@pytest.mark.parametrize("arguments", [("predict", "50,5"), ("predict", "50,5", "--json"), ("--version",), ("--help",)])
def test_a_full_output_is_one_line_and_exit_code_1(arguments):
    with FULL.open("w") as full:
        done = igeom(*arguments, stdout=full)
    assert (done.returncode, done.stderr) == (1, "error: output cannot be written: No space left on device\n")


@needs_full
def test_where_nothing_can_be_said_the_exit_code_says_it():
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "implicit_geometry", "predict", "nonsense"], stdout=full, stderr=full, check=False
        )
    assert done.returncode == 1


@pytest.mark.parametrize("arguments", [("predict", "50,5"), ("predict", "step:2000,10", "--json")])
def test_a_reader_that_has_gone_ends_the_command_in_silence(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = igeom(*arguments, stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_closed_output_is_no_traceback():
    done = igeom("--version", stdout=subprocess.DEVNULL, preexec_fn=lambda: os.close(1))
    assert "Traceback" not in done.stderr
