"""One run over two processes, as Lightning's DDP runs it, against the same run in one."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import sys
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import TensorDataset

from implicit_geometry import ClassCounts, Problem, cdt
from implicit_geometry.experiments.spec import Optimization
from implicit_geometry.experiments.training.fit import Hardware, fit
from implicit_geometry.nn.losses.criterion import VSLoss
from implicit_geometry.nn.measuring.monitor import GeometryMonitor

torch.manual_seed(0)
counts = [30, 20, 10]
labels = torch.arange(3).repeat_interleave(torch.tensor(counts))
inputs = torch.randn(60, 4) + 2 * torch.eye(4)[labels]
model = nn.Sequential(); model.add_module("features", nn.Sequential(nn.Linear(4, 8), nn.ReLU()))
model.add_module("fc", nn.Linear(8, 3, bias=False))
p = cdt(counts, gamma=0.5)
plan = Optimization(epochs=4, batch_size=12, learning_rate=0.05)
monitor = GeometryMonitor(Problem(ClassCounts(counts), p), head="model.fc")
hardware = Hardware("cpu", int(sys.argv[1]))
trainer = fit(model, VSLoss(p), TensorDataset(inputs, labels), plan, hardware=hardware, callbacks=[monitor])
if trainer.is_global_zero:
    numbers = [value for row in monitor.history for name, value in sorted(row.items()) if isinstance(value, float)]
    save_file({**model.state_dict(), "history": torch.tensor(numbers, dtype=torch.float64)}, sys.argv[2])
"""


@pytest.mark.slow
def test_two_processes_train_and_measure_what_one_does(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    found = {}
    for devices in (1, 2):
        path = tmp_path / f"{devices}.safetensors"
        subprocess.run([sys.executable, script, str(devices), path], check=True, timeout=300, capture_output=True)
        found[devices] = load_file(path)
    assert found[1].keys() == found[2].keys()
    assert found[1]["history"].numel() > 4 * 20
    for name, one in found[1].items():
        torch.testing.assert_close(found[2][name], one, rtol=1e-4, atol=1e-5, equal_nan=True, msg=name)
