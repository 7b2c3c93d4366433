"""Processes that end with the one that started them.

A worker is this file, started by its path, so that it is tied to its parent before anything heavy is imported.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from functools import cache

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG in linux/prctl.h
_WATCH_SECONDS = 0.5
_FIRST_PROCESS = "IGEOM_FIRST_PROCESS"


@cache
def end_with(parent: int) -> None:
    """End this process when its parent ends: at once on Linux, where the kernel sees to it, else within half a second.

    The kernel watches the thread that started this process, so that the parent must start it from one that waits for
    it. On Windows a process keeps the number of a parent that is gone: a worker finds out at the end of its run.

    Args:
        parent: number of the parent process, as itself gave it: when it is asked for here, the parent may be gone.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def end_with_first_process() -> None:
    """Let the helpers of a training over several processes, which Lightning starts, end with the first of them."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        os.environ[_FIRST_PROCESS] = str(os.getpid())
    elif _FIRST_PROCESS in os.environ:
        end_with(int(os.environ[_FIRST_PROCESS]))


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def main() -> None:
    """Become the worker of the process whose number is the only argument.

    The first line of standard input is JSON with ``path`` (of modules) and ``program``, a module whose ``serve`` takes
    that document, the lines that follow and a stream for its answers; what else is printed goes to standard error.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides on Ctrl-C
    end_with(int(sys.argv[1]))
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    first = requests.readline()
    if not first:  # the parent was interrupted before it said anything
        return
    setting = json.loads(first)
    sys.path[:] = setting["path"]
    try:
        importlib.import_module(setting["program"]).serve(setting, requests, answers)
    except BrokenPipeError:  # nobody waits for the answer
        return


if __name__ == "__main__":
    main()
