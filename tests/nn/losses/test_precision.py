"""The loss has the precision of its logits, whatever that of its buffers, against 40-digit loops."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
import torch.multiprocessing
from torch import Tensor, nn

from implicit_geometry.nn import VSLoss, vs_linear_loss, vs_loss
from implicit_geometry.parameterization import NEUTRAL, Parameterization
from loss_cases import RULES, every_rule

K = 4
UNEVEN = Parameterization(
    weight=[1.1, 0.7, 2.3, 0.4],
    shift=[0.3, -1.7, 0.2, 1.1],
    class_scale=[0.9, 1.3, 0.3, 0.7],
    label_scale=[1.7, 0.6, 1.1, 0.3],
    margin=[0.1, 0.7, 0.9, 0.3],
)


def batch(seed: int = 0, size: int = 7) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(size, K, dtype=torch.float64, generator=stream), torch.randint(K, (size,), generator=stream)


def exact_losses(p: Parameterization, logits: Tensor, target: Tensor) -> np.ndarray:
    """The losses of the samples in 40 digits."""
    with mpmath.workdps(40):
        mp = {name: [mpmath.mpf(float(x)) for x in getattr(p, name)] for name in NEUTRAL}
        losses = []
        for z, y in zip(logits.tolist(), target.tolist(), strict=True):
            adjusted = [
                mp["label_scale"][y] * mp["class_scale"][c] * mpmath.mpf(z[c]) + mp["shift"][c] for c in range(len(z))
            ]
            adjusted[y] -= mp["margin"][y]
            total = mpmath.log(sum(mpmath.exp(a) for a in adjusted))
            losses.append(float(mp["weight"][y] * (total - adjusted[y])))
    return np.array(losses)


def criterion(p: Parameterization = UNEVEN, **options: Any) -> VSLoss:
    return VSLoss(p, reduction="none", **options)


def assert_exact(loss: VSLoss, p: Parameterization = UNEVEN, rtol: float = 1e-13) -> None:
    logits, target = batch()
    found = loss(logits, target)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.detach().numpy(), exact_losses(p, logits, target), rtol=rtol)


@every_rule
def test_float64_logits_give_float64_losses_without_being_asked(rule: str) -> None:
    assert_exact(criterion(RULES[rule]), RULES[rule])


def test_buffers_stay_float32_in_the_state_too() -> None:
    state = criterion().state_dict()
    assert {state[name].dtype for name in NEUTRAL} == {torch.float32}


@pytest.mark.parametrize("logits_dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_half_precision_buffers_give_the_loss_of_float32_ones(logits_dtype: torch.dtype) -> None:
    logits, target = batch()
    logits = logits.to(logits_dtype)
    expected = criterion()(logits, target)
    torch.testing.assert_close(criterion(dtype=torch.bfloat16)(logits, target), expected, rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize("size", [7, 400])
def test_a_head_and_its_loss_in_one_have_the_precision_of_the_embeddings(size: int) -> None:
    stream = torch.Generator().manual_seed(1)
    h, w = (torch.randn(rows, 5, dtype=torch.float64, generator=stream) for rows in (size, K))
    target = torch.randint(K, (size,), generator=stream)
    found = vs_linear_loss(criterion(), h, w, target)
    np.testing.assert_allclose(found.numpy(), exact_losses(UNEVEN, h @ w.T, target), rtol=1e-13)


def test_the_function_has_the_precision_of_its_vectors() -> None:
    logits, target = batch()
    vectors = {name: torch.tensor(getattr(UNEVEN, name)) for name in NEUTRAL}
    found = vs_loss(logits, target, reduction="none", **vectors)
    np.testing.assert_allclose(found.numpy(), exact_losses(UNEVEN, logits, target), rtol=1e-13)


def pickled(loss: VSLoss) -> VSLoss:
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # type: ignore[no-any-return]


MOVES = {
    "double": lambda loss: loss.double(),
    "half": lambda loss: loss.half(),
    "half and back": lambda loss: loss.half().float(),
    "bfloat16 and double": lambda loss: loss.to(torch.bfloat16).double(),
    "deep copy": copy.deepcopy,
    "pickle": pickled,
    "meta": lambda loss: loss.to("meta").to_empty(device="cpu"),
    "shared": lambda loss: loss.share_memory(),
    "inside a module": lambda loss: nn.ModuleList([loss]).double().float()[0],
    "own state": lambda loss: (loss.load_state_dict(criterion().state_dict()), loss)[1],
    "own state, assigned": lambda loss: (loss.load_state_dict(criterion().double().state_dict(), assign=True), loss)[1],
}


@pytest.mark.parametrize("move", MOVES)
def test_exact_values_survive(move: str) -> None:
    assert_exact(MOVES[move](criterion()))


def test_a_cast_rounds_the_exact_values_once() -> None:
    buffer = criterion().half().double().class_scale
    assert buffer is not None
    np.testing.assert_array_equal(buffer.numpy(), UNEVEN.class_scale)


def rounded(p: Parameterization) -> Parameterization:
    return Parameterization(**{name: np.float32(getattr(p, name)) for name in NEUTRAL})


OTHER = Parameterization(**{name: np.roll(getattr(UNEVEN, name), 1) + 0.01 for name in NEUTRAL})


def load_other(loss: VSLoss, state: dict[str, Any], *, assign: bool = False) -> None:
    with pytest.warns(UserWarning, match="another loss"):
        loss.load_state_dict(state, strict=False, assign=assign)


@pytest.mark.parametrize("cast", [lambda loss: loss, lambda loss: loss.double()], ids=["as it is", "double"])
def test_a_loaded_state_counts_as_it_is(cast: Any) -> None:
    loss = criterion()
    load_other(loss, criterion(OTHER).state_dict())
    assert_exact(cast(loss), rounded(OTHER))


def test_a_float64_state_that_is_assigned_counts_as_it_is() -> None:
    loss = criterion()
    load_other(loss, criterion(OTHER, dtype=torch.float64).state_dict(), assign=True)
    assert_exact(loss, OTHER)


def test_a_buffer_that_is_set_counts_as_it_is() -> None:
    loss, new = criterion(), [0.1, 2.0, 0.2, 0.4]
    assert loss.class_scale is not None
    loss.class_scale.data.copy_(torch.tensor(new))
    vectors = {name: getattr(UNEVEN, name) for name in NEUTRAL} | {"class_scale": np.float32(new)}
    assert_exact(loss, Parameterization(**vectors))


def test_a_buffer_that_is_set_in_a_copy_counts_as_it_is() -> None:
    loss = criterion()
    assert loss.class_scale is not None
    loss.class_scale.fill_(0.2)
    vectors = {name: getattr(UNEVEN, name) for name in NEUTRAL} | {"class_scale": np.full(K, np.float32(0.2))}
    for duplicate in (copy.deepcopy(loss), pickled(loss), copy.copy(loss)):
        assert_exact(duplicate, Parameterization(**vectors))


def test_a_parameter_in_place_of_a_buffer_counts_as_it_is_and_learns() -> None:
    loss = criterion()
    values = loss.shift
    assert values is not None
    del loss.shift
    loss.shift = nn.Parameter(values)
    vectors = {name: getattr(UNEVEN, name) for name in NEUTRAL} | {"shift": np.float32(UNEVEN.shift)}
    assert_exact(loss, Parameterization(**vectors))
    loss(*batch()).sum().backward()
    assert isinstance(loss.shift.grad, Tensor)
    assert_exact(loss.double(), Parameterization(**vectors))


@every_rule
def test_a_loss_knows_its_parameterization(rule: str) -> None:
    loss = VSLoss(RULES[rule])
    assert loss.parameterization == RULES[rule]
    assert loss.half().parameterization == RULES[rule]


def test_the_parameterization_is_that_of_the_loaded_set_and_learnt_vectors() -> None:
    loss = criterion()
    load_other(loss, criterion(OTHER).state_dict())
    assert loss.parameterization == rounded(OTHER)
    del loss.shift
    loss.shift = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert loss.parameterization.shift.tolist() == [1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")  # torch's own forward mode of nll_loss
def test_gradients_and_tangents_reach_the_buffers() -> None:
    loss, (logits, target) = criterion(), batch()
    state = dict(loss.named_buffers())

    def total(shift: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(loss, {**state, "shift": shift}, (logits, target)).sum()
        return found

    gradient = torch.func.grad(total)(state["shift"])
    step = torch.tensor([1.0, -2.0, 0.5, 3.0])
    _, tangent = torch.func.jvp(total, (state["shift"],), (step,))
    double = torch.tensor(UNEVEN.shift, requires_grad=True)
    total(double).backward()
    assert double.grad is not None
    torch.testing.assert_close(gradient.double(), double.grad, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(tangent, double.grad @ step.double(), rtol=1e-6, atol=1e-6)


def test_compiles_without_a_graph_break() -> None:
    loss = criterion()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    logits, target = batch()
    np.testing.assert_allclose(compiled(logits, target).numpy(), exact_losses(UNEVEN, logits, target), rtol=1e-13)
    load_other(loss, criterion(OTHER).state_dict())
    expected = exact_losses(rounded(OTHER), logits, target)
    np.testing.assert_allclose(compiled(logits, target).numpy(), expected, rtol=1e-13)


def test_distributed_data_parallel_broadcasts_the_buffers_alone(tmp_path: Path) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.loss = nn.Linear(K, K, bias=False).double(), criterion()

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            found: Tensor = self.loss(self.head(logits), target)
            return found

    model, (logits, target) = Model(), batch()
    nn.init.eye_(model.head.weight)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        for _ in range(2):
            found = wrapped(logits, target)
            found.sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    np.testing.assert_allclose(found.detach().numpy(), exact_losses(UNEVEN, logits, target), rtol=1e-13)


def _loss_in_a_process(loss: VSLoss, logits: Tensor, target: Tensor, found: Tensor) -> None:
    found.copy_(loss(logits, target))


def test_another_process_gets_the_exact_values() -> None:
    logits, target = batch()
    found = torch.zeros(len(logits), dtype=torch.float64).share_memory_()
    arguments = criterion(), logits, target, found
    context = torch.multiprocessing.get_context("spawn")
    process = context.Process(target=_loss_in_a_process, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == 0
    np.testing.assert_allclose(found.numpy(), exact_losses(UNEVEN, logits, target), rtol=1e-13)


def test_a_device_without_float64_gets_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """``meta`` stands for such a device."""
    monkeypatch.setattr("implicit_geometry.nn.losses.exact._NO_FLOAT64", ("meta",))
    loss = criterion().to("meta")
    moved = [each.rest.dtype for by_name in loss._corrections.values() for each in by_name.values()]
    assert torch.float64 not in moved
    assert loss(torch.zeros(2, K, device="meta"), torch.zeros(2, dtype=torch.int64, device="meta")).is_meta
    assert_exact(loss.to_empty(device="cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_gives_float64_losses() -> None:
    loss, (logits, target) = criterion().cuda(), batch()
    found = loss(logits.cuda(), target.cuda()).cpu()
    np.testing.assert_allclose(found.numpy(), exact_losses(UNEVEN, logits, target), rtol=1e-12)
