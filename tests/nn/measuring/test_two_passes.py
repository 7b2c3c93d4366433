"""Two passes over a network: equal to dense linear algebra on all embeddings, and refused where they cannot repeat."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from implicit_geometry._validate import InputError
from implicit_geometry.nn.measuring.metric import GeometryMetric
from implicit_geometry.nn.measuring.two_passes import measure
from implicit_geometry.parameterization import Parameterization

K, D, N = 4, 7, 60


class Network(nn.Module):
    def __init__(self, bias=False, between=None):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, D), nn.ReLU()
        )
        self.between = between
        self.fc = nn.Linear(D, K, bias=bias)

    def forward(self, x):
        h = self.body(x)
        return self.fc(h if self.between is None else self.between(h))


def make_data():
    generator = torch.Generator().manual_seed(1)
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate([30, 20, 9, 1])])
    centres = 3 * torch.randn(K, 3, generator=generator)
    order = torch.randperm(N, generator=generator)
    return TensorDataset((centres[labels] + torch.randn(N, 3, generator=generator))[order], labels[order])


def network(**kwargs):
    """A network after a little training: neither chance nor perfect."""
    torch.manual_seed(0)
    model = Network(**kwargs)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    x, y = make_data().tensors
    for _ in range(10):
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return model


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture
def embedded(data):
    """All embeddings, labels and logits of the plain network at once, by its own layers."""
    model = network().eval()
    x, y = data.tensors
    with torch.no_grad():
        h = model.body(x)
        return h.double().numpy(), y.numpy(), model.fc(h).numpy()


class TestAgainstDenseLinearAlgebra:
    @pytest.fixture
    def measured(self, data):
        return measure(network(), DataLoader(data, batch_size=16))

    def test_counts_means_classifier_and_geometry(self, measured, embedded):
        h, y, _ = embedded
        means = np.array([h[y == c].mean(axis=0) for c in range(K)])
        weight = network().fc.weight.detach().double().numpy()
        assert measured.counts.values.tolist() == [30, 20, 9, 1]
        np.testing.assert_allclose(measured.class_means, means, rtol=1e-5)
        np.testing.assert_array_equal(measured.classifier, weight)
        seen = weight - weight.mean(axis=0)
        onto = np.linalg.pinv(seen, rcond=1e-10) @ seen
        np.testing.assert_allclose(measured.geometry.cross.dense(), weight @ onto @ means.T, rtol=1e-4, atol=1e-6)
        assert measured.bias is None

    def test_variance(self, measured, embedded):
        h, y, _ = embedded
        for c in range(K):
            rows = h[y == c]
            distances = [np.linalg.norm(row - rows.mean(axis=0)) ** 2 for row in rows]
            assert measured.class_variance[c] == pytest.approx(np.mean(distances), rel=1e-4, abs=1e-10)

    def test_nc1_is_the_trace_of_within_times_inverse_between(self, measured, embedded):
        h, y, _ = embedded
        means = np.array([h[y == c].mean(axis=0) for c in range(K)])
        between = np.cov(means.T, bias=True)
        within = [np.cov(h[y == c].T, bias=True) for c in range(K)]
        inverse = np.linalg.pinv(between, rcond=1e-9)
        np.testing.assert_allclose(
            measured.class_nc1, [np.trace(s @ inverse) / K for s in within], rtol=1e-3, atol=1e-6
        )
        assert measured.nc1 == pytest.approx(np.trace(np.mean(within, axis=0) @ inverse) / K, rel=1e-3)

    def test_accuracy_and_agreement_with_the_nearest_class_mean(self, measured, embedded):
        h, y, logits = embedded
        means = np.array([h[y == c].mean(axis=0) for c in range(K)])
        nearest = np.array([np.argmin([np.linalg.norm(row - mean) for mean in means]) for row in h])
        predicted = logits.argmax(axis=1)
        assert measured.centre_agreement == pytest.approx(np.mean(nearest == predicted))
        assert measured.accuracy == pytest.approx(np.mean(predicted == y))
        np.testing.assert_allclose(measured.class_accuracy, [np.mean(predicted[y == c] == c) for c in range(K)])
        assert 0 < measured.centre_agreement < 1

    def test_it_is_the_metric_where_one_pass_is_enough(self, measured, embedded):
        h, y, _ = embedded
        metric = GeometryMetric(K, D)
        metric.update(torch.tensor(h), torch.tensor(y))
        one_pass = metric.compute(network().fc.weight)
        np.testing.assert_allclose(measured.embedding, one_pass.embedding, rtol=1e-4, atol=1e-6)
        assert measured.cdnv == pytest.approx(one_pass.cdnv, rel=1e-4)


def test_shuffling_does_not_matter(data):
    plain, shuffled = (measure(network(), DataLoader(data, 16, shuffle=s, generator=torch.Generator())) for s in (0, 1))
    np.testing.assert_allclose(shuffled.class_means, plain.class_means, rtol=1e-5)
    np.testing.assert_allclose(shuffled.class_nc1, plain.class_nc1, rtol=1e-4, atol=1e-8)


def test_collapsed_classes_have_no_scatter_left():
    inputs, labels = torch.eye(K).repeat(5, 1), torch.arange(K).repeat(5)
    model = nn.Sequential(nn.Identity(), nn.Linear(K, K, bias=False))
    model[1].weight = nn.Parameter(torch.eye(K))
    measured = measure(model, [(inputs, labels)], head="1")
    assert measured.cdnv == 0
    assert measured.nc1 == pytest.approx(0, abs=1e-30)
    assert measured.self_duality == pytest.approx(np.sqrt(1 - 1 / K))  # w_c = e_c is not centred, h_c is projected
    assert measured.accuracy == measured.centre_agreement == 1


def test_nc1_is_undefined_where_all_class_means_coincide():
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    measured = measure(model, [(torch.tensor([[1.0], [-1], [1], [-1]]), torch.tensor([0, 0, 1, 1]))], head="1")
    assert np.isnan(measured.nc1)


def test_the_frame_is_passed_on(data):
    scale = np.arange(1.0, K + 1)
    batches = DataLoader(data, 16)
    centred = measure(network(), batches, parameterization=Parameterization(label_scale=scale), frame="centred")
    np.testing.assert_allclose(scale @ centred.embedding, 0, atol=1e-10)
    weight = network().fc.weight.detach().double().numpy()
    seen = weight - np.outer(1 / scale, (1 / scale) @ weight) / (scale**-2.0).sum()
    onto = np.linalg.pinv(seen, rcond=1e-10) @ seen
    projected = measure(network(), batches, parameterization=Parameterization(class_scale=scale))
    np.testing.assert_allclose(projected.embedding, projected.class_means @ onto, atol=1e-10)


def test_a_projection_is_asked_for_as_a_frame(data):
    with pytest.raises(InputError, match="project must be given as a frame: frame='projected' for True"):
        measure(network(), DataLoader(data, 16), project=True)


@pytest.mark.parametrize("name", ["class_scale", "label_scale"])
def test_a_lone_scale_is_refused_and_the_whole_loss_asked_for(data, name):
    with pytest.raises(InputError, match=f"{name} must be given with the whole training loss: parameterization="):
        measure(network(), DataLoader(data, 16), **{name: np.ones(K)})


def test_a_heads_bias_is_recorded_and_the_sample_mean_removed(data):
    model = network(bias=True)
    measured = measure(model, DataLoader(data, 16))
    np.testing.assert_array_equal(measured.bias, model.fc.bias.detach().double())
    np.testing.assert_allclose(measured.counts.values @ measured.embedding, 0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_networks_of_other_precision_are_measured(data, dtype):
    x, y = data.tensors
    measured = measure(network().to(dtype), DataLoader(TensorDataset(x.to(dtype), y), 16, shuffle=True))
    np.testing.assert_allclose(measured.class_means, measure(network(), DataLoader(data, 16)).class_means, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_any_integer_dtype(data, dtype):
    x, y = data.tensors
    measured = measure(network(), DataLoader(TensorDataset(x, y.to(dtype)), 16))
    np.testing.assert_array_equal(measured.class_nc1, measure(network(), DataLoader(data, 16)).class_nc1)


class TestTheModelIsLeftAsItWas:
    @pytest.fixture
    def model(self):
        model = network().train()
        model.body[1].eval()  # a frozen batch-norm
        return model

    def state(self, model):
        modes = [module.training for module in model.modules()]
        return modes, len(model.fc._forward_hooks), {k: v.clone() for k, v in model.state_dict().items()}

    def assert_unchanged(self, model, before):
        modes, hooks, tensors = self.state(model)
        assert (modes, hooks) == before[:2]
        assert all(torch.equal(value, before[2][key]) for key, value in tensors.items())
        assert torch.is_grad_enabled()
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_after_a_measurement(self, model, data):
        before = self.state(model)
        measure(model, DataLoader(data, 16))
        self.assert_unchanged(model, before)

    def test_after_an_error_in_the_middle(self, model, data):
        def broken():
            yield data.tensors
            raise OSError("disk")

        before = self.state(model)
        with pytest.raises(OSError, match="disk"):
            measure(model, broken())
        self.assert_unchanged(model, before)


class Augmented(Dataset):
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        x, y = self.data[index]
        return x + torch.randn(3), y


class TestWhatDoesNotRepeatIsRefused:
    def refused(self, model, loader, message):
        torch.manual_seed(0)
        with pytest.raises(InputError, match=message):
            measure(model, loader)

    def test_dropout_that_ignores_eval_mode(self, data):
        model = network(between=lambda h: F.dropout(h, 0.1, training=True))
        self.refused(model, DataLoader(data, 16), "same embeddings in both passes, got a mean of class .* dropout")

    def test_random_augmentation(self, data):
        self.refused(network(), DataLoader(Augmented(data), 16), "same embeddings in both passes, .* augmentation")

    def test_shuffled_batches_without_the_last(self, data):
        loader = DataLoader(data, 16, shuffle=True, drop_last=True)
        self.refused(network(), loader, r"same samples in both passes, got \d+ and then \d+ of class \d; .* drop_last")

    def test_batches_that_can_be_read_once(self, data):
        self.refused(network(), iter(DataLoader(data, N)), "same samples in both passes, got 30 and then 0 of class 0")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            "classifier",
            "head must name a module of the model, got 'classifier'; its linear layers are 'body.0', 'body.4', 'fc'$",
        ),
        ("body.2", "head must have a weight matrix, got 'body.2', a ReLU without"),
        ("body.1", "head must have a weight matrix, got 'body.1', a BatchNorm1d without"),
    ],
)
def test_a_wrong_head_is_named(data, head, message):
    with pytest.raises(InputError, match=message):
        measure(network(), DataLoader(data, 16), head=head)


def test_a_model_without_linear_layers_says_so():
    with pytest.raises(InputError, match="head must be a linear layer or 1 x 1 convolution, got none"):
        measure(nn.Sequential(nn.ReLU()), [])


X, Y = torch.zeros(2, 3), torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([X], r"loader must give \(inputs, labels, ...\) or dictionaries with 'labels', .*, got Tensor"),
        ([{"x": X, "names": Y}], "got dict with 'x', 'names'"),
        ([{"x": X, "labels": [0, 1]}], "got dict with 'x', 'labels'"),
        ([(X, Y[:1])], r"labels must have one entry per embedding, shape \(2,\), got \(1,\)"),
        ([(X, [0, 1])], "got tuple of Tensor, list"),
        ([(X, Y + 3)], r"labels must lie in 0\.\.3, got 4"),
        ([(X, Y)], "every class, got none of classes 2, 3"),
        ([], "every class, got none of classes 0, 1, 2, 3"),
        ([(X * torch.nan, Y)], "embeddings must be finite"),
    ],
)
def test_bad_batches_are_named(loader, message):
    with pytest.raises(InputError, match=message):
        measure(network(), loader)


@pytest.mark.parametrize(("times", "message"), [(0, "got 0 runs"), (2, "got 2 runs")])
def test_the_head_must_run_once(data, times, message):
    model = network()
    model.forward = lambda x: [model.fc(model.body(x)) for _ in range(times)]
    with pytest.raises(InputError, match=f"head must run once for a batch, {message}"):
        measure(model, DataLoader(data, 16))
