"""Every attack, one table."""

from __future__ import annotations

from law import commands, corrections, files, networks, reports, theory, values
from law.attack import Attack

ATTACKS: tuple[Attack, ...] = tuple(
    attack for part in (values, theory, corrections, networks, files, reports, commands) for attack in part.ATTACKS
)


def cases_of(attack: Attack, total: int) -> int:
    """How many of all cases an attack gets: its share, at least one."""
    return max(1, round(total * attack.share / sum(other.share for other in ATTACKS)))
