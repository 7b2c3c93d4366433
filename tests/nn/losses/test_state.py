"""The state of a loss: fixed keys, safetensors, and states that are of another loss or an earlier version."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

import implicit_geometry as ig
from implicit_geometry.nn import VSLoss
from implicit_geometry.parameterization import NEUTRAL, Parameterization
from loss_cases import COUNTS, HYPERPARAMETERS, RULES, draw_labels, draw_logits, every_rule

KEYS = [*NEUTRAL, "counts", "identity"]


def of_rule(rule: str = "cdt", counts: Any = COUNTS, **changed: Any) -> VSLoss:
    return VSLoss.from_rule(rule, counts, **{**HYPERPARAMETERS[rule], **changed})


def state_of_an_earlier_version(rule: str) -> dict[str, Tensor]:
    """The vectors that are not neutral, and nothing else."""
    return {name: torch.tensor(getattr(RULES[rule], name), dtype=torch.float32) for name in RULES[rule].effects()}


@every_rule
def test_the_keys_are_the_same_whatever_the_values(rule: str) -> None:
    for loss in (of_rule(rule), VSLoss(RULES[rule])):
        state = loss.state_dict()
        assert list(state) == KEYS
        assert all(torch.equal(state[name], torch.tensor(getattr(RULES[rule], name)).float()) for name in NEUTRAL)


@every_rule
def test_a_state_goes_through_safetensors_and_back(rule: str) -> None:
    logits, labels = draw_logits((5, 4)), draw_labels((5, 4))
    model, again = (nn.ModuleDict({"head": nn.Linear(3, 4), "criterion": of_rule(rule)}) for _ in range(2))
    again.load_state_dict(load(save(model.state_dict())))
    assert torch.equal(again["criterion"](logits, labels), model["criterion"](logits, labels))
    assert again["criterion"].parameterization == RULES[rule]


def test_a_state_says_which_loss_it_is_of() -> None:
    state = of_rule("vs").state_dict()
    assert state["counts"].tolist() == COUNTS
    text = bytes(state["identity"].tolist()).decode()
    assert '"rule": "vs"' in text
    assert '"gamma": 0.3' in text


def another_loss() -> Any:
    return pytest.warns(UserWarning, match="the state is of another loss")


OTHERS = {
    "another rule": (of_rule("ldt"), r"it is of rule 'ldt' \(gamma=0.5\), and this loss of rule 'cdt' \(gamma=0.3\)"),
    "another exponent": (of_rule(gamma=0.2), r"rule 'cdt' \(gamma=0.2\), and this loss of rule 'cdt' \(gamma=0.3\)"),
    "another profile": (
        of_rule(counts=[9, 7, 5, 3]),
        r"other class counts, \[9, 7, 5, 3\], and this loss \[500, 120, 30, 2\]",
    ),
    "another class order": (of_rule(counts=COUNTS[::-1]), r"other class order, \[2, 30, 120, 500\]"),
    "vectors": (VSLoss(RULES["vs"]), r"vectors given one by one, and this loss of rule 'cdt'"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_state_of_another_loss_is_refused_and_says_so(other: str) -> None:
    saved, words = OTHERS[other]
    said = f"the state is of another loss: .*{words}"
    with pytest.warns(UserWarning, match=said), pytest.raises(RuntimeError, match=said):
        of_rule().load_state_dict(saved.state_dict())


@pytest.mark.parametrize("other", OTHERS)
def test_it_is_loaded_with_a_warning_where_loading_is_not_strict(other: str) -> None:
    saved, words = OTHERS[other]
    loss, logits, labels = of_rule(), draw_logits((5, 4), dtype=torch.float32), draw_labels((5, 4))
    with pytest.warns(UserWarning, match=words):
        loss.load_state_dict(saved.state_dict(), strict=False)
    assert torch.allclose(loss(logits, labels), saved(logits, labels), rtol=1e-6)


def test_class_names_are_part_of_it_where_both_have_them() -> None:
    one, other = (of_rule(counts=ig.ClassCounts(COUNTS, class_names=names)) for names in (list("abcd"), list("bacd")))
    with (
        another_loss(),
        pytest.raises(RuntimeError, match=r"its classes are \[a, b, c, d\], and those of this loss \[b,"),
    ):
        other.load_state_dict(one.state_dict())
    of_rule().load_state_dict(one.state_dict())


def test_losses_of_other_vectors_are_told_apart_too() -> None:
    with another_loss(), pytest.raises(RuntimeError, match="it was made with other vectors"):
        VSLoss(RULES["cdt"]).load_state_dict(VSLoss(Parameterization(class_scale=[1, 2, 3, 4])).state_dict())


def test_the_same_loss_made_in_two_ways_is_one_loss() -> None:
    VSLoss(RULES["cdt"]).load_state_dict(of_rule("cdt").state_dict())
    of_rule("vs", tau=0.0).load_state_dict(of_rule("cdt").state_dict())


@every_rule
def test_a_state_of_an_earlier_version_loads_with_a_warning(rule: str) -> None:
    loss = of_rule(rule)
    state = state_of_an_earlier_version(rule)
    if state:
        with pytest.warns(UserWarning, match="the state is of an earlier version"):
            loss.load_state_dict(state)
    assert loss.parameterization == RULES[rule]


def test_one_of_another_loss_lacks_what_this_one_needs() -> None:
    with (
        pytest.warns(UserWarning, match="the state is of an earlier version"),
        pytest.raises(RuntimeError, match=r'(?s)Missing key.*"label_scale".*Unexpected key.*"class_scale"'),
    ):
        of_rule("ldt").load_state_dict(state_of_an_earlier_version("cdt"))


def test_learnt_and_changed_entries_are_part_of_the_state() -> None:
    trained, again = of_rule("vs"), of_rule("vs")
    assert trained.class_scale is not None
    trained.class_scale.fill_(0.25)
    again.load_state_dict(trained.state_dict())
    assert again.parameterization.class_scale.tolist() == [0.25] * 4
    assert again.parameterization.shift.tolist() == RULES["vs"].shift.tolist()


def test_an_identity_that_cannot_be_read_is_another_loss() -> None:
    state = {**of_rule().state_dict(), "identity": torch.tensor([1, 2], dtype=torch.uint8)}
    with another_loss(), pytest.raises(RuntimeError, match="its identity cannot be read"):
        of_rule().load_state_dict(state)


def test_a_missing_vector_is_missing() -> None:
    state = of_rule().state_dict()
    del state["class_scale"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"class_scale"'):
        of_rule().load_state_dict(state)


def test_copies_know_what_they_were_made_of() -> None:
    copy.deepcopy(of_rule()).load_state_dict(of_rule().state_dict())


class TestFromRule:
    @every_rule
    def test_it_is_the_loss_of_the_rule(self, rule: str) -> None:
        assert of_rule(rule).parameterization == RULES[rule]
        assert isinstance(of_rule(rule), nn.CrossEntropyLoss)

    def test_options_are_those_of_the_class(self) -> None:
        loss = of_rule(reduction="sum", ignore_index=3, label_smoothing=0.1, dtype=torch.float64)
        assert (loss.reduction, loss.ignore_index, loss.label_smoothing) == ("sum", 3, 0.1)
        assert {buffer.dtype for buffer in loss.buffers()} == {torch.float64}

    def test_bad_input(self) -> None:
        with pytest.raises(ig.InputError, match=r"^rule must be one of .*did you mean 'cdt'"):
            VSLoss.from_rule("cdtt", COUNTS)
        with pytest.raises(ig.InputError, match=r"^hyperparameters must be those of rule 'cdt'"):
            VSLoss.from_rule("cdt", COUNTS, tau=1.0)
        with pytest.raises(ig.InputError, match=r"^counts must be at least 1"):
            VSLoss.from_rule("cdt", [5, 0], gamma=0.5)
