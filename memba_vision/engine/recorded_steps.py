"""Training steps that a GPU launches as CUDA graphs: hundreds of kernels in one go.

A vision Mamba has many small kernels. Launched one by one they keep a processor's core busier than
the GPU; recorded once and replayed, the core is free.
"""

from collections import Counter
from contextlib import AbstractContextManager
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import nn

from memba_vision.errors import UserError

SETTING = 'cuda_graphs'
#: Steps before one is recorded: they compile kernels, and let libraries choose theirs.
WARM_UPS = 3
#: Shapes of batches that are recorded. Any further one is launched kernel by kernel.
LARGEST_NUMBER = 4
LABELS = ('gt_label', 'gt_score')  # fields of a sample that losses of mmpretrain read


def are_recorded(config: Config) -> bool:
    """Return the setting of a config, False where it has none.

    Raises:
        UserError: it is neither True nor False.
    """
    setting = config.get(SETTING, False)
    if not isinstance(setting, bool):
        raise UserError(f'config: {SETTING} is True or False, got {setting!r}')
    return setting


def record_steps(runner: Runner) -> None:
    """Let the model of a run take its training steps as CUDA graphs.

    Losses, gradients and weights are those of steps that are launched kernel by kernel. The steps
    need the memory of one more step for each shape of batch.

    Args:
        runner: before its training loop, with the model and the optimizer in place.

    Raises:
        UserError: the run's steps cannot be recorded.
    """
    if reason := _reason_not_to(runner):
        raise UserError(f'config: {SETTING}=True {reason}: leave it out')
    runner.model.train_step = RecordedSteps(runner.model)


def _reason_not_to(runner: Runner) -> str:
    """Return the reason why the steps of a run cannot be recorded, '' for none."""
    if not torch.cuda.is_available():
        return 'needs a GPU, and torch sees none'
    if is_distributed():
        return 'is for runs on one GPU'
    if runner.cfg.get('compile'):
        return "does not go with compile (whose mode='reduce-overhead' records graphs itself)"
    if isinstance(runner.optim_wrapper, AmpOptimWrapper):
        return 'does not go with float16, whose losses are scaled'
    if not isinstance(runner.optim_wrapper, OptimWrapper):
        return 'does not go with several optimizers'
    if type(runner.model).train_step is not BaseModel.train_step:
        return f'does not go with {type(runner.model).__name__}, which takes steps of its own'
    if any(parameter._backward_hooks for parameter in runner.model.parameters()):
        return 'does not go with hooks on gradients'
    return ''


class RecordedSteps:
    """Training step of a model, in the place of ``model.train_step``.

    Args:
        model: a classifier on a GPU.
    """

    def __init__(self, model: BaseModel) -> None:
        self.model = model
        self.graphs: dict[tuple, RecordedStep] = {}
        self.seen: Counter[tuple] = Counter()
        self.trained: list[nn.Parameter] = []

    def __call__(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, torch.Tensor]:
        """Take a training step, and return the numbers to log."""
        with optim_wrapper.optim_context(self.model):
            batch = self.model.data_preprocessor(data, True)
        graph = self._graph_for(batch, optim_wrapper)
        if graph is None:
            with optim_wrapper.optim_context(self.model):
                losses = self.model(**batch, mode='loss')
            loss, numbers = self.model.parse_losses(losses)
        else:
            loss, numbers = graph.replay(batch)
        optim_wrapper.update_params(loss)
        return numbers

    def _graph_for(self, batch: dict, optim_wrapper: OptimWrapper) -> 'RecordedStep | None':
        """Return the graph for a batch of this shape; None where it is to be launched singly."""
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if [*map(id, trained)] != [*map(id, self.trained)]:
            self.graphs, self.seen, self.trained = {}, Counter(), trained
        kind = kind_of(batch)
        if kind in self.graphs:
            return self.graphs[kind]
        self.seen[kind] += 1
        if self.seen[kind] <= WARM_UPS or len(self.graphs) >= LARGEST_NUMBER:
            return None
        memory = next(iter(self.graphs.values())).memory() if self.graphs else None
        context = optim_wrapper.optim_context(self.model)
        self.graphs[kind] = RecordedStep(self.model, batch, trained, context, memory)
        return self.graphs[kind]


