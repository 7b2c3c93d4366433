"""The loss and the metrics for ``transformers.Trainer``: against loops, and in the real Trainer on tiny networks."""

import copy
import json
import math
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    EvalPrediction,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainingArguments,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from implicit_geometry._validate import InputError
from implicit_geometry.integrations.huggingface import compute_loss_func, long_tail_metrics
from implicit_geometry.nn import LongTailAccuracy
from implicit_geometry.parameterization import Parameterization
from implicit_geometry.rules import cdt, ce, ldam, ldt, logit_adjusted, vs, weighted

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

COUNTS = [70, 20, 10]
RULES = {
    "ce": ce(COUNTS),
    "weighted": weighted(COUNTS, 1.0),
    "logit_adjusted": logit_adjusted(COUNTS),
    "cdt": cdt(COUNTS, 0.5),
    "ldt": ldt(COUNTS, 0.5),
    "vs": vs(COUNTS, 0.5, 1.0),
    "ldam": ldam(COUNTS),
    "weighted cdt": Parameterization(weight=[0.5, 3.0, 7.0], class_scale=[1.0, 0.5, 0.3]),
}


def sum_of_losses(logits, labels, loss, counts=COUNTS):
    """Of the items one by one, with weights of mean 1 over the training set; and how many items there are."""
    mean_weight = sum(n * w for n, w in zip(counts, loss.weight, strict=True)) / sum(counts)
    total, items = 0.0, 0
    for row, label in zip(logits.reshape(-1, logits.shape[-1]).tolist(), labels.flatten().tolist(), strict=True):
        if label == -100:
            continue
        scores = [loss.label_scale[label] * loss.class_scale[c] * z + loss.shift[c] for c, z in enumerate(row)]
        scores[label] -= loss.margin[label]
        log_likelihood = scores[label] - math.log(sum(math.exp(score) for score in scores))
        total, items = total - loss.weight[label] / mean_weight * log_likelihood, items + 1
    return total, items


def random_batch(*shape, ignored=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, len(COUNTS), generator=generator, dtype=torch.float64)
    labels = torch.randint(len(COUNTS), shape, generator=generator)
    return logits, torch.where(torch.rand(shape, generator=generator) < ignored, -100, labels)


# The definition


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("shape", [(12,), (4, 5)], ids=["samples", "tokens"])
def test_the_loss_is_the_sum_over_items_divided_by_their_number(name, shape):
    logits, labels = random_batch(*shape)
    total, items = sum_of_losses(logits, labels, RULES[name])
    loss = compute_loss_func(COUNTS, RULES[name])
    assert loss({"logits": logits}, labels).item() == pytest.approx(total / items, rel=1e-12)
    for number in (17, torch.tensor(17), torch.tensor(17.0), np.int64(17)):
        assert loss({"logits": logits}, labels, number).item() == pytest.approx(total / 17, rel=1e-12)


@pytest.mark.parametrize("name", ["ce", "vs", "weighted cdt"])
def test_shifted_labels_are_those_of_the_next_position(name):
    logits, labels = random_batch(4, 5)
    total, items = sum_of_losses(logits[:, :-1], labels[:, 1:], RULES[name])
    loss = compute_loss_func(COUNTS, RULES[name], shift_labels=True)
    assert loss({"logits": logits}, labels).item() == pytest.approx(total / items, rel=1e-12)
    assert loss({"logits": logits}, labels, 17).item() == pytest.approx(total / 17, rel=1e-12)


