"""Modules for test time: a network's logits corrected, and a head with normalised rows."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from implicit_geometry._validate import InputError, instance, number
from implicit_geometry.correction.logits import LogitCorrection
from implicit_geometry.nn import check


class CorrectedLogits(nn.Module):
    """A :class:`~implicit_geometry.LogitCorrection` as the last module of a network: ``nn.Sequential(network, this)``.

    It has no parameters and adds nothing to ``state_dict``: weights load with it as without. An affine correction is
    two buffers, which follow ``.to()``.

    Args:
        correction: what :func:`~implicit_geometry.logit_correction` or ``fit_logit_correction`` returns.

    Raises:
        InputError: ``correction`` is none.

    Example:
        >>> from implicit_geometry.correction.logits import logit_correction
        >>> CorrectedLogits(logit_correction([90, 10]))(torch.zeros(1, 2))
        tensor([[0.1054, 2.3026]])
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, correction: LogitCorrection) -> None:
        super().__init__()
        self.correction = instance("correction", correction, LogitCorrection, "logit_correction makes one")
        self.num_classes, self.is_affine = correction.num_classes, correction.is_affine
        if self.is_affine:
            for name in ("scale", "offset"):
                vector = torch.tensor(getattr(correction, name), dtype=torch.get_default_dtype())
                self.register_buffer(name, vector, persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Scores of the classes, which lie along dimension 1 (0 for a single sample), in float32 or better.

        Raises:
            InputError: ``logits`` are no floating-point tensor, or have another number of classes.
        """
        check.tensor("logits", logits)
        axis = 0 if logits.ndim == 1 else 1
        if not self.is_affine or logits.ndim == 0 or logits.shape[axis] != self.num_classes:
            return self.correction.apply(logits, axis=axis)  # type: ignore[no-any-return]
        columns = (-1, *[1] * max(logits.ndim - 2, 0))
        return logits.to(self.scale.dtype) * self.scale.view(columns) + self.offset.view(columns)

    def extra_repr(self) -> str:
        """Return the correction."""
        return repr(self.correction)


def tau_normalized(head: nn.Linear, tau: float = 1.0) -> nn.Linear:
    """A copy of a linear head whose rows are divided by their norm to the power tau, without bias.

    Networks trained on long tails have shorter classifiers for the rare classes; this levels them after training.
    Choose tau on held-out data; 0 leaves the rows as they are, 1 makes them unit vectors.

    Args:
        head: the trained head.
        tau: the exponent.

    Raises:
        InputError: ``head`` is no ``nn.Linear``, ``tau`` is not finite, or a row is zero.

    Source: Kang et al. (2020), Eq. (4).

    Example:
        >>> head = nn.Linear(2, 2)
        >>> tau_normalized(head).weight.norm(dim=1).detach().round(decimals=4)
        tensor([1., 1.])
    """
    exponent = number("tau", tau)
    weight = instance("head", head, nn.Linear).weight.detach()
    norms = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
    if not (norms > 0).all():
        raise InputError("head", "must have no row that is zero", f"row {int(norms.argmin())}")
    normalized = copy.deepcopy(head)
    normalized.register_parameter("bias", None)
    with torch.no_grad():
        normalized.weight.copy_(weight * norms**-exponent)
    return normalized
