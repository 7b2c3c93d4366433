"""Networks that follow a law exactly are found to: what is fitted, what is predicted, and the distances."""

import numpy as np
import pandas as pd
import pytest

import implicit_geometry as ig
from implicit_geometry.experiments.run import MeasuredRun
from implicit_geometry.studies.laws.plan import bench_of, study_specs
from implicit_geometry.studies.laws.predictions import LAWS, predicted
from implicit_geometry.studies.laws.table import law_rows, law_summary, law_table

EXPONENT = 0.6
COLUMNS = {"train_overall": 1.0, "test_balanced": 0.9, "nc1": 0.01, "classifier_norm_ratio": 2.0}


def vectors_of(geometry):
    """Classifiers and embeddings with the Gram matrices of a geometry, k vectors in k dimensions each."""
    k = geometry.num_classes
    blocks = geometry.classifier.dense(), geometry.cross.dense(), geometry.embedding.dense()
    whole = np.block([[blocks[0], blocks[1]], [blocks[1].T, blocks[2]]])
    values, rotation = np.linalg.eigh(whole)
    vectors = rotation * np.sqrt(np.maximum(values, 0.0))
    return vectors[:k], vectors[k:]


def run_of(spec, *, exponent=EXPONENT, noise=0.0, size=1.0):
    """A network of a spec with the geometry that its effective counts predict, in smoothed labels' own scale."""
    problem = spec.problem(bias=False)
    cost = problem.counts.values.astype(float) ** exponent
    solved = ig.predict(ig.Problem(problem.counts, problem.parameterization, embedding_cost=cost, label_smoothing=0.1))
    classifier, embedding = vectors_of(solved.geometry)
    classifier = size * classifier + noise * np.random.default_rng(0).normal(size=classifier.shape)
    arrays = {"classifier": classifier, "embedding": embedding, "class_means": embedding}
    return MeasuredRun(spec, {**COLUMNS, "embedding_norm_ratio": 1.0}, arrays)


def smoothed_specs(*, normalization="batch", seeds=(0, 1)):
    network = next(each.network for each in bench_of("digits").networks if each.normalization == normalization)
    return [
        spec
        for spec in study_specs("digits", seeds=2)
        if spec.network == network
        and spec.label_smoothing
        and spec.class_counts().imbalance_ratio == 10
        and spec.seed in seeds
        and spec.rule not in ("weighted", "vs")  # seconds of descent each, for nothing new
    ]


@pytest.fixture(scope="module")
def rows():
    return law_rows([run_of(spec) for spec in smoothed_specs()])


