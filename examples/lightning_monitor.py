"""Lightning with dictionary batches: the monitor finds the head, watches the training, and draws what it saw.

python examples/lightning_monitor.py [PICTURE.png]
"""

import logging
import sys
import warnings

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import implicit_geometry as ig
from implicit_geometry.nn import GeometryMonitor, LongTailAccuracy, VSLoss

COUNTS = ig.ClassCounts.exponential(num_classes=6, imbalance_ratio=30, max_count=300)


class Blobs(Dataset[dict[str, Tensor]]):
    """Gaussian classes in sixteen dimensions, long-tailed or balanced."""

    def __init__(self, counts: ig.ClassCounts, seed: int) -> None:
        self.labels = torch.repeat_interleave(torch.arange(6), torch.tensor(counts.values))
        centres = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
        noise = torch.randn(len(self.labels), 16, generator=torch.Generator().manual_seed(seed))
        self.inputs = centres[self.labels] + noise

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"features": self.inputs[index], "labels": self.labels[index]}


class Classifier(L.LightningModule):
    """An MLP with a biased head."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 6))
        self.criterion = VSLoss.from_rule("cdt", COUNTS, gamma=0.25)
        self.accuracy = LongTailAccuracy(COUNTS)

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a batch."""
        loss: Tensor = self.criterion(self.network(batch["features"]), batch["labels"])
        return loss

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        """Count the hits of a batch."""
        self.accuracy.update(self.network(batch["features"]), batch["labels"])

    def on_validation_epoch_end(self) -> None:
        """Log all accuracies."""
        self.log_dict(self.accuracy.compute())
        self.accuracy.reset()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD with momentum."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)


L.seed_everything(0, verbose=False)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message=".*does not have many workers.*")
task = Classifier()
monitor = GeometryMonitor(ig.Problem(COUNTS, task.criterion.parameterization, bias=True))
balanced = Blobs(ig.ClassCounts([50] * 6), seed=2)
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
trainer = L.Trainer(max_epochs=10, accelerator="cpu", callbacks=[monitor], **quiet)
trainer.fit(task, DataLoader(Blobs(COUNTS, seed=1), 32, shuffle=True), DataLoader(balanced, 100))
print({name: round(trainer.callback_metrics[name].item(), 3) for name in ("balanced", "balanced/low", "balanced/high")})
for row in monitor.history[::3]:
    print("epoch {epoch}: {classifier_limit_distance:.2f} from the limit, closest {closest_cosine:+.2f}".format(**row))
if len(sys.argv) > 1:
    monitor.plot().savefig(sys.argv[1])
