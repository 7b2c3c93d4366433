"""vs_linear_loss is the criterion of the logits of the head: as one node where that pays, as itself everywhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from implicit_geometry._validate import InputError
from implicit_geometry.nn.losses import linear_loss
from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.nn.losses.linear_loss import vs_linear_loss
from implicit_geometry.parameterization import NEUTRAL, Parameterization
from loss_cases import (
    RULES,
    assert_identical,
    draw_labels,
    draw_logits,
    draw_probabilities,
    draw_vectors,
    every_reduction,
    every_rule,
    oracle,
    reductions,
    subsets,
    vectors_of,
)
from strategies import seeds

SIZES = {"few classes": (130, 4), "many logits": (300, 220), "between": (20, 4)}
AS_ONE_NODE = ("few classes", "many logits")
with_and_without_bias = pytest.mark.parametrize("bias", [False, True], ids=["without bias", "with bias"])
every_node = pytest.mark.parametrize("size", AS_ONE_NODE)


class Problem:
    """Embeddings (N, 3), a head for C classes and labels."""

    def __init__(self, size: str, *, bias: bool = True, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        batch, classes = SIZES[size]
        self.classes = classes
        self.embeddings = draw_logits((batch, 3), seed, dtype).requires_grad_()
        self.weight = draw_logits((classes, 3), seed + 1, dtype).requires_grad_()
        self.bias = draw_logits((classes,), seed + 2, dtype).requires_grad_() if bias else None
        self.labels = draw_labels((batch, classes), seed)

    @property
    def leaves(self) -> list[Tensor]:
        return [leaf for leaf in (self.embeddings, self.weight, self.bias) if leaf is not None]

    @property
    def logits(self) -> Tensor:
        return F.linear(self.embeddings, self.weight, self.bias)

    def loss(self, criterion: VSLoss, labels: Tensor | None = None) -> Tensor:
        return vs_linear_loss(
            criterion, self.embeddings, self.weight, self.labels if labels is None else labels, self.bias
        )

    def outcome(self, loss: Tensor) -> tuple[Tensor, ...]:
        """Value and gradients; in a loss of every sample each counts differently."""
        factor = torch.linspace(1, 2, loss.numel(), dtype=loss.dtype).view_as(loss)
        return loss.detach(), *torch.autograd.grad((factor * loss).sum(), self.leaves)


def rule_for(rule: str, classes: int, **options: Any) -> VSLoss:
    """A criterion whose vectors repeat those of the rule."""
    vectors = {name: vector.repeat(-(-classes // 4))[:classes] for name, vector in vectors_of(RULES[rule]).items()}
    parameterization = Parameterization(**{name: vector.numpy() for name, vector in vectors.items()})
    return VSLoss(parameterization, **{"dtype": torch.float64, **options})


def criterion_of(vectors: dict[str, Tensor], **options: Any) -> VSLoss:
    parameterization = Parameterization(**{name: vector.numpy() for name, vector in vectors.items()})
    return VSLoss(parameterization, dtype=torch.float64, **options)


def is_one_node(loss: Tensor) -> bool:
    return type(loss.grad_fn).__name__ == "_HeadAndLossBackward"


# Values and gradients


@given(
    size=st.sampled_from(["few classes", "between"]),
    names=subsets,
    bias=st.booleans(),
    reduction=reductions,
    ignore_index=st.sampled_from([-100, -1, 2, 255]),
    seed=seeds,
)
@settings(max_examples=30, deadline=None)
def test_the_value_is_that_of_literal_loops(size: str, names: list[str], bias: bool, seed: int, **options: Any) -> None:
    problem, vectors = Problem(size, bias=bias, seed=seed), draw_vectors(4, names or ["shift"], seed)
    problem.labels[:3] = options["ignore_index"]
    problem.labels[3] = 1
    expected = oracle(problem.logits, problem.labels, vectors, **options)
    loss = problem.loss(criterion_of(vectors, **options))
    torch.testing.assert_close(loss.detach(), expected, rtol=1e-12, atol=1e-12)


def literal(rule: str, logits: Tensor, labels: Tensor) -> Tensor:
    """The rules as their papers write them, on top of F.cross_entropy, with the vectors of loss_cases.RULES."""
    v = {name: vector.repeat(logits.shape[1] // 4) for name, vector in vectors_of(RULES[rule]).items()}
    one_hot = F.one_hot(labels, logits.shape[1])
    adjusted = {
        "ce": lambda: logits,
        "weighted": lambda: logits,
        "logit_adjusted": lambda: logits + v["shift"],
        "cdt": lambda: logits * v["class_scale"],
        "ldt": lambda: logits * v["label_scale"][labels][:, None],
        "vs": lambda: logits * v["class_scale"] + v["shift"],
        "ldam": lambda: logits * v["class_scale"] - one_hot * v["margin"],
    }[rule]()
    return F.cross_entropy(adjusted, labels, weight=v["weight"] if rule == "weighted" else None)


@every_rule
@every_node
@with_and_without_bias
def test_a_rule_is_the_cross_entropy_of_its_literal_formula(rule: str, size: str, bias: bool) -> None:
    problem = Problem(size, bias=bias)
    loss = problem.loss(rule_for(rule, problem.classes))
    assert is_one_node(loss)
    expected = problem.outcome(literal(rule, problem.logits, problem.labels))
    torch.testing.assert_close(problem.outcome(loss), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@every_reduction
@with_and_without_bias
@pytest.mark.parametrize(("dtype", "precision"), [(torch.float64, 1e-11), (torch.float32, 2e-5)], ids=str)
def test_all_vectors_together_are_the_criterion_of_the_logits(
    size: str, reduction: str, bias: bool, dtype: torch.dtype, precision: float
) -> None:
    problem = Problem(size, bias=bias, dtype=dtype)
    criterion = criterion_of(draw_vectors(problem.classes), reduction=reduction).to(dtype)
    loss = problem.loss(criterion)
    assert is_one_node(loss) == (size in AS_ONE_NODE)
    expected = problem.outcome(criterion(problem.logits, problem.labels))
    for one, other in zip(problem.outcome(loss), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=precision * other.abs().max().item())


@every_rule
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ignored", [slice(0, 5), slice(None)], ids=["some", "all"])
def test_ignored_samples_are_as_in_the_criterion(rule: str, size: str, ignored: slice) -> None:
    problem = Problem(size)
    criterion = rule_for(rule, problem.classes, reduction="sum")
    problem.labels[ignored] = -100
    expected = problem.outcome(criterion(problem.logits, problem.labels))
    torch.testing.assert_close(problem.outcome(problem.loss(criterion)), expected)


@every_node
@pytest.mark.parametrize("frozen", ["embeddings", "weight", "bias"])
def test_what_requires_no_gradient_gets_none(size: str, frozen: str) -> None:
    problem = Problem(size)
    criterion = rule_for("vs", problem.classes)
    expected = dict(zip(("embeddings", "weight", "bias"), problem.outcome(problem.loss(criterion))[1:], strict=True))
    getattr(problem, frozen).requires_grad_(False)
    problem.loss(criterion).backward()
    for name, gradient in expected.items():
        found = getattr(problem, name).grad
        assert found is None if name == frozen else torch.equal(found, gradient)


@every_node
def test_strided_embeddings_and_heads_give_the_same(size: str) -> None:
    problem = Problem(size)
    criterion = rule_for("vs", problem.classes)
    expected = problem.outcome(problem.loss(criterion))
    problem.embeddings = problem.embeddings.detach().t().contiguous().t().requires_grad_()
    problem.weight = torch.stack([problem.weight, problem.weight], 1).detach()[:, 0].requires_grad_()
    torch.testing.assert_close(problem.outcome(problem.loss(criterion)), expected)


@every_node
def test_inputs_are_left_as_they_were_and_backward_can_be_repeated(size: str) -> None:
    problem, criterion = Problem(size), criterion_of(draw_vectors(SIZES[size][1]))
    before = [tensor.detach().clone() for tensor in (*problem.leaves, problem.labels, *criterion.buffers())]
    loss = problem.loss(criterion)
    first, second = (torch.autograd.grad(loss, problem.leaves, retain_graph=True) for _ in range(2))
    assert_identical(first, second)
    after = [tensor.detach() for tensor in (*problem.leaves, problem.labels, *criterion.buffers())]
    assert_identical(tuple(before), tuple(after))


# Derivatives by finite differences


@pytest.fixture(params=["classes first", "samples first"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Problem:
    """Five samples and four classes, for which the node would not pay."""
    monkeypatch.setitem(SIZES, "small", (5, 4))
    monkeypatch.setattr(linear_loss, "_WORTHWHILE", 0)
    monkeypatch.setattr(linear_loss, "MEMORY_BOUND", 0)
    if request.param == "samples first":
        monkeypatch.setattr(linear_loss, "_FEW_CLASSES", 0)
    return Problem("small")


@every_reduction
def test_gradients_are_those_of_finite_differences(small: Problem, reduction: str) -> None:
    criterion = criterion_of(draw_vectors(4), reduction=reduction)
    assert is_one_node(small.loss(criterion))
    assert torch.autograd.gradcheck(lambda h, W, b: vs_linear_loss(criterion, h, W, small.labels, b), small.leaves)


@every_reduction
def test_second_derivatives_are_those_of_finite_differences(small: Problem, reduction: str) -> None:
    criterion = criterion_of(draw_vectors(4), reduction=reduction)
    assert torch.autograd.gradgradcheck(lambda h, W, b: vs_linear_loss(criterion, h, W, small.labels, b), small.leaves)


def test_second_derivatives_where_embeddings_depend_on_the_head(small: Problem) -> None:
    criterion = criterion_of(draw_vectors(4))

    def tied(W: Tensor) -> Tensor:
        return vs_linear_loss(criterion, W[small.labels].tanh(), W, small.labels)

    assert is_one_node(tied(small.weight))
    assert torch.autograd.gradgradcheck(tied, (small.weight,))


# Everything else


def assert_is_the_expression(criterion: VSLoss, problem: Problem, target: Tensor) -> None:
    loss = problem.loss(criterion, target)
    assert not is_one_node(loss)
    assert_identical(problem.outcome(loss), problem.outcome(criterion(problem.logits, target)))


def test_class_probabilities_and_label_smoothing() -> None:
    problem = Problem("few classes")
    assert_is_the_expression(rule_for("vs", 4), problem, draw_probabilities((130, 4)))
    assert_is_the_expression(rule_for("vs", 4, label_smoothing=0.1), problem, problem.labels)


def test_bytes_as_labels_vectors_of_another_dtype_and_half_precision() -> None:
    problem = Problem("few classes")
    assert_is_the_expression(rule_for("ldt", 4), problem, problem.labels.byte())
    single = Problem("few classes", dtype=torch.float32)
    assert_is_the_expression(rule_for("vs", 4, dtype=torch.float64), single, single.labels)
    half = Problem("few classes", dtype=torch.bfloat16)
    assert_is_the_expression(rule_for("vs", 4, dtype=torch.float32), half, half.labels)


def test_a_single_embedding_and_further_dimensions() -> None:
    problem = Problem("few classes")
    criterion = rule_for("ldam", 4)
    problem.embeddings = draw_logits((3,)).requires_grad_()
    assert_is_the_expression(criterion, problem, torch.tensor(2))
    problem.embeddings = draw_logits((130, 4, 3)).requires_grad_()  # logits (N, C, d1) come from a head for d1
    problem.bias = None
    assert_is_the_expression(criterion, problem, draw_labels((130, 4, 4)))


def test_autocast() -> None:
    problem = Problem("few classes", dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_is_the_expression(rule_for("vs", 4, dtype=torch.float32), problem, problem.labels)


def test_vectors_that_learn() -> None:
    problem, criterion = Problem("few classes"), rule_for("vs", 4)
    assert criterion.shift is not None
    criterion.shift.requires_grad_()
    assert_is_the_expression(criterion, problem, problem.labels)
    problem.loss(criterion).backward()
    assert criterion.shift.grad is not None


def test_a_subclass_keeps_its_own_forward() -> None:
    class Doubled(VSLoss):
        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            return 2 * super().forward(logits, target)

    problem = Problem("few classes")
    doubled = Doubled(RULES["vs"], dtype=torch.float64)
    assert_is_the_expression(doubled, problem, problem.labels)


@every_node
def test_without_gradients(size: str) -> None:
    problem = Problem(size)
    criterion = rule_for("vs", problem.classes)
    with torch.no_grad():
        loss = problem.loss(criterion)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, criterion(problem.logits, problem.labels).detach())


@every_node
def test_transforms_of_torch_func(size: str) -> None:
    problem = Problem(size)
    criterion = rule_for("ldam", problem.classes)
    inputs = tuple(leaf.detach() for leaf in problem.leaves)

    def loss(h: Tensor, W: Tensor, b: Tensor) -> Tensor:
        return vs_linear_loss(criterion, h, W, problem.labels, b)

    _, *expected = problem.outcome(criterion(problem.logits, problem.labels))
    torch.testing.assert_close(torch.func.grad(loss, (0, 1, 2))(*inputs), tuple(expected))
    many = torch.func.vmap(loss, (0, None, None))(torch.stack([inputs[0], -inputs[0]]), *inputs[1:])
    torch.testing.assert_close(many, torch.stack([loss(*inputs), loss(-inputs[0], *inputs[1:])]))


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")  # torch's own forward mode of nll_loss
@every_node
def test_forward_mode(size: str) -> None:
    problem = Problem(size)
    criterion = rule_for("vs", problem.classes)
    direction = draw_logits(tuple(problem.weight.shape), seed=5)
    _, _, gradient, _ = problem.outcome(criterion(problem.logits, problem.labels))
    with torch.autograd.forward_ad.dual_level():
        weight = torch.autograd.forward_ad.make_dual(problem.weight.detach(), direction)
        loss = vs_linear_loss(criterion, problem.embeddings, weight, problem.labels, problem.bias)
        tangent = torch.autograd.forward_ad.unpack_dual(loss).tangent
    torch.testing.assert_close(tangent.detach(), (gradient * direction).sum())


@every_node
def test_compiles_without_a_graph_break(size: str) -> None:
    problem = Problem(size)
    criterion = rule_for("vs", problem.classes)
    torch.compiler.reset()
    compiled = torch.compile(vs_linear_loss, fullgraph=True, backend="aot_eager")
    loss = compiled(criterion, problem.embeddings, problem.weight, problem.labels, problem.bias)
    torch.testing.assert_close(problem.outcome(loss), problem.outcome(problem.loss(criterion)))


def test_an_empty_batch() -> None:
    problem, criterion = Problem("few classes"), rule_for("vs", 4, reduction="sum")
    problem.embeddings, labels = torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, dtype=torch.long)
    assert problem.loss(criterion, labels) == 0


def test_another_device() -> None:
    problem, criterion = Problem("few classes"), rule_for("vs", 4, device="meta")
    embeddings, weight, labels = (x.to("meta") for x in (problem.embeddings, problem.weight, problem.labels))
    assert vs_linear_loss(criterion, embeddings, weight, labels).device.type == "meta"


def test_it_trains_a_head_as_the_criterion_does() -> None:
    heads = []
    for one_node in (True, False):
        problem, head = Problem("few classes"), nn.Linear(3, 4, dtype=torch.float64)
        head.load_state_dict({"weight": problem.weight.detach(), "bias": problem.bias})
        optimizer, criterion = torch.optim.SGD(head.parameters(), lr=0.1), rule_for("vs", 4)
        for _ in range(5):
            optimizer.zero_grad()
            h = problem.embeddings.detach()
            loss = (
                vs_linear_loss(criterion, h, head.weight, problem.labels, head.bias)
                if one_node
                else criterion(head(h), problem.labels)
            )
            loss.backward()
            optimizer.step()
        heads.append(tuple(parameter.detach() for parameter in head.parameters()))
    torch.testing.assert_close(heads[0], heads[1])


# Bad input, in the words of the criterion


@every_rule
@every_node
@pytest.mark.parametrize("label", [10**6, -1, -5])
def test_a_label_out_of_range_is_an_index_error_that_names_the_range(rule: str, size: str, label: int) -> None:
    problem = Problem(size)
    problem.labels[-1] = label
    with pytest.raises(IndexError, match=rf"^target must .*0\.\.{problem.classes - 1}.*ignore_index = -100.*{label}"):
        problem.loss(rule_for(rule, problem.classes))


@every_rule
@every_node
@pytest.mark.parametrize("target", [torch.zeros(1), torch.zeros(7), torch.zeros(2, 3), torch.zeros(())], ids=str)
def test_labels_that_do_not_fit_are_refused_not_broadcast(rule: str, size: str, target: Tensor) -> None:
    problem = Problem(size)
    with pytest.raises(InputError, match=r"^target must hold class indices .*got torch.int64 of shape "):
        problem.loss(rule_for(rule, problem.classes), target.long())


@every_rule
@every_node
def test_another_number_of_classes_is_refused(rule: str, size: str) -> None:
    problem = Problem(size)
    with pytest.raises(InputError, match=rf"^logits must have 3 classes.*{problem.classes}\)"):
        problem.loss(rule_for(rule, 3))


@pytest.mark.parametrize("size", SIZES)
def test_embeddings_that_do_not_fit_the_head_are_refused(size: str) -> None:
    problem = Problem(size)
    problem.embeddings = torch.zeros(len(problem.labels), 2, dtype=torch.float64)
    with pytest.raises(InputError, match=r"^embeddings must have the 3 dimensions of weight, got shape \(\d+, 2\)"):
        problem.loss(rule_for("vs", problem.classes))


def test_every_vector_is_used() -> None:
    problem = Problem("few classes")
    losses = [problem.loss(criterion_of(draw_vectors(4, [name]))).item() for name in NEUTRAL]
    assert len({*losses, problem.loss(rule_for("ce", 4)).item()}) == len(NEUTRAL) + 1
