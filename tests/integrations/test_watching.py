"""The callbacks for ``transformers.Trainer`` and skorch: what they record is what passed through the head."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import implicit_geometry as ig
from implicit_geometry.integrations import huggingface, skorch
from implicit_geometry.nn import GeometryWatch, VSLoss

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
COUNTS = [60, 20, 10]


class Rows(Dataset):
    """Sequences of six tokens, whose class is that of their number modulo three; every fourth is ignored."""

    def __init__(self, most):
        self.tokens = torch.randint(most, (16, 6), generator=torch.Generator().manual_seed(0))
        self.labels = torch.where(torch.arange(96).view(16, 6) % 4 == 3, -100, self.tokens % 3)

    def __len__(self):
        return 16

    def __getitem__(self, row):
        return {"input_ids": self.tokens[row], "labels": self.labels[row]}


def encoder():
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.5}
    return BertForTokenClassification(
        BertConfig(vocab_size=13, max_position_embeddings=8, num_labels=3, **sizes, **off)
    )


def language_model():
    torch.manual_seed(0)
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=3, n_positions=8, n_embd=8, n_layer=1, n_head=1, **off))


def fit(model, rows, folder, callback, *, rate=0.0, **options):
    """Two epochs; with a rate of 0 the network stays as it is."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    settings = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        num_train_epochs=2,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    trainer = Trainer(
        model, settings, train_dataset=rows, callbacks=[callback], optimizers=(optimizer, constant), **options
    )
    trainer.train()
    return trainer


def by_hand(model, rows, problem=None, *, shifted=False):
    """The row of an epoch in which the network stays as it is."""
    watch = GeometryWatch(model, problem)
    labels = torch.cat([rows.labels[:, 1:], torch.full((16, 1), -100)], 1) if shifted else rows.labels
    with watch.batch(labels):
        model(rows.tokens)
    watch.close()
    return watch.end_epoch()


class TestTrainer:
    @pytest.mark.parametrize("own_loss", [False, True], ids=["the model's loss", "a loss of ours"])
    def test_its_rows_are_those_of_the_tokens_that_count(self, own_loss, tmp_path):
        model, rows = encoder(), Rows(13)
        problem = ig.Problem(COUNTS, bias=True)
        callback = huggingface.GeometryCallback(problem)
        loss = callback.watching(huggingface.compute_loss_func(COUNTS, ig.ce(COUNTS)))
        trainer = fit(model, rows, tmp_path, callback, **({"compute_loss_func": loss} if own_loss else {}))
        expected = by_hand(model, rows, problem)
        assert [row["epoch"] for row in callback.history] == [1, 2]
        for row in callback.history:
            assert {**row, "epoch": 1} == pytest.approx(expected, rel=1e-4, abs=1e-6, nan_ok=True)
        logged = [entry for entry in trainer.state.log_history if "geometry/cdnv" in entry]
        assert [entry["geometry/cdnv"] for entry in logged] == [row["cdnv"] for row in callback.history]
        assert not model.classifier._forward_hooks

    def test_a_causal_language_model_predicts_the_next_token(self, tmp_path):
        model, rows = language_model(), Rows(3)
        callback = huggingface.GeometryCallback(shift_labels=True)
        loss = callback.watching(huggingface.compute_loss_func(COUNTS, ig.ce(COUNTS), shift_labels=True))
        fit(model, rows, tmp_path, callback, compute_loss_func=loss)
        expected = by_hand(model, rows, shifted=True)
        assert callback.history[0] == pytest.approx(expected, rel=1e-4, abs=1e-6, nan_ok=True)

    def test_a_loss_that_it_cannot_see_is_an_error_after_the_first_step(self, tmp_path):
        callback = huggingface.GeometryCallback()
        loss = huggingface.compute_loss_func(COUNTS, ig.ce(COUNTS))
        with pytest.raises(ig.InputError, match=r"^labels must be given in every training step"):
            fit(encoder(), Rows(13), tmp_path, callback, compute_loss_func=loss)

    def test_it_changes_nothing_of_the_training(self, tmp_path):
        watched, plain = encoder(), encoder()
        fit(watched, Rows(13), tmp_path, huggingface.GeometryCallback(), rate=0.1)
        fit(plain, Rows(13), tmp_path, TrainerCallback(), rate=0.1)
        for one, other in zip(watched.parameters(), plain.parameters(), strict=True):
            assert torch.equal(one, other)

    def test_bad_options_are_named(self):
        with pytest.raises(ig.InputError, match=r"^shift_labels must be True or False"):
            huggingface.GeometryCallback(shift_labels="yes")


class TestSkorch:
    def data(self):
        labels = np.repeat([0, 1, 2], COUNTS)
        noise = np.random.default_rng(0).normal(size=(90, 4))
        return (2 * np.eye(4)[labels] + noise).astype(np.float32), labels

    def net(self, callback, **options):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        settings = {"max_epochs": 3, "train_split": None, "verbose": 0, "batch_size": 32}
        loss = {"criterion": VSLoss.from_rule, "criterion__rule": "logit_adjusted", "criterion__counts": COUNTS}
        from skorch import NeuralNetClassifier

        return NeuralNetClassifier(module, **loss, callbacks=[callback], **{**settings, **options})

    def test_its_rows_are_in_the_history_of_the_network(self):
        inputs, labels = self.data()
        problem = ig.Problem(COUNTS, ig.logit_adjusted(COUNTS), bias=True)
        callback = skorch.GeometryCallback(problem)
        net = self.net(callback, lr=0.0).fit(inputs, labels)
        assert net.history[:, "geometry_cdnv"] == [row["cdnv"] for row in callback.history]
        watch = GeometryWatch(net.module_, problem)
        with watch.batch(torch.tensor(labels)):
            logits = net.module_(torch.tensor(inputs))
        expected = watch.end_epoch()
        row = callback.history[0]
        assert row["classifier_limit_distance"] == pytest.approx(expected["classifier_limit_distance"], rel=1e-4)
        assert row["train_balanced"] == pytest.approx(expected["train_balanced"])
        loss = VSLoss(ig.logit_adjusted(COUNTS))(logits, torch.tensor(labels)).item()
        assert row["train_loss"] == pytest.approx(loss, rel=1e-4)

    def test_validation_does_not_count(self):
        from skorch.dataset import ValidSplit

        inputs, labels = self.data()
        callback = skorch.GeometryCallback(head="2")
        self.net(callback, train_split=ValidSplit(3), lr=0.0).fit(inputs, labels)
        assert not math.isnan(callback.history[-1]["train_balanced"])
        assert len(callback.history) == 3
