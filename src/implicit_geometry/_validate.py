"""Checks at the public border: every failure names the argument, what was given and what is expected."""

from __future__ import annotations

import difflib
import importlib
import math
import os
import reprlib
import sys
from collections.abc import Iterable
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

T = TypeVar("T")

LARGEST_COUNT = 2**53
"""Largest whole number of samples: every smaller one is exact in float64."""

LARGEST_NUM_CLASSES = 20_000_000
"""Largest number of classes: the vectors of a problem then take a few gigabytes."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 60


class InputError(ValueError):
    """Raised for a value the caller can correct; names the argument, what is expected and what was given.

    Attributes:
        argument: name of the argument (or file, or option) that was refused.
        expectation: what it must be, as a phrase that follows the name: "must be a finite number".
        given: what was given instead; empty where nothing can be said of it.

    Example:
        >>> try:
        ...     number("gamma", float("nan"))
        ... except InputError as error:
        ...     print(error.argument, "|", error.expectation, "|", error.given)
        ...     print(error)
        gamma | must be a finite number | nan
        gamma must be a finite number, got nan
    """

    def __init__(self, argument: str, expectation: str, given: object = "") -> None:
        try:
            text = str(given)
        except Exception:  # a whole number of thousands of digits, a text of the caller's own
            text = shown(given)
        self.argument, self.expectation, self.given = argument, expectation, text
        got = f", got {self.given}" if self.given else ""
        super().__init__(f"{argument} {expectation}{got}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.argument, self.expectation, self.given)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a contiguous, read-only copy of an array."""
    copy = np.array(array, order="C")
    copy.setflags(write=False)
    return copy


def numeric_array(name: str, values: Any, expected: str = "numbers") -> Floats:
    """Return a float64 array of any shape, or raise naming what was given instead."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf":
            raise TypeError(f"dtype {array.dtype}")
        with np.errstate(over="ignore"):  # of longer floats: infinity is refused by name
            return array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(name, f"must be {expected}", f"{shown(values)} ({error})") from error


def numeric_vector(name: str, values: Any) -> Floats:
    """Return a one-dimensional float64 array, or raise naming what was given instead."""
    array = numeric_array(name, values, "a sequence of numbers")
    if array.ndim != 1:
        raise InputError(name, "must be one-dimensional", f"shape {array.shape}")
    return array


def class_vector(name: str, values: Any, *, positive: bool = False) -> Floats:
    """Return a read-only float64 vector with one finite (optionally positive) entry per class."""
    array = numeric_vector(name, values)
    bad = ~np.isfinite(array)
    expected = "finite"
    if positive:
        bad |= array <= 0
        expected = "finite and positive"
    if bad.any():
        index = int(np.argmax(bad))
        raise InputError(name, f"must be {expected} for every class", f"{array[index]} for class {index}")
    return frozen(array + 0.0)  # -0.0 and 0.0 are one value


def sample_counts(name: str, values: Any) -> Ints:
    """Return a read-only int64 vector of at least two positive whole numbers."""
    array = numeric_vector(name, values)
    given = np.asarray(values)
    if not 2 <= array.size <= LARGEST_NUM_CLASSES:
        expected = "at least 2" if array.size < 2 else f"at most {LARGEST_NUM_CLASSES:,}"
        raise InputError(name, f"must hold {expected} classes", array.size)
    for bad, expected in (
        (~np.isfinite(array), "a finite whole number"),
        (array != np.floor(array), "a whole number"),
        (array < 1, "at least 1 (leave out a class without samples)"),
        (given > LARGEST_COUNT, f"at most {LARGEST_COUNT}"),
    ):
        if bad.any():
            index = int(np.argmax(bad))
            raise InputError(name, f"must be {expected} for every class", f"{array[index]:.17g} for class {index}")
    return frozen(given.astype(np.int64))


def number(
    name: str,
    value: Any,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    exclusive: bool = False,
) -> float:
    """Return a finite float within a closed (or, with ``exclusive``, open) interval."""
    try:
        scalar = value.item() if getattr(value, "ndim", None) == 0 else value  # of an array or tensor without axes
        if not isinstance(scalar, Real) or isinstance(scalar, bool):
            raise TypeError(type(value).__name__)
        result = float(scalar)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(name, "must be a number", shown(value)) from error
    outside = not (minimum < result < maximum) if exclusive else not (minimum <= result <= maximum)
    if not math.isfinite(result) or outside:
        raise InputError(name, f"must be a finite number{_interval(minimum, maximum, exclusive)}", f"{result:g}")
    return result


def whole_number(name: str, value: Any, *, minimum: int = 0, maximum: int | None = None) -> int:
    """Return an int within bounds; booleans and fractions are refused."""
    is_whole = isinstance(value, (int, np.integer)) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not is_whole or int(value) < minimum or (maximum is not None and value > maximum):
        limits = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
        raise InputError(name, f"must be a whole number {limits}", shown(value))
    return int(value)


def class_number(name: str, value: Any) -> int:
    """Return a number of classes: at least 2, and few enough to hold in memory."""
    return whole_number(name, value, minimum=2, maximum=LARGEST_NUM_CLASSES)


def flag(name: str, value: Any) -> bool:
    """Return a boolean; nothing else is taken for one."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(name, "must be True or False", shown(value))
    return bool(value)


