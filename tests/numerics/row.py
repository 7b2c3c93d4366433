"""One line of the table of numerics."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """What was compared with what, over how many cases, and the worst error beside what is allowed.

    ``violations`` describes the cases that break a stated property in another way.
    """

    what: str
    judge: str
    cases: int
    measure: str
    worst: float
    allowed: float
    remark: str = ""
    violations: tuple[str, ...] = field(default=())

    @property
    def holds(self) -> bool:
        return self.worst <= self.allowed and not self.violations
