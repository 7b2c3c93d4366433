"""Two thousand cases of the attack, the same ones every time; ``make attack`` runs fifty thousand others."""

from __future__ import annotations

import pytest

import implicit_geometry
from implicit_geometry import nn
from implicit_geometry.cli import _app as cli
from law.attack import Attack, run
from law.table import ATTACKS, cases_of

CASES = 2000


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_the_law_holds(attack: Attack) -> None:
    run(attack, cases_of(attack, CASES))


def test_no_two_attacks_have_one_name() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names)


NOT_CALLED = {"__version__", "InputError"}
COMMANDS = {"igeom demo", "igeom reproduce", "igeom train"}  # they train networks: their specs are attacked as sweeps


def test_every_public_name_is_attacked() -> None:
    covered = {name for attack in ATTACKS for name in attack.covers}
    assert set(implicit_geometry.__all__) - NOT_CALLED <= covered
    assert set(nn.__all__) <= covered
    commands = {f"igeom {name}" for name in cli.COMMANDS}
    assert commands - COMMANDS <= covered


def test_half_of_the_cases_are_valid_and_meet_an_oracle() -> None:
    valid = sum(cases_of(attack, 50_000) for attack in ATTACKS if "nonsense" not in attack.name)
    assert valid > 0.6 * 50_000