def instance(name: str, value: Any, kind: type[T], hint: str = "") -> T:
    """Return a value of a type, or raise with a hint of how to make one.

    Example:
        >>> instance("text", None, str)
        Traceback (most recent call last):
        implicit_geometry._validate.InputError: text must be a str, got None
    """
    if isinstance(value, kind):
        return value
    raise InputError(name, f"must be a {kind.__name__}{hint and f' ({hint})'}", shown(value))


def file_path(name: str, value: Any) -> Path:
    """Return a path that the file system can be asked for.

    Example:
        >>> file_path("output", "results").name
        'results'
    """
    try:
        if not isinstance(value, (str, os.PathLike)) or b"\0" in os.fsencode(value):
            raise TypeError
        return Path(value)
    except (TypeError, ValueError) as error:
        raise InputError(name, "must be a path", shown(value)) from error


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """Return one of the named options, or raise with the nearest right name."""
    names = list(options)
    if isinstance(value, str) and value in names:
        return value
    hint = nearest(value, names) if isinstance(value, str) else ""
    raise InputError(name, f"must be one of {', '.join(names)}", f"{shown(value)}{hint}")


def user_object(name: str, module: str, attribute: str, kind: type[T], what: str) -> T:
    """Return an object of a user's module, from an installed package, PYTHONPATH or the current folder.

    Example:
        >>> user_object("counts", "math", "pi", float, "a number")
        3.141592653589793
    """
    if not all(part.isidentifier() for part in module.split(".")):
        raise InputError(name, "must name a module by its full name, as in package.module:NAME", repr(module))
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # where python -m finds modules, and a command does not
    try:
        home = importlib.import_module(module)
    except Exception as error:  # whatever the user's module raises
        raise InputError(
            name, "must name a module that can be imported (from here or PYTHONPATH)", f"{module!r} ({error})"
        ) from error
    found = getattr(home, attribute, None)
    if not isinstance(found, kind):
        names = [key for key, value in vars(home).items() if isinstance(value, kind)]
        raise InputError(name, f"must name {what} of module {module}", f"{attribute!r}{nearest(attribute, names)}")
    return found


def nearest(given: str, names: Iterable[str]) -> str:
    """The end of a message that suggests the name which is most like what was given; empty where none is.

    Example:
        >>> nearest("cde", ["ce", "ldam"])
        "; did you mean 'ce'?"
    """
    near = difflib.get_close_matches(given[:100], list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def names_of_classes(values: Any, num_classes: int) -> tuple[str, ...]:
    """Return different names, one per class, or none at all."""
    try:
        names = tuple(values) if isinstance(values, Iterable) and not isinstance(values, (str, bytes)) else (values,)
    except TypeError:  # an array without axes
        names = (values,)
    texts = all(isinstance(name, str) for name in names)
    if names and not (texts and len(set(names)) == len(names) == num_classes):
        raise InputError("class_names", f"must be {num_classes} different names, one per class", shown(values))
    return names


def group_labels(name: str, values: Any, num_classes: int) -> Ints:
    """Return consecutive group numbers 0, 1, ... for labels of any comparable kind, one per class."""
    try:
        array = np.asarray(values)
        if array.shape != (num_classes,):
            raise InputError(name, f"must have one label per class, shape ({num_classes},)", f"shape {array.shape}")
        return np.unique(array, return_inverse=True)[1].astype(np.int64)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(name, "must be labels that can be compared", f"{shown(values)} ({error})") from error


def class_index(name: str, value: Any, num_classes: int) -> int:
    """Return an int in 0..num_classes-1."""
    return whole_number(name, value, minimum=0, maximum=num_classes - 1)


def _interval(minimum: float, maximum: float, exclusive: bool) -> str:
    if minimum == -math.inf and maximum == math.inf:
        return ""
    if maximum == math.inf:
        return f" {'above' if exclusive else 'at least'} {minimum:g}"
    if minimum == -math.inf:
        return f" {'below' if exclusive else 'at most'} {maximum:g}"
    return f" {'strictly ' if exclusive else ''}between {minimum:g} and {maximum:g}"


def shown(value: Any) -> str:
    """What was given, in at most 60 characters."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # a repr of the caller's own, or a whole number of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
