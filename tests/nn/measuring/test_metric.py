"""The streaming metric equals loops over all the data, whatever the batches, their order, the worker or the dtype."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from implicit_geometry._validate import InputError
from implicit_geometry.nn.measuring.metric import GeometryMetric, _refuse_without_float64
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.rules import cdt

K, D, N = 3, 5, 40


def make_data(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(K), torch.randint(K, (N - K,), generator=generator)])
    return (3 + torch.randn(N, D, generator=generator)).to(dtype), labels


def filled(embeddings, labels):
    metric = GeometryMetric(K, D)
    metric.update(embeddings, labels)
    return metric


def assert_same(a, b):
    assert torch.equal(a.counts, b.counts)
    torch.testing.assert_close(a.class_sums, b.class_sums, rtol=1e-13, atol=1e-12)
    torch.testing.assert_close(a.class_squares, b.class_squares, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("label_dtype", [torch.int64, torch.int32, torch.uint8])
def test_sums_equal_loops_in_float64(dtype, label_dtype):
    embeddings, labels = make_data(dtype=dtype)
    measured = filled(embeddings, labels.to(label_dtype)).compute()
    rows = [[float(value) for value in row] for row in embeddings]
    for c in range(K):
        mine = np.array([row for row, label in zip(rows, labels.tolist(), strict=True) if label == c])
        mean = sum(mine) / len(mine)
        assert measured.counts.values[c] == len(mine)
        np.testing.assert_allclose(measured.class_means[c], mean, rtol=1e-14)
        assert measured.class_variance[c] == pytest.approx(np.mean([((r - mean) ** 2).sum() for r in mine]), rel=1e-11)


@pytest.mark.parametrize("dtype", [">f4", "float16", "float64", "longdouble"])
@pytest.mark.parametrize("label_dtype", ["uint16", ">i4", "uint64"])
def test_numpy_arrays_are_taken_as_tensors_are(dtype, label_dtype):
    embeddings, labels = (part.numpy() for part in make_data(dtype=torch.float16))
    given = embeddings.astype(dtype), labels.astype(label_dtype)
    for array in given:
        array.setflags(write=False)
    assert_same(filled(*given), filled(*make_data(dtype=torch.float16)))


def test_half_precision_is_not_rounded_while_it_adds_up():
    ones = torch.ones(4096, 1, dtype=torch.float16)
    metric = GeometryMetric(2, 1)
    for _ in range(3):
        metric.update(ones, torch.arange(4096) % 2)
    assert metric.class_sums[:2].tolist() == [[6144.0], [6144.0]]


@settings(deadline=None, max_examples=30)
@given(
    order=st.permutations(range(N)),
    cuts=st.lists(st.integers(0, N), max_size=5),
    seed=st.integers(0, 100),
)
def test_any_order_and_split_gives_the_same_sums(order, cuts, seed):
    embeddings, labels = make_data(seed)
    streamed = GeometryMetric(K, D)
    bounds = [0, *sorted(cuts), N]
    for start, stop in itertools.pairwise(bounds):
        streamed.update(embeddings[order[start:stop]], labels[order[start:stop]])
    assert_same(streamed, filled(embeddings, labels))


@settings(deadline=None, max_examples=30)
@given(owner=st.lists(st.integers(0, 2), min_size=N, max_size=N))
def test_workers_that_share_the_data_merge_to_one_metric(owner):
    embeddings, labels = make_data()
    owner = torch.tensor(owner)
    parts = [filled(embeddings[owner == worker], labels[owner == worker]) for worker in range(3)]
    parts[1].merge_state(parts[2])
    parts[0].merge_state(parts[1])
    assert_same(parts[0], filled(embeddings, labels))


class TestProcesses:
    """Two processes are simulated by a gather that returns this process's state and another's."""

    @pytest.fixture
    def halves(self):
        embeddings, labels = make_data()
        return [filled(embeddings[half], labels[half]) for half in (slice(0, 20), slice(20, N))]

    def synchronised(self, mine, other):
        states = iter([other.counts, other.class_sums, other.class_squares])
        metric = GeometryMetric(
            K, D, dist_sync_fn=lambda state, group: [state, next(states)], distributed_available_fn=lambda: True
        )
        metric.merge_state(mine)
        return metric

    def test_compute_adds_up_all_processes_and_keeps_the_local_state(self, halves):
        metric = self.synchronised(*halves)
        np.testing.assert_allclose(metric.compute().class_means, filled(*make_data()).compute().class_means, rtol=1e-14)
        assert_same(metric, halves[0])

    def test_a_refused_compute_leaves_the_metric_usable(self, halves):
        metric = self.synchronised(*halves)
        with pytest.raises(InputError, match="classifier"):
            metric.compute(np.zeros((K, D + 1)))
        assert_same(metric, halves[0])
        metric.update(*make_data())


def test_a_pickled_copy_and_a_deep_copy_go_on_as_the_original():
    embeddings, labels = make_data()
    original = filled(embeddings[:10], labels[:10])
    copies = [pickle.loads(pickle.dumps(original)), copy.deepcopy(original), original.clone()]
    for metric in (original, *copies):
        metric.update(embeddings[10:], labels[10:])
        assert_same(metric, filled(embeddings, labels))


def test_reset_forgets_everything():
    metric = filled(*make_data(0))
    metric.reset()
    metric.update(*make_data(1))
    assert_same(metric, filled(*make_data(1)))


def test_compute_answers_for_the_classifier_it_is_given_each_time():
    metric = filled(*make_data())
    for seed in (0, 1):
        w = torch.randn(K, D, generator=torch.Generator().manual_seed(seed), requires_grad=True)
        np.testing.assert_allclose(metric.compute(w).geometry.classifier.dense(), (w @ w.T).detach(), rtol=1e-5)


def test_compute_passes_on_how_to_bring_the_means_into_the_theorys_frame():
    metric = filled(*make_data())
    means = metric.compute().class_means
    w = torch.randn(K, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = np.array([1.0, 2.0, 4.0])
    seen = w.numpy() - np.outer(1 / scale, (1 / scale) @ w.numpy()) / (scale**-2.0).sum()
    onto = np.linalg.pinv(seen, rcond=1e-10) @ seen
    projected = metric.compute(w, parameterization=Parameterization(class_scale=scale)).embedding
    np.testing.assert_allclose(projected, means @ onto, atol=1e-12)
    centred = metric.compute(w, parameterization=Parameterization(label_scale=scale), frame="centred").embedding
    np.testing.assert_allclose(centred, means - scale @ means / scale.sum(), atol=1e-12)
    biased = metric.compute(w, bias=torch.ones(K), frame="centred")
    np.testing.assert_allclose(biased.counts.values @ biased.embedding, 0, atol=1e-12)
    assert biased.bias.tolist() == [1, 1, 1]


def test_the_whole_loss_projects_where_a_forgotten_class_scale_moved_the_embeddings():
    """The reproducer: of the right projection, and of the one for plain cross-entropy, only one is the loss's."""
    metric = filled(*make_data())
    means = metric.compute().class_means
    w = torch.randn(K, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = cdt([900, 100, 10], gamma=0.7)
    kept = np.eye(K) - np.outer(1 / loss.class_scale, 1 / loss.class_scale) / (loss.class_scale**-2.0).sum()
    rows = np.linalg.svd(kept @ w.numpy())[2][: K - 1]
    found = metric.compute(w, parameterization=loss).embedding
    np.testing.assert_allclose(found, means @ rows.T @ rows, atol=1e-12)
    assert np.abs(found - metric.compute(w).embedding).max() > 0.1


@pytest.mark.parametrize("name", ["class_scale", "label_scale"])
def test_a_lone_scale_is_refused_and_the_whole_loss_asked_for(name):
    with pytest.raises(InputError, match=f"{name} must be given with the whole training loss: parameterization="):
        filled(*make_data()).compute(torch.ones(K, D), **{name: np.ones(K)})


@pytest.mark.parametrize("cast", [nn.Module.half, nn.Module.float, lambda m: m.to(torch.bfloat16)])
def test_casting_the_module_it_belongs_to_leaves_the_sums_in_float64(cast):
    parent = nn.Module()
    parent.metric = filled(*make_data())
    cast(parent)
    assert parent.metric.class_sums.dtype == parent.metric.class_squares.dtype == torch.float64
    assert_same(parent.metric, filled(*make_data()))


def test_it_moves_with_the_module_it_belongs_to():
    parent = nn.Module()
    parent.metric = GeometryMetric(K, D)
    parent.to("meta")
    assert parent.metric.class_sums.device == parent.metric.device == torch.device("meta")


def test_calling_it_adds_a_batch_without_a_value():
    embeddings, labels = make_data()
    metric = GeometryMetric(K, D)
    assert metric(embeddings, labels) is None
    assert_same(metric, filled(embeddings, labels))


def test_it_keeps_no_graph_of_the_embeddings():
    embeddings, labels = make_data()
    metric = filled(embeddings.requires_grad_(), labels)
    assert not metric.class_sums.requires_grad


def test_an_empty_batch_changes_nothing():
    metric = filled(*make_data())
    metric.update(torch.zeros(0, D), torch.zeros(0, dtype=torch.int64))
    assert_same(metric, filled(*make_data()))


GOOD = (torch.zeros(2, D), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (GOOD[0], torch.tensor([0, 3]), r"labels must lie in 0\.\.2, got 3"),
        (GOOD[0], torch.tensor([-1, 0]), r"labels must lie in 0\.\.2, got -1"),
        (GOOD[0], torch.tensor([0.0, 1.0]), "labels must have an integer dtype, got torch.float32"),
        (GOOD[0], torch.tensor([True, False]), "labels must have an integer dtype, got torch.bool"),
        (GOOD[0], torch.tensor([0, 1, 2]), r"labels must have one entry per embedding, shape \(2,\), got \(3,\)"),
        (GOOD[0], [0, 1], "labels must be a torch.Tensor or a NumPy array, got list"),
        (torch.zeros(2, D + 1), GOOD[1], r"embeddings must have shape \(batch, 5\), got \(2, 6\)"),
        (torch.zeros(2, D, 1), GOOD[1], r"embeddings must have shape \(batch, 5\), got \(2, 5, 1\)"),
        (torch.zeros(2, D, dtype=torch.int64), GOOD[1], "embeddings must have a floating dtype, got torch.int64"),
        (torch.tensor([[0.0] * D, [torch.nan] * D]), GOOD[1], "embeddings must be finite, .* in row 1"),
        (torch.tensor([[torch.inf] * D, [0.0] * D]), GOOD[1], "embeddings must be finite, .* in row 0"),
        (torch.zeros(2, D, device="meta"), GOOD[1], "embeddings must be on the metric's device cpu, got meta"),
        (np.zeros((2, D), dtype=int), GOOD[1], "embeddings must have a floating dtype, got int64"),
        (GOOD[0], np.zeros(2), "labels must have an integer dtype, got float64"),
        (GOOD[0], np.array([0, 2**63], dtype=np.uint64), f"labels must be at most {2**63 - 1}, got {2**63}"),
        (GOOD[0], np.array([[0, 1]]), r"labels must have one entry per embedding, shape \(2,\), got \(1, 2\)"),
    ],
)
def test_a_bad_batch_is_refused_and_changes_nothing(embeddings, labels, message):
    metric = filled(*make_data())
    with pytest.raises(InputError, match=message):
        metric.update(embeddings, labels)
    assert_same(metric, filled(*make_data()))