class RecordedStep:
    """Forward and backward pass of one shape of batch as a CUDA graph.

    Args:
        model: a classifier on a GPU, which has taken such a step before.
        batch: a batch as the data preprocessor leaves it.
        trained: the parameters to differentiate by.
        context: the context of the forward pass: autocast.
        memory: the memory of other graphs, to be shared. No graph reads what it wrote at an earlier
            step, and what a step gives is copied before the next.

    Raises:
        UserError: the step waits for the GPU, or does what cannot be repeated.
    """

    def __init__(
        self,
        model: BaseModel,
        batch: dict,
        trained: list[nn.Parameter],
        context: AbstractContextManager,
        memory: Any = None,
    ) -> None:
        self.trained = trained
        self.inputs = batch['inputs'].clone()
        self.labels = {name: x.clone() for name, x in labels_of(batch['data_samples']).items()}
        samples = _samples_with(self.labels, len(batch['data_samples']))
        self.graph = torch.cuda.CUDAGraph()
        try:
            # Threads that load images may use CUDA meanwhile.
            with torch.cuda.graph(self.graph, memory, capture_error_mode='thread_local'):
                with context:
                    losses = model(self.inputs, samples, mode='loss')
                loss, numbers = model.parse_losses(losses)
                self.gradients = torch.autograd.grad(loss, trained, allow_unused=True)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).partition('\n')[0]
            raise UserError(
                f'config: {SETTING}=True: a step of this model cannot be recorded ({reason}): '
                'leave it out'
            ) from error
        self.loss = loss.detach()
        self.numbers = {name: number.detach() for name, number in numbers.items()}

    def memory(self) -> Any:
        """Return the handle of this graph's memory."""
        return self.graph.pool()

    def replay(self, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Take the step with another batch of this shape.

        Returns:
            The loss, to be differentiated once, and the numbers to log.
        """
        self.inputs.copy_(batch['inputs'])
        for name, values in labels_of(batch['data_samples']).items():
            self.labels[name].copy_(values)
        loss = _Replay.apply(self, *self.trained)
        return loss, {name: number.clone() for name, number in self.numbers.items()}


class _Replay(torch.autograd.Function):
    """Loss of a graph that computes the gradients along with it."""

    @staticmethod
    def forward(ctx: Any, step: RecordedStep, *_: nn.Parameter) -> torch.Tensor:
        step.graph.replay()
        ctx.gradients = step.gradients
        return step.loss.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, factor: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        present = [gradient for gradient in ctx.gradients if gradient is not None]
        scaled = iter(torch._foreach_mul(present, factor))
        return None, *(None if gradient is None else next(scaled) for gradient in ctx.gradients)


def kind_of(batch: dict) -> tuple:
    """Return what two batches must have in common to be taken by one graph: shapes and dtypes."""
    tensors = [batch['inputs'], *labels_of(batch['data_samples']).values()]
    return tuple((x.shape, x.dtype) for x in tensors)


def labels_of(samples: list[DataSample]) -> dict[str, torch.Tensor]:
    """Return the labels of samples, (batch, …) each, by the name of their field."""
    fields = [name for name in LABELS if name in samples[0]]
    return {name: torch.stack([sample.get(name) for sample in samples]) for name in fields}


def _samples_with(labels: dict[str, torch.Tensor], number: int) -> list[DataSample]:
    """Return samples whose fields are parts of ``labels``."""
    samples = [DataSample() for _ in range(number)]
    for name, values in labels.items():
        for sample, value in zip(samples, values, strict=True):
            sample.set_field(value, name)
    return samples
