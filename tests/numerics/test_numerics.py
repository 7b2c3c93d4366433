"""A few cases of every row of ``make numerics``."""

from __future__ import annotations

import pytest

from numerics.rows import ROWS


@pytest.mark.parametrize("index", range(len(ROWS)))
def test_the_worst_error_of_a_few_cases_is_within_what_is_allowed(index: int) -> None:
    row = ROWS[index][1](4)
    assert row.holds, row
