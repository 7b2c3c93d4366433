"""What weight decay makes embeddings cost: checked on the weights of a layer, by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import implicit_geometry as ig
from implicit_geometry.theory.weight_decay import MEASURED_EXPONENTS

DOCS = Path(__file__).parents[2] / "docs"
COUNTS = [40, 40, 10, 5]


def test_the_decay_of_a_batch_normalisation_is_the_mean_square_of_its_outputs():
    """gamma^2 + beta^2 of every unit, over N samples: N decay gamma^2 = decay sum of squares, one price per sample."""
    torch.manual_seed(0)
    layer = torch.nn.BatchNorm1d(6, eps=1e-9)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    outputs = layer(torch.randn(500, 6, dtype=torch.float32))
    decayed = float((layer.weight**2 + layer.bias**2).sum().detach())
    assert float((outputs**2).sum().detach()) / 500 == pytest.approx(decayed, rel=1e-5)
    samples, decay = sum(COUNTS), 1e-3
    by_classifier, by_embedding = samples * decay, decay  # |W|^2 pays N wd, a sample's |h|^2 pays wd
    found = ig.with_weight_decay(ig.Problem(COUNTS), decay, normalization="batch")
    assert found.ridge == pytest.approx(np.sqrt(by_classifier * by_embedding))
    assert found.pays_per_sample


@given(st.sampled_from(["layer", "none"]), st.floats(1e-6, 1.0))
def test_without_batch_normalisation_every_class_pays_the_same(normalization, decay):
    found = ig.with_weight_decay(ig.Problem(COUNTS), decay, normalization=normalization)
    assert found.embedding_cost.tolist() == [1.0] * 4
    assert found.ridge == pytest.approx(decay * sum(COUNTS))


def test_the_limit_has_no_ridge():
    found = ig.with_weight_decay(ig.Problem(COUNTS, ridge=0.3), 0.0, normalization="layer", count_exponent=0.2)
    assert found == ig.Problem(COUNTS, count_exponent=0.2)


def test_a_bias_that_decays_like_the_rest_keeps_doing_so():
    problem = ig.Problem(COUNTS, ridge=1.0, bias=True, bias_ridge=1.0)
    assert ig.with_weight_decay(problem, 1e-2, normalization="none").bias_ridge == pytest.approx(1e-2 * sum(COUNTS))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"normalization": "group"}, r"^normalization must be one of batch, layer, none, got 'group'"),
        ({"weight_decay": -1.0}, r"^weight_decay must be"),
        ({"weight_decay": float("nan")}, r"^weight_decay must be"),
        ({"count_exponent": float("inf")}, r"^count_exponent must be"),
        ({"problem": COUNTS}, r"^problem must be a Problem"),
    ],
)
def test_bad_input(given, message):
    with pytest.raises(ig.InputError, match=message):
        ig.with_weight_decay(**{"problem": ig.Problem(COUNTS), "weight_decay": 0.1, "normalization": "batch", **given})


def test_the_ridge_of_one_price_per_sample_would_collapse_most_classes_of_imagenet_lt_and_that_of_batch_norm_none():
    samples, decay = 115_846, 5e-4
    whole = samples * decay
    assert whole == pytest.approx(58, abs=0.1)
    assert whole**2 == pytest.approx(3355, abs=1)
    thresholds = ig.collapse_thresholds([4000, 3356, 3356, 3354, 3354, 5, 5]).ridge
    assert (thresholds <= whole).tolist() == [False, False, False, True, True, True, True]
    batch = samples**0.5 * decay
    assert batch == pytest.approx(0.17, abs=0.001)
    assert (thresholds > batch).all()


def test_the_measured_exponents_are_those_of_the_published_tables():
    tables = [pd.read_csv(path) for path in sorted(DOCS.glob("laws-*.csv"))]
    rows = pd.concat(tables)
    found = rows[(rows["law"] == "counts") & (rows["rule"] == "ce")].groupby("normalization")["count_exponent"]
    for name, measured in MEASURED_EXPONENTS.items():
        exponents = found.get_group(name)
        wanted = exponents.median(), exponents.min(), exponents.max()
        assert (measured.middle, measured.low, measured.high) == pytest.approx(wanted, abs=0.0051)
