"""Losses, measurement, networks and the unconstrained-features model for torch."""

from implicit_geometry.measurement import Measurement
from implicit_geometry.nn.fused import vs_linear_loss
from implicit_geometry.nn.heads import vs_linear
from implicit_geometry.nn.losses import VSLoss, vs_loss
from implicit_geometry.nn.measure import measure
from implicit_geometry.nn.metric import GeometryMetric
from implicit_geometry.nn.models import mlp
from implicit_geometry.nn.monitor import GeometryMonitor
from implicit_geometry.nn.networks import make_network
from implicit_geometry.nn.ufm import UFMHistory, train_ufm

__all__ = [
    "GeometryMetric",
    "GeometryMonitor",
    "Measurement",
    "UFMHistory",
    "VSLoss",
    "make_network",
    "measure",
    "mlp",
    "train_ufm",
    "vs_linear",
    "vs_linear_loss",
    "vs_loss",
]
