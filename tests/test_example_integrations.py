"""``examples/huggingface_trainer.py`` and ``examples/skorch_sklearn.py`` run, and show what they are to show."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def lines_of(script, capsys):
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    header, *lines = capsys.readouterr().out.splitlines()
    return header, lines


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_logit_adjustment_raises_the_balanced_accuracy_in_the_trainer(capsys):
    header, lines = lines_of("huggingface_trainer.py", capsys)
    assert header.split() == ["loss", "balanced", "worst"]
    (plain, *plain_accuracies), (adjusted, *adjusted_accuracies) = (line.split() for line in lines)
    assert (plain, adjusted) == ("cross-entropy", "logit-adjusted")
    assert all(float(more) > float(less) for more, less in zip(adjusted_accuracies, plain_accuracies, strict=True))


def test_both_ways_of_scikit_learn_raise_the_balanced_accuracy(capsys):
    header, lines = lines_of("skorch_sklearn.py", capsys)
    assert header == "balanced accuracy on balanced data"
    plain, adjusted, searched = (float(line.split()[-1]) for line in lines)
    assert adjusted > plain + 0.1
    assert searched > plain + 0.1
