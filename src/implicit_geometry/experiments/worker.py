"""The program of a worker: it runs one trial after another, as the process that started it asks.

It is started by its path, so that it is tied to its parent before anything heavy is imported. Requests come on standard
input and answers go out on standard output, one line of JSON each; what else is printed goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import TextIO

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG in linux/prctl.h
_WATCH_SECONDS = 0.5
_FIRST_PROCESS = "IGEOM_FIRST_PROCESS"


@cache
def end_with(parent: int) -> None:
    """End this process when its parent ends: at once on Linux, where the kernel sees to it, else within half a second.

    The kernel watches the thread that started this process, so that the parent must start it from one that waits for
    it. On Windows a process keeps the number of a parent that is gone: a worker finds out at the end of its trial.

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


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer every line of requests, until there are no more.

    The first line holds ``path`` (of modules), ``folder`` and ``resources``, each further one a spec. An answer is a
    list: ``["ended", ENDING]``, or ``["refused", argument, expectation, given]`` of an input error.
    """
    first = requests.readline()
    if not first:  # the parent was interrupted before it said anything
        return
    setting = json.loads(first)
    sys.path[:] = setting["path"]
    import torch

    from implicit_geometry._validate import InputError
    from implicit_geometry.experiments.execute import execute
    from implicit_geometry.experiments.spec import TrialSpec
    from implicit_geometry.experiments.trial import Resources

    torch.set_num_threads(1)
    gc.freeze()  # what is imported stays, so that a collection takes a millisecond, not half a second
    folder, resources = Path(setting["folder"]), Resources.from_dict(setting["resources"])
    for line in requests:
        try:
            answer = ["ended", execute(folder, TrialSpec.from_dict(json.loads(line)), resources)]
        except InputError as error:
            answer = ["refused", error.argument, error.expectation, error.given]
        print(json.dumps(answer), file=answers, flush=True)
        gc.collect()  # trainers are cycles that hold the samples of their trial


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def main() -> None:
    """Serve the process whose number is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides on Ctrl-C
    end_with(int(sys.argv[1]))
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    try:
        serve(requests, answers)
    except BrokenPipeError:  # nobody waits for the answer
        return


if __name__ == "__main__":
    main()
