# SPDX-License-Identifier: Apache-2.0
"""An optimiser step with no work for the host in it, recorded as one CUDA graph.

In the graph are the batch, augmented from the samples that lie on the device, the losses and their
gradient, clipping, the optimiser and the averaged weights. For a step the host copies one tensor of
draws, two numbers, and starts the graph; it asks for nothing back. So it prepares the next steps
while the device is busy, and launches of small kernels, which bind a small network, cost next to
nothing.

The whole step is recorded rather than compiled: the same kernels run as without a graph, nothing is
traced anew, and there is one thing that can fail, at one place, where the step is then called
operation by operation. What it needs has been made sure of: fixed shapes (padded objects and
points, batches of one size), no tensor sent from the host, no value read, and numbers that change
between the steps (learning rate, weight of the average) in tensors that keep their place.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from asd_perception.errors import UserError
from asd_perception.runtime.cuda_graphs import WARM_UP, recorded
from asd_training.data.samples import TrainingSample

STEPS_PER_READING = 50
"""After so many steps their results are read, checked and logged; the device is idle meanwhile."""


class RecordedStep:
    """Steps of an optimiser on batches of draws; without a GPU, called operation by operation.

    `failure` says why no graph could be recorded; None: it was, or has not been tried.
    """

    def __init__(
        self,
        batch_of: Callable[[Tensor], TrainingSample],
        losses: Callable[[TrainingSample], dict[str, Tensor]],
        optimizer: torch.optim.Optimizer,
        average: Callable[[Tensor], None],
        *,
        gradient_clip: float,
        bfloat16: bool,
        statistics: Callable[[], dict[str, Tensor]] = dict,
        first: int = 0,
    ) -> None:
        """batch_of: the batch of some draws. losses: the terms of its loss. average: includes the
        new weights in the averaged ones, by a weight that is a scalar tensor. bfloat16: whether
        the losses are computed in mixed precision. statistics: scalars that came with them, to be
        logged. first: the number of the first step.
        """
        self.batch_of = batch_of
        self.losses = losses
        self.statistics = statistics
        self.optimizer = optimizer
        self.average = average
        self.gradient_clip = gradient_clip
        self.bfloat16 = bfloat16
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.device = device = self.parameters[0].device
        self.failure: str | None = None
        self.done = first  # steps
        self.number = torch.zeros((), device=device)  # of the present step
        self._terms: list[str] = []  # names of the loss's terms
        self._statistics: list[str] = []  # names of the statistics
        self._draws: Tensor | None = None
        self._share = torch.zeros((), device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._results = torch.zeros(0, device=device)
        self._calls = 0
        self._unread: list[Tensor] = []
        for group in optimizer.param_groups:
            # In a graph a number would stay what it was; the scheduler writes into a tensor.
            group["lr"] = torch.tensor(float(group["lr"]), device=device)
            group.update(fused=True, foreach=False, capturable=device.type == "cuda")
        for state in optimizer.state.values():  # of a resumed run
            state["step"] = state["step"].to(device, torch.float32)
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)

    @property
    def is_graph(self) -> bool:
        """Whether steps are started as one CUDA graph by now."""
        return self._graph is not None

    def __call__(self, draws: Tensor, share: float) -> None:
        """A step on the batch of these draws (B, D), which lie on the device.

        share: the weight of its weights in the averaged ones.
        """
        self.take(draws)
        self._share.fill_(share)
        self.number.fill_(self.done)
        self._unread.append(self._run().clone())
        self.done += 1

    def take(self, draws: Tensor) -> None:
        """Make these draws those of the next step."""
        if self._draws is None:
            self._draws = torch.empty_like(draws)
        self._draws.copy_(draws, non_blocking=True)

    def read(self) -> list[dict[str, float]]:
        """The results of each step since the last reading, named as they are logged.

        Waits for these steps. Raises UserError if one of them was not finite.
        """
        if not self._unread:
            return []
        rows = torch.stack(self._unread).tolist()
        self._unread = []
        results = []
        for step, (*values, norm) in enumerate(rows, self.done - len(rows)):
            terms = dict(zip(self._terms, values[: len(self._terms)], strict=True))
            others = zip(self._statistics, values[len(self._terms) :], strict=True)
            loss = sum(terms.values())
            if not math.isfinite(loss):
                raise loss_not_finite(step, terms)
            if not math.isfinite(norm):
                raise gradient_not_finite(step, norm)
            named = {f"loss/{name}": value for name, value in terms.items()}
            gates = {f"gate/{name}": value for name, value in others}
            results.append({"loss": loss, **named, **gates, "gradient_norm": norm})
        return results

    def _run(self) -> Tensor:
        """The results of a step, until the next one: terms, statistics, the gradient's norm."""
        self._calls += 1
        if self.device.type != "cuda":
            return self._step()
        if self._graph is not None:
            self._graph.replay()
            return self._results
        present = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(present)
        # Gradients are summed on the stream where they were first: from the beginning, the graph's.
        with torch.cuda.stream(self._stream):
            if self._calls <= WARM_UP or self.failure is not None:
                self._results = self._step()
            else:
                self._record()
        present.wait_stream(self._stream)
        return self._results

    def _record(self) -> None:
        """Record the step, which does this one as well."""
        begun: list[Tensor] = []  # results of the calls that came as far as the optimiser
        ended: list[Tensor] = []

        def step() -> Tensor:
            begun.append(self.gradients())
            self.optimizer.step()
            self.average(self._share)
            ended.append(begun[-1])
            return begun[-1]

        recording = recorded(step, self._stream)
        if isinstance(recording, str):
            self.failure = recording
            logging.getLogger(__name__).warning(
                "the training step cannot be recorded as a CUDA graph and runs slower: %s",
                recording,
            )
            # The call before the recording was this step, as far as it came. Where it failed in the
            # optimiser, which weights that had changed is not known: it is not called again.
            if not begun:
                self._results = self._step()
                return
            self._results = begun[0]
            if not ended:
                self.average(self._share)
        else:
            # The call before the recording was this step; what it wrote is not the graph's.
            self._graph, self._results = recording
            self._results.copy_(begun[0])

    def _step(self) -> Tensor:
        """One step, operation by operation; the results are `_run`'s."""
        results = self.gradients()
        self.optimizer.step()
        self.average(self._share)
        return results

    def gradients(self) -> Tensor:
        """Compute the clipped gradients of the present draws; the results are `_run`'s."""
        assert self._draws is not None
        kind = self.device.type
        with torch.autocast(kind, enabled=False):  # Lightning's, which is around a training step
            batch = self.batch_of(self._draws)
            # Not one cast is kept: it would outlive a recording.
            with torch.autocast(kind, torch.bfloat16, self.bfloat16, cache_enabled=False):
                terms = self.losses(batch)
                loss = torch.stack(list(terms.values())).sum()
            # Before the gradients, so that a recording has those in its own memory.
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.parameters, self.gradient_clip)
        statistics = self.statistics()
        self._terms, self._statistics = list(terms), list(statistics)
        scalars = [*terms.values(), *statistics.values(), norm]
        return torch.stack([scalar.detach().float() for scalar in scalars])


def as_on_any_device(checkpoint: dict[str, Any]) -> None:
    """Take from a checkpoint, as Lightning has it, what `RecordedStep` has changed in it."""
    for optimizer in checkpoint["optimizer_states"]:
        for group in optimizer["param_groups"]:
            group.update(lr=float(group["lr"]), fused=None, foreach=None, capturable=False)
    for schedule in checkpoint["lr_schedulers"]:
        schedule["_last_lr"] = [float(rate) for rate in schedule["_last_lr"]]


def loss_not_finite(step: int, terms: dict[str, float]) -> UserError:
    """The error of a loss that is not finite, from its terms."""
    values = ", ".join(f"{name} {value:.3g}" for name, value in terms.items())
    return UserError(
        f"the loss is not finite at step {step} ({values}); "
        "lower learning_rate or gradient_clip in a new run"
    )


def gradient_not_finite(step: int, norm: float) -> UserError:
    """The error of a gradient that is not finite, though the loss is."""
    return UserError(
        f"the gradient is not finite at step {step} (norm {norm}), "
        "though the loss is; lower learning_rate in a new run"
    )