def test_weights_of_mean_1_give_on_the_whole_training_set_what_torch_gives():
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    logits = torch.randn(100, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([0.5, 3.0, 7.0], dtype=torch.float64)
    ours = compute_loss_func(COUNTS, Parameterization(weight=weight.numpy()))
    torch.testing.assert_close(
        ours({"logits": logits}, labels), F.cross_entropy(logits, labels, weight), rtol=1e-12, atol=0
    )


def test_label_smoothing_is_that_of_torch():
    logits, labels = random_batch(12)
    smoothed = compute_loss_func(COUNTS, ce(COUNTS), label_smoothing=0.1)({"logits": logits}, labels)
    torch.testing.assert_close(smoothed, F.cross_entropy(logits, labels, label_smoothing=0.1))


@pytest.mark.parametrize(
    "outputs",
    [lambda z: {"logits": z}, lambda z: SequenceClassifierOutput(logits=z), lambda z: (z, "hidden states")],
    ids=["dict", "ModelOutput", "tuple"],
)
def test_outputs_may_be_whatever_a_model_returns(outputs):
    logits, labels = random_batch(12, ignored=0.0)
    loss = compute_loss_func(COUNTS, ce(COUNTS))(outputs(logits), labels)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_a_float32_loss(dtype):
    logits, labels = random_batch(400)
    half = logits.to(dtype)
    loss = compute_loss_func(COUNTS, RULES["vs"])({"logits": half}, labels)
    total, items = sum_of_losses(half, labels, RULES["vs"])
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(total / items, rel=1e-6)


def test_the_vectors_of_the_loss_and_the_labels_follow_the_logits_to_their_device():
    elsewhere = {"logits": torch.zeros(4, 3, device="meta")}
    loss = compute_loss_func(COUNTS, RULES["weighted cdt"])
    assert loss(elsewhere, torch.zeros(4, dtype=torch.long), 4).device.type == "meta"


def test_the_function_can_be_pickled():
    logits, labels = random_batch(12)
    loss = compute_loss_func(COUNTS, RULES["vs"])
    assert pickle.loads(pickle.dumps(loss))({"logits": logits}, labels) == loss({"logits": logits}, labels)


# What is refused


@pytest.mark.parametrize("number", [0, -1, torch.tensor(0), torch.tensor(-3), float("nan"), "many", True])
def test_a_number_of_items_that_is_not_positive_is_one_clear_sentence(number):
    logits, labels = random_batch(12)
    with pytest.raises(InputError, match=r"^num_items_in_batch must be a (finite number above 0|number), got "):
        compute_loss_func(COUNTS, ce(COUNTS))({"logits": logits}, labels, num_items_in_batch=number)


LOGITS = torch.zeros(4, 5, 3)
LABELS = torch.zeros(4, 5, dtype=torch.long)


@pytest.mark.parametrize(
    ("outputs", "labels", "sentence"),
    [
        ({"loss": 1.0}, LABELS, 'outputs must hold "logits", got loss'),
        ([LOGITS], LABELS, 'outputs must hold "logits" or be a tuple that begins with them, got list'),
        ((), LABELS, 'outputs must hold "logits" or be a tuple that begins with them, got tuple'),
        ((None,), LABELS, "logits must be a torch.Tensor, got NoneType"),
        ((LOGITS,), None, "labels must be a torch.Tensor, got NoneType"),
        ((LOGITS,), LABELS[:, :-1], "labels must have shape (4, 5), that of logits, got shape (4, 4)"),
        ((LOGITS[0, 0],), LABELS[0, 0], "logits must have shape (N, C) or (B, T, C), got shape (3,)"),
        ((LOGITS,), LABELS - 100, "labels must hold an item that counts, a label other than -100"),
        ((LOGITS[..., :2],), LABELS, "logits must have 3 classes in dimension 1, as parameterization has, got"),
    ],
)
def test_outputs_and_labels_that_do_not_fit_are_one_clear_sentence(outputs, labels, sentence):
    with pytest.raises(InputError) as caught:
        compute_loss_func(COUNTS, ce(COUNTS))(outputs, labels)
    assert str(caught.value).startswith(sentence)


def test_single_samples_have_no_next_position():
    with pytest.raises(InputError, match=r"^logits must have shape \(B, T, C\), for labels that are shifted, got"):
        compute_loss_func(COUNTS, ce(COUNTS), shift_labels=True)((LOGITS[0],), LABELS[0])


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [
        (([1, 0], ce([1, 1])), {}, "counts"),
        (([1, 1], ce([1, 1, 1])), {}, "parameterization"),
        (([1, 1], "ce"), {}, "parameterization"),
        (([1, 1], ce([1, 1])), {"shift_labels": 1}, "shift_labels"),
        (([1, 1], ce([1, 1])), {"label_smoothing": 2.0}, "label_smoothing"),
    ],
)
def test_wrong_arguments_are_named(arguments, options, name):
    with pytest.raises(InputError) as caught:
        compute_loss_func(*arguments, **options)
    assert caught.value.argument == name


