"""Losses, measurement and networks for torch."""

from implicit_geometry.measurement import Measurement
from implicit_geometry.nn.losses import VSLoss, vs_loss
from implicit_geometry.nn.measure import measure
from implicit_geometry.nn.metric import GeometryMetric
from implicit_geometry.nn.models import mlp

__all__ = ["GeometryMetric", "Measurement", "VSLoss", "measure", "mlp", "vs_loss"]
