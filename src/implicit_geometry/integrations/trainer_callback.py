"""A callback of ``transformers.Trainer`` that watches a network train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from implicit_geometry._extras import explained
from implicit_geometry._validate import flag
from implicit_geometry.integrations.tokens import IGNORED, next_labels
from implicit_geometry.problem import Problem

with explained(__name__, "integrations"):
    from torch import Tensor, nn
    from transformers import TrainerCallback

    from implicit_geometry.nn.measuring.watch import GeometryWatch


class GeometryCallback(TrainerCallback):
    """A callback of ``Trainer`` that watches the network train; its rows join the log of the Trainer's state.

    The labels are those that the model is called with. A Trainer with a ``compute_loss_func`` does not call it with
    labels: give it ``callback.watching(loss_func)`` in the place of ``loss_func``.

    Args:
        problem: counts and loss of the training, as for :class:`~implicit_geometry.nn.GeometryWatch`.
        shift_labels: as in :func:`compute_loss_func`.
        **options: the other options of :class:`~implicit_geometry.nn.GeometryWatch`.

    Attributes:
        history: its rows, one per epoch.

    Raises:
        InputError: an option is wrong; when training begins, as :class:`~implicit_geometry.nn.GeometryWatch`; after the
            first step, that there were no labels.

    Example:
        >>> GeometryCallback(Problem([90, 10], bias=True)).history
        []
    """

    def __init__(self, problem: Problem | None = None, *, shift_labels: bool = False, **options: Any) -> None:
        self.problem = problem
        self.shift_labels = flag("shift_labels", shift_labels)
        self.options = {"ignore_index": IGNORED, **options}
        self.history: list[dict[str, float]] = []
        self._watch: GeometryWatch | None = None
        self._hook: Any = None

    def watching(self, loss_func: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The same loss, whose labels the callback sees."""
        return partial(self._observed_loss, loss_func)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Find the head and solve the problem."""
        self._watch = GeometryWatch(model, self.problem, **self.options)
        self._watch.history = self.history
        self._hook = model.register_forward_pre_hook(self._before_forward, with_kwargs=True)

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A batch of several that make a step is done."""
        if self._watch is not None:
            self._watch.end()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step is done."""
        self.on_substep_end(args, state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record a row."""
        if self._watch is not None:
            row = self._watch.end_epoch(epoch=round(state.epoch))
            values = {f"geometry/{name}": value for name, value in row.items() if name != "epoch"}
            state.log_history.append({**values, "epoch": state.epoch, "step": state.global_step})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let go of the network."""
        if self._watch is not None:
            self._watch.close()
            self._hook.remove()
            self._watch = None

    def _before_forward(self, model: nn.Module, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> None:
        if self._watch is not None and model.training:
            labels = inputs.get("labels")
            self._watch.begin(None if labels is None else self._shifted(labels))

    def _observed_loss(
        self, loss_func: Callable[..., Tensor], outputs: Any, labels: Any, *rest: Any, **named: Any
    ) -> Tensor:
        if self._watch is not None and isinstance(labels, Tensor):
            self._watch.give_labels(self._shifted(labels))
        return loss_func(outputs, labels, *rest, **named)

    def _shifted(self, labels: Tensor) -> Tensor:
        return next_labels(labels) if self.shift_labels else labels
