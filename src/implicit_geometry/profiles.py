"""Class counts as people write them: a list, a profile such as ``step:10,100``, or a file."""

from __future__ import annotations

import re
from typing import Any

from implicit_geometry._files import read_regular_file
from implicit_geometry._validate import InputError, file_path, instance, shown, whole_number
from implicit_geometry.counts import ClassCounts

_PROFILE = re.compile(r"(step|exp|zipf):(.*)")
_MOST_BYTES = 2**30  # of a file of counts


def parse_counts(text: str, *, max_count: int = 5000) -> ClassCounts:
    """Class counts of a list, a profile or a file.

    Raises:
        InputError: the text is none of these, or its numbers do not make class counts.

    Example:
        >>> parse_counts("step:4,10", max_count=50)
        ClassCounts([50, 50, 5, 5])
    """
    whole_number("max_count", max_count, minimum=1)
    profile = _PROFILE.fullmatch(instance("counts", text, str))
    if profile:
        return _profile(profile[1], profile[2], text, max_count)
    try:
        numbers = _numbers(text)
    except ValueError:
        numbers = _numbers_in_file(text)
    return ClassCounts(numbers)


def _profile(kind: str, parts: str, text: str, max_count: int) -> ClassCounts:
    expected = {"step": ("step:K,R[,rho]", (2, 3)), "exp": ("exp:K,R", (2,)), "zipf": ("zipf:K,N", (2,))}
    form, sizes = expected[kind]
    try:
        numbers = _numbers(parts)
    except ValueError:
        numbers = []
    if len(numbers) not in sizes:
        raise InputError("counts", f"must have the form {form}", shown(text))
    if kind == "zipf":
        return ClassCounts.zipf(num_classes=_whole(numbers[0]), num_samples=_whole(numbers[1]))
    if kind == "exp":
        return ClassCounts.exponential(num_classes=_whole(numbers[0]), imbalance_ratio=numbers[1], max_count=max_count)
    return ClassCounts.step(
        num_classes=_whole(numbers[0]),
        imbalance_ratio=numbers[1],
        minority_fraction=numbers[2] if len(numbers) == 3 else 0.5,
        max_count=max_count,
    )


def _whole(value: float) -> Any:
    return int(value) if value.is_integer() else value


def _numbers(text: str) -> list[float]:
    return [float(part) for part in re.split(r"[\s,]+", text.strip().strip("[],")) if part]


def _numbers_in_file(text: str) -> list[float]:
    try:
        return _numbers(read_regular_file(file_path("counts", text), at_most=_MOST_BYTES).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            "counts",
            "must be a list of numbers, a readable file of numbers, step:K,R[,rho], exp:K,R or zipf:K,N",
            f"{shown(text)} ({error})",
        ) from error
