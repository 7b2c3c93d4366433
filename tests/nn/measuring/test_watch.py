"""Watching a network in a training loop of one's own."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import implicit_geometry as ig
from implicit_geometry.nn import GeometryMetric, GeometryWatch, VSLoss, measure, mlp
from implicit_geometry.nn.measuring.batches import labels_of
from implicit_geometry.nn.measuring.head_hook import find_head
from implicit_geometry.nn.measuring.merging import closeness, crowded, merging_groups, warning_of
from implicit_geometry.nn.measuring.targets import Targets
from implicit_geometry.theory.measured_frame import in_measured_frame

K, D = 4, 6
COUNTS = ig.ClassCounts([24, 16, 8, 4])
PROBLEM = ig.Problem(COUNTS, ig.cdt(COUNTS, gamma=0.5))
BIASED = ig.Problem(COUNTS, ig.cdt(COUNTS, gamma=0.5), bias=True)
SMOOTHED = ig.Problem(COUNTS, ig.vs(COUNTS, gamma=0.5), label_smoothing=0.1)


def batches(seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(K), torch.tensor(COUNTS.values))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    inputs = torch.randn(K, 3, generator=torch.Generator().manual_seed(9))[labels]
    return list(zip((inputs + torch.randn(inputs.shape, generator=generator)).split(13), labels.split(13), strict=True))


def network(bias: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, D), nn.ReLU(), nn.Linear(D, K, bias=bias))


def expected(model: nn.Sequential, problem: ig.Problem) -> dict[str, float]:
    """The row of an epoch in which the network does not move, from a measurement of its own."""
    metric = GeometryMetric(K, D)
    for inputs, labels in batches():
        metric.update(model[:2](inputs), labels)
    head = model[2]
    found = metric.compute(head.weight, bias=head.bias, parameterization=problem.parameterization)
    limit = ig.compare(found.geometry, ig.predict(problem).geometry)
    return {"cdnv": found.cdnv, "classifier_limit_distance": limit.classifier, "cross_limit_distance": limit.cross}


@pytest.mark.parametrize("problem", [PROBLEM, BIASED, SMOOTHED], ids=["without bias", "with a bias", "smoothed labels"])
class TestARow:
    def check(self, watch: GeometryWatch, model: nn.Sequential, problem: ig.Problem) -> None:
        row = watch.end_epoch()
        for name, value in expected(model, problem).items():
            assert row[name] == pytest.approx(value, rel=1e-6)
        hits = [(model(x).argmax(1) == y).double().sum().item() for x, y in batches()]
        assert row["train_overall"] == pytest.approx(sum(hits) / COUNTS.num_samples)
        assert watch.history == [row]

    def test_by_a_context_around_the_forward_pass(self, problem: ig.Problem) -> None:
        model = network(problem.bias)
        watch = GeometryWatch(model, problem)
        for inputs, labels in batches():
            with watch.batch(labels):
                model(inputs)
        self.check(watch, model, problem)

    def test_by_tensors_at_hand(self, problem: ig.Problem) -> None:
        model = network(problem.bias)
        watch = GeometryWatch(model, problem)
        for inputs, labels in batches():
            embeddings = model[:2](inputs)
            watch.observe(embeddings, labels, model[2](embeddings))
        self.check(watch, model, problem)

    def test_by_labels_that_come_after_the_forward_pass(self, problem: ig.Problem) -> None:
        model = network(problem.bias)
        watch = GeometryWatch(model, problem)
        for inputs, labels in batches():
            watch.begin()
            model(inputs)
            watch.give_labels(labels)
            watch.end(torch.tensor(2.0), len(labels))
        assert math.isclose(watch._sums.totals()[2], 2.0)
        self.check(watch, model, problem)


@pytest.mark.filterwarnings("ignore:epoch 1 has no geometry over the ridge")
def test_the_scale_of_the_mean_logits_is_told_where_the_limit_has_one() -> None:
    model, classes = network(), [0, 1, 3]  # class 2 is not seen
    watch = GeometryWatch(model, SMOOTHED)
    for inputs, labels in batches():
        seen = labels != 2
        embeddings = model[:2](inputs[seen])
        watch.observe(embeddings, labels[seen], model[2](embeddings))
    metric = GeometryMetric(K, D)
    for inputs, labels in batches():
        metric.update(model[:2](inputs[labels != 2]), labels[labels != 2])
    loss = SMOOTHED.parameterization
    found = metric.compute(model[2].weight, parameterization=loss, leave_out_unseen=True)
    limit = ig.predict(SMOOTHED).geometry.cross.dense()[np.ix_(classes, classes)]
    wanted = np.linalg.norm(found.geometry.cross.dense()) / np.linalg.norm(limit)
    assert watch.end_epoch()["cross_limit_scale"] == pytest.approx(wanted, rel=1e-6)
    assert "cross_limit_scale" not in Targets(PROBLEM, K, has_bias=False).columns["limit"]


def test_labels_with_distributions_have_a_limit_and_a_ridge_but_no_thresholds() -> None:
    noisy = ig.Problem(COUNTS, label_distribution=0.8 * np.eye(K) + 0.2 / K)
    targets, smoothed = Targets(noisy, K, has_bias=False), Targets(SMOOTHED, K, has_bias=False)
    assert targets.columns["limit"] == [name for name in smoothed.columns["limit"] if "systematic" not in name]
    assert "effective_ridge" in targets.columns["ridge"]
    assert targets.beyond_threshold([[0, 3]], 1.0) == ""


def test_without_logits_there_are_no_accuracies() -> None:
    model = network()
    watch = GeometryWatch(model, head="2")
    for inputs, labels in batches():
        watch.observe(model[:2](inputs), labels)
    row = watch.end_epoch()
    assert math.isnan(row["train_overall"])
    assert row["cdnv"] > 0


def test_it_trains_nothing_and_is_let_go() -> None:
    model = network()
    watch = GeometryWatch(model, PROBLEM)
    inputs, labels = batches()[0]
    with watch.batch(labels):
        loss = VSLoss(PROBLEM.parameterization)(model(inputs), labels)
    loss.backward()
    plain = network()
    VSLoss(PROBLEM.parameterization)(plain(inputs), labels).backward()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    watch.close()
    assert not model[2]._forward_hooks


def test_rows_are_flat_numbers_as_loggers_take_them() -> None:
    model = network()
    watch = GeometryWatch(model, PROBLEM)
    for inputs, labels in batches():
        with watch.batch(labels):
            model(inputs)
    assert all(isinstance(value, (int, float)) for value in watch.end_epoch(learning_rate=0.1).values())
    assert watch.history[0]["learning_rate"] == 0.1


def test_its_rows_are_drawn() -> None:
    model = network()
    watch = GeometryWatch(model, PROBLEM)
    with pytest.raises(ig.InputError, match=r"^history must have at least one row"):
        watch.plot()
    for _ in range(3):
        for inputs, labels in batches():
            with watch.batch(labels):
                model(inputs)
        watch.end_epoch()
    distances, accuracies, closest = watch.plot().axes
    assert [line.get_label() for line in accuracies.lines] == ["training"]
    assert len(distances.lines) == 9
    np.testing.assert_allclose(closest.lines[0].get_ydata(), [row["closest_cosine"] for row in watch.history])


class TestLabels:
    def rows(self, head: nn.Module, parts: list[tuple[Tensor, Tensor]], **options: Any) -> dict[str, float]:
        watch = GeometryWatch(nn.Sequential(head), **options)
        for embeddings, labels in parts:
            with watch.batch(labels):
                head(embeddings)
        return watch.end_epoch()

    def flat(self) -> tuple[nn.Linear, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        head = nn.Linear(5, 3, bias=False)
        return head, torch.randn(48, 5, generator=generator), torch.randint(3, (48,), generator=generator)

    def test_one_per_token(self) -> None:
        head, embeddings, labels = self.flat()
        plain = self.rows(head, [(embeddings, labels)])
        assert self.rows(head, [(embeddings.view(6, 8, 5), labels.view(6, 8))]) == pytest.approx(plain, nan_ok=True)

    def test_one_per_pixel(self) -> None:
        head, embeddings, labels = self.flat()
        plain = self.rows(head, [(embeddings, labels)])
        convolution = nn.Conv2d(5, 3, 1, bias=False)
        convolution.weight = nn.Parameter(head.weight[:, :, None, None])
        maps = embeddings.view(3, 4, 4, 5).movedim(-1, 1)
        assert self.rows(convolution, [(maps, labels.view(3, 4, 4))]) == pytest.approx(plain, rel=1e-5, nan_ok=True)
        fine = labels.view(3, 4, 4).repeat_interleave(2, 1).repeat_interleave(2, 2)
        assert self.rows(convolution, [(maps, fine)]) == pytest.approx(plain, rel=1e-5, nan_ok=True)

    def test_ignored_ones_do_not_count(self) -> None:
        head, embeddings, labels = self.flat()
        ignored = labels.clone()
        ignored[::5] = 255
        some = ignored != 255
        plain = self.rows(head, [(embeddings[some], labels[some])])
        assert self.rows(head, [(embeddings, ignored)], ignore_index=255) == pytest.approx(plain, nan_ok=True)

    def test_mixed_ones_count_as_their_most_probable_class(self) -> None:
        head, embeddings, labels = self.flat()
        plain = self.rows(head, [(embeddings, labels)])
        mixed = 0.7 * F.one_hot(labels, 3) + 0.3 * F.one_hot(labels.roll(1), 3)
        assert self.rows(head, [(embeddings, mixed)]) == pytest.approx(plain, nan_ok=True)

    @pytest.mark.parametrize(
        "batch",
        [("x", torch.tensor([1])), ["x", torch.tensor([1]), "z"], {"x": 1, "labels": torch.tensor([1])}],
        ids=["pair", "triple", "dictionary"],
    )
    def test_of_a_batch(self, batch: Any) -> None:
        assert labels_of(batch).tolist() == [1]


class TestHead:
    def test_it_is_the_one_with_as_many_outputs_as_the_problem_has_classes(self) -> None:
        model = nn.ModuleDict({"a": nn.Linear(3, 9), "b": nn.Linear(9, K), "fc": nn.Linear(9, 2)})
        assert find_head(model, None, K).name == "b"

    def test_it_may_be_a_1_x_1_convolution(self) -> None:
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, K, 1))
        found = find_head(model, None, K)
        assert (found.name, tuple(found.weight.shape), found.channels_first) == ("1", (K, 8), True)

    def test_of_several_the_usual_name_counts(self) -> None:
        model = nn.ModuleDict({"a": nn.Linear(3, K), "classifier": nn.Linear(9, K)})
        assert find_head(model, None, K).name == "classifier"

    def test_of_several_without_one_all_are_listed(self) -> None:
        with pytest.raises(
            ig.InputError, match=r"^head must be named where several .*'0' \(4 outputs\), '1' \(4 outputs"
        ):
            find_head(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4)), None, 4)

    def test_a_larger_convolution_is_none(self) -> None:
        with pytest.raises(ig.InputError, match=r"^head must have a weight matrix"):
            find_head(nn.Sequential(nn.Conv2d(3, 4, 3)), "0")

    def test_dictionaries_and_further_parts_are_measured(self) -> None:
        class ByName(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = mlp(3, K, depth=1, width=D)

            def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
                return {"logits": self.network(pixel_values)}

        model = ByName()
        named = measure(model, [{"pixel_values": x, "labels": y} for x, y in batches()], head="fc")
        plain = measure(model.network, [(x, y, "a.png") for x, y in batches()])
        assert named.cdnv == pytest.approx(plain.cdnv)
        assert named.accuracy == plain.accuracy


def geometry_with(cosine: float) -> ig.Geometry:
    """Four classes, of which the last two have this cosine."""
    vectors = np.eye(4)
    vectors[3] = cosine * vectors[2] + math.sqrt(1 - cosine**2) * vectors[3]
    return ig.Geometry.from_factors(vectors, vectors)


class TestMerging:
    @pytest.mark.parametrize(
        ("cosine", "before", "groups"),
        [
            (0.7, 0.5, []),
            (0.85, 0.84, [[2, 3]]),
            (0.85, 0.9, []),
            (0.85, math.nan, []),
            (0.96, 0.97, [[2, 3]]),
        ],
    )
    def test_classes_merge_where_they_are_close_and_come_closer(
        self, cosine: float, before: float, groups: list[list[int]]
    ) -> None:
        now = closeness(geometry_with(cosine), np.arange(4), COUNTS.values)
        assert now.largest == pytest.approx(cosine)
        assert merging_groups(now, before) == groups

    def test_both_classifiers_and_means_must_be_close(self) -> None:
        apart = ig.Geometry.from_factors(np.eye(4), geometry_with(0.99).embedding.left)
        assert closeness(apart, np.arange(4), COUNTS.values).largest < 0.1

    def test_the_sentence_names_the_classes_and_what_helps(self) -> None:
        now = closeness(geometry_with(0.9), np.arange(4), COUNTS.values)
        text = warning_of([[2, 3]], now, 0.8, names=["cat", "dog", "owl", "elk"], clause="; so says theory")
        assert text.startswith(
            "classes are merging: owl, elk (the cosines of their classifiers and of their means reach"
        )
        assert "0.90, after 0.80; so says theory" in text
        assert "less weight decay" in text

    def test_a_class_of_zero_is_close_to_none(self) -> None:
        vectors = np.eye(4)
        vectors[3] = 0
        now = closeness(ig.Geometry.from_factors(vectors, vectors), np.arange(4), COUNTS.values)
        assert now.cosines[:, 0].max() == -1

    @pytest.mark.parametrize(("k", "d", "so"), [(10, 64, False), (520, 4, True), (50_000, 256, False), (10, 9, False)])
    def test_in_few_dimensions_many_classes_are_close_whatever_happens(self, k: int, d: int, so: bool) -> None:
        assert crowded(k, d) is so

    def epochs(self, problem: ig.Problem | None, cosines: list[float], **options: Any) -> GeometryWatch:
        model = nn.Sequential(nn.Linear(4, 4, bias=False))
        watch = GeometryWatch(model, problem, **options)
        for cosine in cosines:
            vectors = torch.tensor(geometry_with(cosine).classifier.left).float()
            with torch.no_grad():
                model[0].weight.copy_(vectors)
            watch.observe(vectors.repeat(2, 1) + 3, torch.arange(4).repeat(2))
            watch.end_epoch()
        return watch

    def test_it_is_said_once_for_each_set_of_classes(self) -> None:
        with pytest.warns(UserWarning, match=r"classes are merging: 2, 3 \(") as caught:
            watch = self.epochs(ig.Problem(COUNTS), [0.8, 0.95, 0.97, 0.98])
        assert len([item for item in caught if "merging" in str(item.message)]) == 1
        assert [row["closest_cosine"] for row in watch.history] == sorted(
            row["closest_cosine"] for row in watch.history
        )

    def test_the_threshold_is_compared_with_the_fitted_ridge(self) -> None:
        with pytest.warns(UserWarning, match=r"the ridge fitted to the network, .*, is beyond the collapse thr"):
            self.epochs(ig.Problem(COUNTS), [0.8, 0.99])

    def test_the_threshold_is_that_of_smoothed_labels(self) -> None:
        targets = Targets(ig.Problem(COUNTS, label_smoothing=0.6), K, has_bias=False)
        between = 0.7 * math.sqrt(min(COUNTS.values))  # beyond the threshold of these labels, not of hard ones
        assert "beyond the collapse threshold of 1 of these 2" in targets.beyond_threshold([[0, 3]], between)
        hard = Targets(ig.Problem(COUNTS), K, has_bias=False)
        assert "beyond the collapse threshold of 0 of these 2" in hard.beyond_threshold([[0, 3]], between)

    def test_it_can_be_switched_off(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.epochs(None, [0.8, 0.99], early_warning=False)

    def test_a_healthy_training_is_not_warned_of(self) -> None:
        model = network()
        watch = GeometryWatch(model, PROBLEM)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for epoch in range(10):
                for inputs, labels in batches(epoch):
                    with watch.batch(labels):
                        loss = F.cross_entropy(model(inputs), labels)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                watch.end_epoch()
        assert len(watch.history) == 10


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"model": 3}, r"^model must be a torch.nn.Module"),
            ({"problem": [5, 4]}, r"^problem must be a Problem"),
            ({"head": 3}, r"^head must be a str"),
            ({"head": "fc"}, r"^head must name a module of the model, got 'fc'"),
            ({"problem": ig.Problem([5, 4])}, r"^head must be a linear layer or 1 x 1 convolution with 2 outputs"),
            ({"problem": BIASED}, r"^problem must have the 4 classes and bias=False of the head"),
            ({"ignore_index": 0.5}, r"^ignore_index must be a whole number"),
            ({"early_warning": "no"}, r"^early_warning must be True or False"),
            ({"class_names": ["a"]}, r"^class_names must be 4 different names, one per class, got \['a'\]"),
        ],
    )
    def test_of_a_watch(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ig.InputError, match=words):
            GeometryWatch(**{"model": network(), **({} if "problem" in options else {"head": "2"}), **options})

    def test_the_first_step_says_what_is_wrong(self) -> None:
        model = network()
        watch = GeometryWatch(model, PROBLEM)
        watch.begin(torch.tensor([0]))
        with pytest.raises(ig.InputError, match=r"^head must run in every training step"):
            watch.end()
        with pytest.raises(ig.InputError, match=r"^labels must lie in 0..3, got 7"):
            GeometryWatch(model, PROBLEM).observe(torch.zeros(1, D), torch.tensor([7]))
        with pytest.raises(ig.InputError, match=r"^labels must have one entry per embedding, shape \(2,\), got \(1,\)"):
            GeometryWatch(model, PROBLEM).observe(torch.zeros(2, D), torch.tensor([0]))

    def test_an_error_of_the_network_stays_its_own(self) -> None:
        watch = GeometryWatch(network(), PROBLEM)
        with pytest.raises(ZeroDivisionError), watch.batch(torch.tensor([0])):
            raise ZeroDivisionError

    def test_later_ones_cost_the_epoch_its_geometry_and_no_more(self) -> None:
        model = network()
        watch = GeometryWatch(model, PROBLEM)
        for inputs, labels in batches():
            watch.observe(model[:2](inputs), labels)
        watch.observe(torch.zeros(1, D), torch.tensor([7]))
        with pytest.warns(UserWarning, match="epoch 1 has no geometry: labels must lie in 0..3, got 7"):
            assert math.isnan(watch.end_epoch()["cdnv"])


class TestFramesAndParts:
    """Columns of H in the paper's frame, systematic parts and heterogeneity, from measurements of their own."""

    LOSS = ig.ldt([16, 16, 4, 4], gamma=0.5)

    def row(self, counts: list[int], kept: list[int]) -> tuple[dict[str, float], nn.Sequential, Tensor, Tensor]:
        model = network()
        labels = torch.repeat_interleave(torch.tensor(kept), torch.tensor([counts[c] for c in kept]))
        embeddings = model[:2](torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(1)))
        watch = GeometryWatch(model, ig.Problem(counts, self.LOSS if counts[0] == counts[1] else None))
        watch.observe(embeddings, labels)
        return watch.end_epoch(), model, embeddings, labels

    def test_are_those_of_the_whole_geometry(self) -> None:
        counts = [16, 16, 4, 4]
        row, model, embeddings, labels = self.row(counts, [0, 1, 2, 3])
        problem = ig.Problem(counts, self.LOSS)
        metric = GeometryMetric(K, D)
        metric.update(embeddings, labels)
        limit = ig.predict(problem).geometry
        optimum = ig.predict(problem.at_ridge(row["effective_ridge"]))
        projected = metric.compute(model[2].weight, parameterization=self.LOSS)
        centred = metric.compute(model[2].weight, parameterization=self.LOSS, frame="centred")
        np.testing.assert_allclose(self.LOSS.label_scale @ centred.embedding, 0, atol=1e-12)
        for name, target in {"limit": limit, "ridge": in_measured_frame(optimum, "centred")}.items():
            found = ig.compare(centred.geometry, target, groups=problem)
            assert row[f"centred_embedding_{name}_distance"] == pytest.approx(found.embedding)
            assert row[f"centred_embedding_{name}_systematic"] == pytest.approx(found.systematic.embedding)
            assert row["centred_embedding_heterogeneity"] == pytest.approx(found.heterogeneity.embedding)
        for name, target in {"limit": limit, "ridge": optimum.geometry}.items():
            found = ig.compare(projected.geometry, target, groups=counts)
            for block in ("classifier", "embedding", "cross"):
                assert row[f"{block}_{name}_distance"] == pytest.approx(getattr(found, block))
                assert row[f"{block}_{name}_systematic"] == pytest.approx(getattr(found.systematic, block))
                assert row[f"{block}_heterogeneity"] == pytest.approx(getattr(found.heterogeneity, block))
        summary = centred.geometry.embedding.block_summary(np.array([True, True, False, False]))
        assert row["centred_embedding_norm_ratio"] == pytest.approx(summary.norm_ratio)
        assert row["centred_embedding_cos_between"] == pytest.approx(summary.cos_between)

    @pytest.mark.filterwarnings("ignore:epoch 1 has no geometry over the ridge")
    def test_are_those_of_the_classes_seen(self) -> None:
        counts = [16, 16, 4, 4]
        row, model, embeddings, labels = self.row(counts, [0, 1, 3])
        problem = ig.Problem(counts, self.LOSS)
        metric = GeometryMetric(K, D)
        metric.update(embeddings, labels)
        seen = metric.compute(model[2].weight, parameterization=self.LOSS, leave_out_unseen=True)
        target = ig.predict(problem).geometry.subset([0, 1, 3])
        found = ig.compare(seen.geometry, target, groups=[16, 16, 4])
        assert row["embedding_limit_systematic"] == pytest.approx(found.systematic.embedding)
        assert row["embedding_heterogeneity"] == pytest.approx(found.heterogeneity.embedding)
        alone, *_ = self.row(counts, [0, 3])
        assert alone["embedding_limit_distance"] > 0
        assert math.isnan(alone["embedding_limit_systematic"])
        assert math.isnan(alone["embedding_heterogeneity"])

    def test_have_no_parts_where_all_classes_differ(self) -> None:
        row, *_ = self.row([24, 16, 8, 4], [0, 1, 2, 3])
        assert row["centred_embedding_limit_distance"] > 0
        assert not [name for name in row if "systematic" in name or "heterogeneity" in name]
