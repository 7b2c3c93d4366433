"""The program of a worker: it trains one run after another, as the process that started it asks.

Requests and answers are lines of JSON; :mod:`implicit_geometry.experiments.ends_with_parent` starts it.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import torch

from implicit_geometry._validate import InputError
from implicit_geometry.experiments.backends.execute import execute
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.training.train_run import Resources


def serve(setting: dict[str, Any], requests: Iterable[str], answers: TextIO) -> None:
    """Answer every request, until there are no more.

    Args:
        setting: ``folder`` of the results, and ``resources``.
        requests: a spec each.
        answers: gets a list for each: ``["ended", ENDING]``, or ``["refused", argument, expectation, given]`` of an
            input error.
    """
    torch.set_num_threads(1)
    gc.freeze()  # what is imported stays, so that a collection takes a millisecond, not half a second
    folder, resources = Path(setting["folder"]), Resources.from_dict(setting["resources"])
    for line in requests:
        try:
            answer = ["ended", execute(folder, RunSpec.from_dict(json.loads(line)), resources)]
        except InputError as error:
            answer = ["refused", error.argument, error.expectation, error.given]
        print(json.dumps(answer), file=answers, flush=True)
        gc.collect()  # trainers are cycles that hold the samples of their run