# In the Trainer


class Rows(Dataset):
    """Columns of tensors as the rows that a Trainer takes."""

    def __init__(self, **columns):
        self.columns = columns

    def __len__(self):
        return len(self.columns["labels"])

    def __getitem__(self, row):
        return {name: column[row] for name, column in self.columns.items()}


def tokens(*shape, most, seed=0):
    return torch.randint(most, shape, generator=torch.Generator().manual_seed(seed))


def encoder(kind):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.5}
    return kind(BertConfig(vocab_size=13, max_position_embeddings=8, num_labels=3, **sizes, **off))


def language_model():
    torch.manual_seed(0)
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "initializer_range": 0.5}
    return GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=1, **off))


def ignore_some(labels, seed=1):
    """Few of the labels of the first rows, most of those of the last ones, never the second one of a row."""
    generator = torch.Generator().manual_seed(seed)
    ignored = torch.rand(labels.shape, generator=generator) < torch.linspace(0.2, 0.9, len(labels)).unsqueeze(1)
    ignored[:, 1] = False
    return torch.where(ignored, -100, labels)


TASKS = {
    "sequence": (
        lambda: encoder(BertForSequenceClassification),
        Rows(input_ids=tokens(16, 6, most=13), labels=tokens(16, most=3, seed=2)),
        False,
    ),
    "tokens": (
        lambda: encoder(BertForTokenClassification),
        Rows(input_ids=tokens(16, 6, most=13), labels=ignore_some(tokens(16, 6, most=3, seed=2))),
        False,
    ),
    "causal": (
        language_model,
        Rows(input_ids=tokens(16, 6, most=11), labels=ignore_some(tokens(16, 6, most=11))),
        True,
    ),
}


