"""The law, and how one case is judged by it.

Every public call returns a result that satisfies its stated properties, or raises an ``InputError`` that names the
argument. Never a bare traceback of NumPy, torch or pandas, never a silent NaN, never a proof that proves nothing.
"""

from __future__ import annotations

import re
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from implicit_geometry import InputError

ORACLE, HELD, REFUSED, VIOLATION = "valid with oracle", "held", "refused", "violations"
OUTCOMES = (ORACLE, HELD, REFUSED, VIOLATION)


@dataclass(frozen=True)
class Attack:
    """One entry point, what it is given, and what must be true of what comes back.

    Attributes:
        name: of the entry point, with what is particular about the cases.
        covers: public names of the package, of ``nn`` and of the command line that the cases call.
        cases: plain values, whose ``repr`` reproduces a violation.
        check: calls the entry point; ``ORACLE`` where the result was compared with an independent computation,
            ``HELD`` where only its stated properties were; raises ``AssertionError`` where either fails.
        share: of all cases, in thousandths.
        names: one of these words stands in the argument that a refusal names; ``None`` where any is right, empty where
            no case may be refused.
    """

    name: str
    covers: tuple[str, ...]
    cases: SearchStrategy[Any]
    check: Callable[[Any], str]
    share: int
    names: tuple[str, ...] | None = ()


@dataclass
class Tally:
    """What became of the cases of an attack."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reproducers: list[str] = field(default_factory=list)


class Violation(AssertionError):
    """A case that breaks the law, with what reproduces it."""


def judge(attack: Attack, case: Any) -> str:
    """The outcome of a case.

    Raises:
        Violation: it breaks the law.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return attack.check(case)
    except InputError as error:
        if not _names_an_argument(error, attack.names):
            raise Violation(f"{attack.name}\n  case: {case!r}\n  refused with: {error}") from error
        return REFUSED
    except Exception as error:
        last = "".join(traceback.format_exception_only(error)).strip()
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
        raise Violation(f"{attack.name}\n  case: {case!r}\n  {where}: {last}") from error


def _names_an_argument(error: InputError, names: tuple[str, ...] | None) -> bool:
    if not (error.argument and error.expectation):
        return False
    return names is None or any(name in error.argument for name in names)


def run(attack: Attack, cases: int, *, start: int | None = None, keep_going: bool = False) -> Tally:
    """Judge so many cases.

    Args:
        attack: what to run.
        cases: how many at most; fewer where there are no more.
        start: seed of the cases; the same ones every time where left out.
        keep_going: count violations instead of raising the first, shrunk.
    """
    tally = Tally()

    def one(case: Any) -> None:
        try:
            tally.outcomes[judge(attack, case)] += 1
        except Violation as violation:
            if not keep_going:
                raise
            tally.outcomes[VIOLATION] += 1
            tally.reproducers.append(str(violation))

    one.__name__ = re.sub(r"\W", "_", attack.name)  # the cases of a run without a seed depend on it
    test = given(attack.cases)(one)
    if start is not None:
        test = seed(start)(test)
    settings(
        max_examples=cases,
        derandomize=start is None,
        database=None,
        deadline=None,
        phases=[Phase.generate] if keep_going else [Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )(test)()
    return tally