class TestRows:
    def test_one_row_per_run_and_law(self, rows):
        assert len(rows) == len(smoothed_specs()) * len(LAWS)
        assert list(dict.fromkeys(rows["law"])) == list(LAWS)

    def test_the_exponent_fitted_on_plain_cross_entropy_predicts_the_other_losses(self, rows):
        counts = rows[rows["law"] == "counts"]
        np.testing.assert_allclose(counts["count_exponent"], EXPONENT, atol=1e-4)
        for block in ("classifier", "embedding", "cross", "logits"):
            assert counts[f"{block}_systematic"].max() < 1e-4

    def test_the_papers_law_does_not_hold_for_them(self, rows):
        paper = rows[(rows["law"] == "paper") & (rows["rule"] == "ce")]
        assert paper["classifier_systematic"].min() > 0.05
        assert (paper["count_exponent"] == 1).all()
        assert paper["logits_systematic"].isna().all()

    def test_mean_logits_depend_on_no_price(self, rows):
        without_shift = rows[rows["rule"].isin(["ce", "cdt", "ldt"]) & rows["law"].isin(["labels", "relu"])]
        assert without_shift["logits_systematic"].max() < 1e-6
        np.testing.assert_allclose(without_shift["logits_scale"], 1.0, atol=1e-6)

    def test_a_shift_behind_a_relu_is_predicted_numerically(self, rows):
        shifted = rows[(rows["law"] == "counts_relu") & (rows["rule"] == "logit_adjusted")]
        assert len(shifted)
        assert shifted["cross_systematic"].max() < 0.01

    def test_weight_decay_gives_the_price_and_the_ridge_of_a_normalisation(self):
        for normalization, exponent, ridge in (("batch", 1.0, 660**0.5 * 1e-3), ("none", 0.0, 660 * 1e-3)):
            found = law_rows([run_of(spec) for spec in smoothed_specs(normalization=normalization, seeds=[0])])
            decay = found[found["law"] == "decay"]
            assert (decay["count_exponent"] == exponent).all()
            np.testing.assert_allclose(decay["ridge"], ridge)

    def test_the_absolute_distance_of_mean_logits_is_that_of_the_dense_average(self):
        specs = [spec for spec in smoothed_specs(seeds=[0]) if spec.rule in ("ce", "cdt")]
        runs = [run_of(spec, noise=0.1, size=1.2) for spec in specs]
        found = law_rows(runs).query("law == 'labels'")
        for run, (_, row) in zip(runs, found.iterrows(), strict=True):
            theory = ig.predict(run.problem).geometry.cross.dense()
            measured = run.arrays["classifier"] @ run.embedding("projected").T
            error = average(measured) - theory
            assert row["logits_systematic"] == pytest.approx(np.linalg.norm(error) / np.linalg.norm(theory), abs=1e-9)
            assert row["logits_systematic"] > 0.1


def average(matrix):
    """Mean over all permutations inside the two halves of ten classes, entry by entry."""
    found = np.empty_like(matrix)
    group, same = np.repeat([0, 1], 5), np.eye(10, dtype=bool)
    for g in (0, 1):
        for h in (0, 1):
            block = np.outer(group == g, group == h)
            for part in (block & same, block & ~same):
                if part.any():
                    found[part] = matrix[part].mean()
    return found


def test_without_plain_cross_entropy_nothing_is_fitted():
    specs = [spec for spec in smoothed_specs(seeds=[0]) if spec.rule == "cdt"]
    found = law_rows([run_of(spec) for spec in specs])
    fitted = found["law"].str.startswith("counts")
    assert found.loc[fitted, "classifier_systematic"].isna().all()
    assert found.loc[~fitted, "classifier_systematic"].notna().all()


def test_the_table_is_of_medians_over_seeds(rows):
    table = law_table(rows)
    chosen = (table["rule"] == "cdt") & (table["exponent"] == 0.5) & (table["law"] == "paper")
    (row,) = table[chosen].to_dict("records")
    same = rows[(rows["rule"] == "cdt") & (rows["exponent"] == 0.5) & (rows["law"] == "paper")]
    assert row["runs"] == len(same) == 2
    assert row["embedding_systematic"] == same["embedding_systematic"].median()


def test_the_summary_is_of_the_main_losses(rows):
    table = law_table(rows)
    summary = law_summary(table).set_index("law")
    main = table[table["rule"].isin(["ce"]) | (table["rule"].isin(["cdt", "ldt"]) & (table["exponent"] == 0.5))]
    assert summary.loc["labels", "classifier_systematic"] == (
        main.loc[main["law"] == "labels", "classifier_systematic"].median()
    )
    assert summary.loc["labels", "runs"] == 6


def test_a_refused_problem_has_no_prediction():
    assert predicted(ig.Problem([9] * 30 + [1], bias=True, features="nonnegative")) is None
    assert predicted(ig.Problem([9, 1])) is not None


def test_the_table_can_be_read_again(rows, tmp_path):
    law_table(rows).to_csv(tmp_path / "laws.csv", index=False)
    again = pd.read_csv(tmp_path / "laws.csv")
    pd.testing.assert_frame_equal(again, law_table(rows), check_dtype=False)
