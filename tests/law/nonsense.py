"""Values that no argument expects, and attacks that put them in the place of one argument after another."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st

from law.attack import HELD, Attack

NAN, INF = float("nan"), float("inf")


class Unprintable:
    """A value whose repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def _deep(levels: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(levels):
        nested = [nested]
    return nested


SPECIMENS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "numpy bool": lambda: np.True_,
    "zero": lambda: 0,
    "minus one": lambda: -1,
    "a fraction": lambda: 1.5,
    "NaN": lambda: NAN,
    "infinity": lambda: INF,
    "minus infinity": lambda: -INF,
    "numpy NaN": lambda: np.float32("nan"),
    "1e308": lambda: 1e308,
    "5e-324": lambda: 5e-324,
    "minus 1e300": lambda: -1e300,
    "2**53 + 1": lambda: 2**53 + 1,
    "2**63": lambda: 2**63,
    "2**64": lambda: 2**64,
    "10**400": lambda: 10**400,
    "10**5000": lambda: 10**5000,
    "complex": lambda: 1j,
    "decimal": lambda: decimal.Decimal("0.1"),
    "date": lambda: datetime.date(2020, 1, 1),
    "empty text": lambda: "",
    "a word": lambda: "cdt",
    "a number as text": lambda: "1",
    "Unicode": lambda: "größe \u202e ∞",
    "a lone surrogate": lambda: "\udc80",
    "a null byte": lambda: "a\0b",
    "long text": lambda: "x" * 100_000,
    "bytes": lambda: b"\xff\x00",
    "path": lambda: Path("/does/not/exist"),
    "empty list": lambda: [],
    "empty lists": lambda: [[], []],
    "ragged": lambda: [[1], [1, 2]],
    "nested": lambda: _deep(500),
    "mixed list": lambda: [1, "a", None],
    "one number": lambda: [3],
    "zeros": lambda: [0, 0],
    "negative": lambda: [5, -1],
    "fractions": lambda: [5.5, 2.0],
    "NaN in a list": lambda: [NAN, 1.0],
    "infinity in a list": lambda: [INF, 1.0],
    "whole numbers beyond int64": lambda: [2**63, 1],
    "whole numbers beyond float64": lambda: [10**400, 1],
    "counts above 2**53": lambda: [2**53 + 2, 1],
    "strings": lambda: ["1", "2"],
    "booleans": lambda: [True, False],
    "other length": lambda: [1.0] * 17,
    "dictionary": lambda: {"a": 1},
    "set": lambda: {1, 2},
    "generator": lambda: (c for c in (1, 2)),
    "object": object,
    "unprintable": Unprintable,
    "function": lambda: len,
    "type": lambda: int,
    "empty array": lambda: np.zeros(0),
    "scalar array": lambda: np.array(2.5),
    "matrix": lambda: np.ones((2, 3)),
    "three axes": lambda: np.ones((2, 2, 2)),
    "NaN matrix": lambda: np.full((2, 2), NAN),
    "object array": lambda: np.array([object(), None]),
    "text array": lambda: np.array(["a", "b"]),
    "date array": lambda: np.array(["2020-01-01"], dtype="datetime64[D]"),
    "complex array": lambda: np.array([1j, 2]),
    "long double": lambda: np.array(["1e4000", "1"], dtype=np.longdouble),
    "structured array": lambda: np.zeros(2, dtype=[("a", int)]),
    "uint64": lambda: np.array([2**64 - 1, 1], dtype=np.uint64),
    "series": lambda: pd.Series([1.0, None]),
    "frame": lambda: pd.DataFrame({"a": [1, 2]}),
    "tensor": lambda: torch.tensor([1.0, NAN]),
    "tensor with gradient": lambda: torch.ones(2, requires_grad=True),
    "meta tensor": lambda: torch.ones(2, device="meta"),
    "sparse tensor": lambda: torch.eye(2).to_sparse(),
    "bfloat16 tensor": lambda: torch.ones(2, dtype=torch.bfloat16),
    "empty tensor": lambda: torch.zeros(0),
    "scalar tensor": lambda: torch.tensor(1.5),
    "module": lambda: torch.nn.Linear(2, 2),
}


def holds_nan(value: Any, depth: int = 0) -> bool:
    """Whether there is a NaN anywhere in a result."""
    if isinstance(value, float):
        return value != value
    if isinstance(value, torch.Tensor):
        return bool(torch.isnan(value.detach().double()).any()) if value.is_floating_point() else False
    if isinstance(value, np.ndarray):
        return bool(np.isnan(value).any()) if value.dtype.kind == "f" else False
    if depth > 6:
        return False
    if is_dataclass(value) and not isinstance(value, type):
        return any(holds_nan(getattr(value, part.name), depth + 1) for part in fields(value))
    if isinstance(value, Mapping):
        return any(holds_nan(item, depth + 1) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(holds_nan(item, depth + 1) for item in value)
    return False


def nonsense_for(
    name: str,
    call: Callable[..., Any],
    arguments: Mapping[str, Callable[[], Any]],
    *,
    share: int,
    covers: tuple[str, ...] | None = None,
    attacked: Iterable[str] | None = None,
    names: tuple[str, ...] = (),
    may_hold_nan: bool = False,
) -> Attack:
    """An attack on one function: every argument in turn (and sometimes two at once) is any specimen.

    Args:
        name: of the function.
        call: it, with keyword arguments.
        arguments: makers of valid values.
        share: of all cases, in thousandths.
        covers: public names; the name itself where left out.
        attacked: the arguments to replace; all of them where left out.
        names: words of arguments that a refusal may name beside the replaced ones.
        may_hold_nan: whether NaN is a documented answer.
    """
    choices = list(arguments) if attacked is None else list(attacked)
    one = st.tuples(st.sampled_from(choices), st.sampled_from(list(SPECIMENS)))
    cases = st.lists(one, min_size=1, max_size=2).map(dict)

    def check(case: dict[str, str]) -> str:
        given = {key: make() for key, make in arguments.items()}
        result = call(**given | {key: SPECIMENS[specimen]() for key, specimen in case.items()})
        assert may_hold_nan or not holds_nan(result), f"NaN in {result}"
        return HELD

    return Attack(
        name=f"{name}: nonsense",
        covers=covers or (name,),
        cases=cases,
        check=check,
        share=share,
        names=(*arguments, *names),
    )
