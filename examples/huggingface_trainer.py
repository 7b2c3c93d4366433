"""A transformer on label-imbalanced sentences: ``transformers.Trainer`` with logit adjustment and without.

The sentences are made: each class has words of its own among words that all share. Nothing is downloaded.

    python examples/huggingface_trainer.py
"""

from __future__ import annotations

import tempfile

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

import implicit_geometry as ig
from implicit_geometry.integrations.huggingface import compute_loss_func, long_tail_metrics

COUNTS = ig.ClassCounts([400, 80, 30])
NUM_WORDS, LENGTH = 40, 12
NETWORK = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
STEPS = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 2, "learning_rate": 3e-3}
QUIET = {"report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}


def make_sentences(counts: ig.ClassCounts, seed: int) -> list[dict[str, torch.Tensor]]:
    """About one word of four is one of the five that belong to the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(counts.num_classes), torch.tensor(counts.values))
    common = torch.randint(NUM_WORDS, (len(labels), LENGTH), generator=generator)
    own = 5 * labels[:, None] + torch.randint(5, common.shape, generator=generator)
    words = torch.where(torch.rand(common.shape, generator=generator) < 1 / 4, own, common)
    return [{"input_ids": row, "labels": label} for row, label in zip(words, labels, strict=True)]


def train(loss: ig.Parameterization, folder: str) -> dict[str, float]:
    """The accuracies on balanced data of a network trained with a loss."""
    set_seed(0)
    config = BertConfig(vocab_size=NUM_WORDS, num_labels=COUNTS.num_classes, **NETWORK)
    trainer = Trainer(
        BertForSequenceClassification(config),
        TrainingArguments(folder, num_train_epochs=8, use_cpu=True, **STEPS, **QUIET),
        train_dataset=make_sentences(COUNTS, seed=0),
        eval_dataset=make_sentences(ig.ClassCounts([100, 100, 100]), seed=1),
        compute_loss_func=compute_loss_func(COUNTS, loss),
        compute_metrics=long_tail_metrics(COUNTS),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer.evaluate()


def main() -> None:
    print(f"{'loss':16}{'balanced':>10}{'worst':>8}")
    for name, loss in (("cross-entropy", ig.ce(COUNTS)), ("logit-adjusted", ig.logit_adjusted(COUNTS))):
        with tempfile.TemporaryDirectory() as folder:
            found = train(loss, folder)
        print(f"{name:16}{found['eval_balanced']:10.2f}{found['eval_worst']:8.2f}")


if __name__ == "__main__":
    main()