def trainer(task, folder, *, batch=8, accumulation=1, **options):
    make, rows, _ = TASKS[task]
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    settings = {
        "output_dir": str(folder),
        "use_cpu": True,
        "per_device_train_batch_size": batch,
        "per_device_eval_batch_size": 5,
        "gradient_accumulation_steps": accumulation,
        "max_steps": 4,
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    settings.update(options.pop("settings", {}))
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return Trainer(
        model=model,
        args=TrainingArguments(**settings),
        train_dataset=rows,
        eval_dataset=rows,
        optimizers=(optimizer, constant),
        **options,
    )


def train(*arguments, **options):
    """The weights before and after, and the losses of the steps."""
    made = trainer(*arguments, **options)
    before = copy.deepcopy(made.model.state_dict())
    made.train()
    return before, made.model.state_dict(), [entry["loss"] for entry in made.state.log_history if "loss" in entry]


def assert_same_training(one, other):
    (start, weights, losses), (other_start, other_weights, other_losses) = one, other
    for name in weights:
        torch.testing.assert_close(start[name], other_start[name], rtol=0, atol=0)
        torch.testing.assert_close(weights[name], other_weights[name], rtol=1e-4, atol=1e-5)
    assert losses == pytest.approx(other_losses, rel=1e-4)
    assert len(losses) == 4
    assert any((weights[name] - start[name]).abs().max() > 1e-2 for name in weights)


def loss_of(task, loss):
    counts = [70, 20, 10] if task != "causal" else [max(1, 70 // (c + 1)) for c in range(11)]
    return compute_loss_func(counts, loss(counts), shift_labels=TASKS[task][2])


@pytest.mark.parametrize("task", TASKS)
def test_with_plain_cross_entropy_a_run_is_that_of_the_built_in_loss(task, tmp_path):
    assert_same_training(train(task, tmp_path, compute_loss_func=loss_of(task, ce)), train(task, tmp_path))


def test_so_it_is_under_accumulation_where_the_model_divides_by_the_number_of_items_as_language_models_do(tmp_path):
    options = {"batch": 4, "accumulation": 2}
    ours = train("causal", tmp_path, compute_loss_func=loss_of("causal", ce), **options)
    assert_same_training(ours, train("causal", tmp_path, **options))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("rule", [lambda counts: weighted(counts, 1.0), lambda counts: vs(counts, 0.3, 1.0)])
def test_an_accumulated_run_is_the_run_in_one_batch(task, rule, tmp_path):
    ours = loss_of(task, rule)
    whole = train(task, tmp_path, batch=8, compute_loss_func=ours)
    assert_same_training(train(task, tmp_path, batch=4, accumulation=2, compute_loss_func=ours), whole)
    assert_same_training(train(task, tmp_path, batch=2, accumulation=4, compute_loss_func=ours), whole)


@pytest.mark.parametrize("average", [True, False])
def test_a_run_on_two_devices_of_one_process_is_that_on_one(average, tmp_path):
    """The Trainer of DataParallel: two entries of ``num_items_in_batch``, outputs of all devices together."""
    ours = loss_of("sequence", lambda counts: weighted(counts, 1.0))
    settings = {"average_tokens_across_devices": average}
    one = train("sequence", tmp_path, compute_loss_func=ours, settings=settings)
    made = trainer("sequence", tmp_path, compute_loss_func=ours, settings=settings)
    made.args.per_device_train_batch_size = 4
    made.args._n_gpu = 2  # torch's DataParallel on a CPU is the model itself
    before = copy.deepcopy(made.model.state_dict())
    made.train()
    losses = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
    assert_same_training((before, made.model.state_dict(), losses), one)


TWO_PROCESSES = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import test_huggingface as tests
from implicit_geometry.rules import weighted

found = {}
for task in tests.TASKS:
    ours = tests.loss_of(task, lambda counts: weighted(counts, 1.0))
    found[task] = tests.train(task, sys.argv[2], batch=4, compute_loss_func=ours)[2]
if os.environ["RANK"] == "0":
    with open(os.path.join(sys.argv[2], "losses.json"), "w") as file:
        json.dump(found, file)
"""


@pytest.mark.slow
def test_a_run_on_two_processes_is_that_on_one(tmp_path):
    """The Trainer of DistributedDataParallel: each has half of a step, with another number of items."""
    script = tmp_path / "run.py"
    script.write_text(TWO_PROCESSES, encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, str(script), str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "losses.json").read_text(encoding="utf-8"))
    for task in TASKS:
        ours = loss_of(task, lambda counts: weighted(counts, 1.0))
        assert found[task] == pytest.approx(train(task, tmp_path, compute_loss_func=ours)[2], rel=1e-4)


def test_the_loss_of_an_evaluation_is_the_mean_of_those_of_its_batches(tmp_path):
    ours = loss_of("tokens", lambda counts: vs(counts, 0.3, 1.0))
    made = trainer("tokens", tmp_path, compute_loss_func=ours)
    found = made.evaluate()["eval_loss"]
    rows = TASKS["tokens"][1]
    logits, labels = made.model(rows.columns["input_ids"]).logits.detach(), rows.columns["labels"]
    parts = [slice(0, 5), slice(5, 10), slice(10, 15), slice(15, 16)]
    sizes = [5, 5, 5, 1]
    sums = [sum_of_losses(logits[part], labels[part], vs(COUNTS, 0.3, 1.0)) for part in parts]
    means = [total / items for total, items in sums]
    assert found == pytest.approx(np.average(means, weights=sizes), rel=1e-4)


# Metrics


def test_the_metrics_are_those_of_long_tail_accuracy_without_single_classes():
    logits, labels = random_batch(60)
    metric = LongTailAccuracy(COUNTS, many=50, few=15, confidence=0.9, num_bootstraps=50, seed=3)
    metric.update(logits, labels)
    expected = {name: value.item() for name, value in metric.compute().items() if not name.startswith("class/")}
    options = {"many": 50, "few": 15, "confidence": 0.9, "num_bootstraps": 50, "seed": 3}
    found = long_tail_metrics(COUNTS, **options)(EvalPrediction(logits.numpy(), labels.numpy()))
    assert found == expected
    assert set(found) == {
        f"{name}{end}"
        for name in ("overall", "balanced", "worst", "many", "medium", "few")
        for end in ("", "/low", "/high")
    }
    assert all(type(value) is float for value in found.values())


def test_the_recall_of_classes_is_averaged():
    logits = np.eye(3)[[0, 0, 0, 1, 1, 0]]
    found = long_tail_metrics([900, 50, 5], num_bootstraps=0)(
        EvalPrediction((logits, "hidden states"), np.array([0, 0, 1, 1, 2, -100]))
    )
    assert found == pytest.approx(
        {"overall": 0.6, "balanced": 0.5, "worst": 0.0, "many": 1.0, "medium": 0.5, "few": 0.0}
    )


def test_tokens_are_items_and_shifted_where_asked():
    logits, labels = random_batch(6, 5)
    metrics = long_tail_metrics(COUNTS, num_bootstraps=0, shift_labels=True)
    found = metrics(EvalPrediction(logits.numpy(), labels.numpy()))
    right = [logits[b, t].argmax() == labels[b, t + 1] for b in range(6) for t in range(4) if labels[b, t + 1] != -100]
    assert found["overall"] == pytest.approx(np.mean(right))


def test_batches_add_up_to_the_result_and_the_next_one_starts_anew():
    logits, labels = random_batch(60)
    whole = long_tail_metrics(COUNTS)(EvalPrediction(logits.numpy(), labels.numpy()))
    metrics = long_tail_metrics(COUNTS)
    for _ in range(2):
        assert metrics(EvalPrediction(logits[:20], labels[:20]), compute_result=False) == {}
        assert metrics(EvalPrediction(logits[20:], labels[20:]), compute_result=True) == pytest.approx(
            whole, nan_ok=True
        )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("by_batch", [False, True])
def test_the_trainer_reports_them(task, by_batch, tmp_path):
    _, rows, shift = TASKS[task]
    counts = [11 - c for c in range(11 if shift else 3)]
    metrics = long_tail_metrics(counts, shift_labels=shift)
    made = trainer(task, tmp_path, compute_metrics=metrics, settings={"batch_eval_metrics": by_batch})
    found = made.evaluate()
    logits = made.model(rows.columns["input_ids"]).logits.detach()
    expected = metrics(SimpleNamespace(predictions=logits, label_ids=rows.columns["labels"]))
    assert {name: found[f"eval_{name}"] for name in expected} == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("predictions", "labels", "sentence"),
    [
        ([np.zeros((2, 3)), np.zeros((1, 3))], np.zeros(3, int), "predictions must be one array of all batches, got"),
        (np.zeros(3), np.zeros(3, int), "logits must have shape (N, C) or (B, T, C), got shape (3,)"),
        (np.zeros((3, 3)), np.zeros(2, int), "labels must have shape (3,), that of logits, got shape (2,)"),
        (np.zeros((3, 3)), None, "label_ids must be one array of all batches, got None"),
    ],
)
def test_predictions_that_do_not_fit_are_one_clear_sentence(predictions, labels, sentence):
    with pytest.raises(InputError) as caught:
        long_tail_metrics(COUNTS)(EvalPrediction(predictions, labels))
    assert str(caught.value).startswith(sentence)
