from io import StringIO

from rich.console import Console

from implicit_geometry.cli._tables import plan_table, results_table
from implicit_geometry.experiments.run import Run
from implicit_geometry.experiments.sweep_file.read import sweep_specs
from implicit_geometry.report.page.tables import SUMMARY

SPECS = sweep_specs(
    {
        "counts": [[20, 2], [9, 9]],
        "losses": ["ce", {"rule": "vs", "gamma": 0.5, "tau": [0.5, 1]}],
        "network": {"name": "mlp", "depth": [1, 2]},
        "seeds": 2,
    }
)


def shown(table):
    console = Console(width=200, file=StringIO())
    console.print(table)
    return console.file.getvalue().splitlines()


def finished(spec):
    balanced = 0.5 + 0.2 * spec.seed
    numbers = dict.fromkeys((column.key for column in SUMMARY), balanced)
    minority = None if spec.counts == (9, 9) else 0.25  # as JSON has a number that is not defined
    return Run(spec, {"rule": spec.rule, **numbers, "test_minority": minority, "terminal_phase": True, "versions": {}})


def test_rows_are_means_over_seeds_and_settings_that_vary_have_a_column():
    lines = shown(results_table([finished(spec) for spec in SPECS]))
    rows = [line.split() for line in lines if line.strip().startswith(("CE", "VS"))]
    assert len(rows) == len(SPECS) // 2
    assert "counts" in " ".join(lines)
    assert "depth" in " ".join(lines)
    assert "learning_rate" not in " ".join(lines)
    assert ["CE", "0", *["step:2,10", "of", "20"], "2", "2", "60.0%", "25.0%", "60.0%", *["0.600"] * 4, "yes"] in rows
    assert ["VS", "0.5", *["2", "x", "9"], "1", "2", "60.0%", "–", "60.0%", *["0.600"] * 4, "yes"] in rows


def test_a_plan_has_one_row_per_run():
    lines = shown(plan_table(SPECS, ["missing"] * len(SPECS)))
    assert sum(spec.key in line for spec in SPECS for line in lines) == len(SPECS)