@pytest.mark.parametrize(("num_classes", "feature_dim"), [(1, 5), (3, 0), (2.5, 5)])
def test_sizes_out_of_range_are_refused(num_classes, feature_dim):
    with pytest.raises(InputError, match=r"num_classes must be|feature_dim must be"):
        GeometryMetric(num_classes, feature_dim)


def test_compute_names_the_classes_without_samples():
    metric = GeometryMetric(4, D)
    with pytest.raises(InputError, match=r"every class, got none of classes 0, 1, 2, 3$"):
        metric.compute()
    metric.update(torch.zeros(2, D), torch.tensor([0, 2]))
    with pytest.raises(InputError, match=r"every class, got none of classes 1, 3$"):
        metric.compute()


def test_float64_is_needed():
    with pytest.raises(InputError, match=r"device with float64 .* got mps"):
        _refuse_without_float64(torch.device("mps"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnCuda:
    def test_updates_do_not_wait_for_the_device_and_give_the_same_sums(self):
        embeddings, labels = (tensor.cuda() for tensor in make_data())
        metric = GeometryMetric(K, D).cuda()
        metric.update(embeddings, labels)
        metric.reset()
        torch.cuda.set_sync_debug_mode("error")
        try:
            metric.update(embeddings, labels)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert_same(metric.cpu(), filled(*make_data()))

    @pytest.mark.parametrize("label", [-1, K])
    def test_labels_out_of_range_are_refused_at_compute(self, label):
        metric = filled(*make_data()).cuda()
        metric.update(torch.zeros(2, D, device="cuda"), torch.tensor([0, label], device="cuda"))
        with pytest.raises(InputError, match=r"labels must lie in 0\.\.2, got 1 outside this range"):
            metric.compute()

    def test_embeddings_that_are_not_finite_are_refused_at_compute(self):
        metric = filled(*make_data()).cuda()
        metric.update(torch.full((1, D), torch.nan, device="cuda"), torch.tensor([1], device="cuda"))
        with pytest.raises(InputError, match=r"NaN or infinity in class 1$"):
            metric.compute()
