"""Runner with a readable console, and safe, strict loading of checkpoints."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop, Runner
from mmengine.visualization import Visualizer
from mmpretrain.visualization import UniversalVisualizer
from torch import nn
from torch.utils.data import DataLoader

from memba_vision.datasets.loading import use_load_rgb
from memba_vision.datasets.worker_seeds import use_worker_seeds
from memba_vision.datasets.wrapped_data import images_of_workers
from memba_vision.engine.checkpoint_folders import last_checkpoint
from memba_vision.engine.checkpoint_loader import safe_loading
from memba_vision.engine.class_names import (
    OPTION,
    RENAMED,
    check_names,
    check_number,
    describe_difference,
    names_in,
    names_of_checkpoint,
)
from memba_vision.engine.config_errors import one_line, reporting_config_errors
from memba_vision.engine.console import make_readable
from memba_vision.engine.distributed import connect_on_cpu
from memba_vision.engine.hooks import TerminationHook
from memba_vision.engine.late_figure import LateFigureVisualizer
from memba_vision.engine.plain_model import plain_model
from memba_vision.engine.recorded_steps import are_recorded, record_steps
from memba_vision.engine.run_config import RunConfig
from memba_vision.engine.schedule import Schedule, without_short_parts
from memba_vision.engine.selection import decide_in_run, undecided
from memba_vision.engine.termination import Termination
from memba_vision.engine.training_checkpoints import load_training_checkpoint, read_in_main_process
from memba_vision.errors import GO_ON, Terminated, UserError

# Settings of the processes that load data: torch refuses them where there are none.
OF_WORKERS = ('persistent_workers', 'prefetch_factor', 'multiprocessing_context')
# Hooks without which a run could not be read, ended or trusted, whatever hooks a config has.
NEEDED_HOOKS = {
    'finite_loss': dict(type='FiniteLossHook'),
    'plain_checkpoint': dict(type='PlainCheckpointHook'),
    'termination': dict(type='TerminationHook'),
}


class ReadableRunner(Runner):
    """A runner whose console shows one-line messages; the log file holds everything.

    A config that cannot be built and a checkpoint that does not fit raise a ``UserError``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.termination = Termination()
        super().__init__(*args, **kwargs)

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'ReadableRunner':
        """Build a runner from a config."""
        _refuse_slow_compilation(cfg.get('compile'))
        are_recorded(cfg)
        with reporting_config_errors('the model, a hook or the runtime'):
            return super().from_cfg(RunConfig.of(cfg) if isinstance(cfg, Config) else cfg)

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        """Register the hooks of a config, and behind them those that every run needs."""
        given = hooks or {}
        needed = {name: hook for name, hook in NEEDED_HOOKS.items() if name not in given}
        super().register_default_hooks({**given, **copy.deepcopy(needed)})

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the environment, for distributed processes without a GPU too."""
        if self.distributed and not torch.cuda.is_available() and not is_distributed():
            connect_on_cpu(self._launcher)
        super().setup_env(env_cfg)

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the logger, with a readable console."""
        logger = super().build_logger(*args, **kwargs)
        make_readable(logger)
        return logger

    def build_visualizer(self, visualizer: Any = None) -> Visualizer:
        """Build the visualizer; mmpretrain's makes its figure when something is drawn."""
        if isinstance(visualizer, dict) and visualizer.get('type') == UniversalVisualizer.__name__:
            visualizer = {**visualizer, 'type': LateFigureVisualizer}
        return super().build_visualizer(visualizer)

    def build_model(self, model: Any) -> nn.Module:
        """Build the model, and give the number of classes to augmentations that mix labels."""
        built = super().build_model(model)
        preprocessor, head = getattr(built, 'data_preprocessor', None), getattr(built, 'head', None)
        if getattr(preprocessor, 'num_classes', 0) is None:
            preprocessor.num_classes = getattr(head, 'num_classes', None)
        return built

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Distribute the model, unless its adapters are still to be chosen by the data."""
        if undecided(model) is not None:
            return model.to(get_device())
        return super().wrap_model(model_wrapper_cfg, model)

    def _maybe_compile(self, target: str) -> None:
        """Compile the model's steps, or record them as CUDA graphs, if the config says so."""
        super()._maybe_compile(target)
        if target == 'train_step' and are_recorded(self.cfg):
            record_steps(self)

    def _decide(self) -> None:
        """Have adapters that choose by data do so, and distribute the model then."""
        if undecided(self.model) is not None:
            from memba_vision.engine.sanity_check import check_data  # it imports this module

            checkpoint = read_in_main_process(self._load_from) if self._load_from else None
            self._train_loop = self.build_train_loop(self._train_loop)
            check_data(self, self.model, self._train_loop.dataloader, 'train')
            with reporting_config_errors('the choice by the training data'):
                decide_in_run(self, self.model, checkpoint)
            self.model = self.wrap_model(self.cfg.get('model_wrapper_cfg'), self.model)

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> DataLoader:
        """Build a data loader, with ``LoadRGB`` in the pipeline of any dataset.

        Data workers draw the same numbers in an epoch whether they began with it or before.
        Settings of data workers are ignored where there are none.
        """
        if isinstance(dataloader, dict) and not dataloader.get('num_workers'):
            dataloader = {k: v for k, v in dataloader.items() if k not in OF_WORKERS}
        loader = Runner.build_dataloader(dataloader, *args, **kwargs)
        use_load_rgb(loader.dataset)
        use_worker_seeds(loader)
        return loader

    def build_train_loop(self, loop: Any) -> Any:
        """Build the training loop with its data."""
        with reporting_config_errors('train_cfg or train_dataloader'):
            built = super().build_train_loop(loop)
        loader = built.dataloader
        if not len(loader) and not isinstance(loader.sampler, InfiniteSampler):
            raise UserError(describe_empty_loader(loader, 'train'))
        return built

    def build_test_loop(self, loop: Any) -> Any:
        """Build the test loop with its data and metrics."""
        with reporting_config_errors('test_cfg, test_dataloader or test_evaluator'):
            return super().build_test_loop(loop)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Build the optimizer and its wrapper."""
        with reporting_config_errors('optim_wrapper'):
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Build the schedulers of learning rates."""
        part = 'param_scheduler (do its parts begin before train_cfg ends? --epochs moves them)'
        with reporting_config_errors(part):
            if self.train_dataloader is not None:
                scheduler = without_short_parts(scheduler, len(self.train_dataloader))
            return super().build_param_scheduler(scheduler)

    def call_hook(self, fn_name: str, **arguments: Any) -> None:
        """Call all hooks; an error before the training begins is reported in one line."""
        begins = fn_name in ('before_run', 'before_train')
        with reporting_config_errors('a hook') if begins else nullcontext():
            super().call_hook(fn_name, **arguments)

    def train(self) -> nn.Module:
        """Train; an early end is reported in one line.

        Raises:
            Terminated: SIGTERM or a time limit's signal arrived, and a checkpoint was written.
            KeyboardInterrupt: Ctrl-C, and the last finished epoch was written.
            UserError: a process that loads data died, or a checkpoint found the disk full.
        """
        with self.termination.watched(), reporting_dead_workers(self.train_dataset), safe_loading():
            try:
                self._decide()
                model = super().train()
            except Terminated:
                raise
            except KeyboardInterrupt as interruption:
                written = self.save_held()
                raise KeyboardInterrupt(self._say_how_to_go_on(written)) from interruption
            except Exception:
                # The processes that load data, or those on other nodes, got the signal too.
                if self.termination.requested:
                    self._end()
                raise
            if self.termination.requested:
                self._end()
            return model

    def test(self) -> dict[str, float]:
        """Test; failures are reported like those of :meth:`train`."""
        with reporting_dead_workers(self.test_dataset), safe_loading():
            return super().test()

    def train_dataset(self) -> Any:
        """Return the dataset of the training, None before it is built."""
        return getattr(self.train_dataloader, 'dataset', None)

    def test_dataset(self) -> Any:
        """Return the dataset of the test, None before it is built."""
        return getattr(self.test_dataloader, 'dataset', None)

    def fail_later(self, error: Exception) -> bool:
        """Have the processes of a run fail together at their next step.

        Returns:
            False if there are no others, or none of the hooks ends them: the error is to be raised.
        """
        if not (is_distributed() and self._termination_hooks()):
            return False
        self.termination.failure = self.termination.failure or error
        return True

    def save_held(self) -> list[str]:
        """Write the last finished epoch, if it was not; return the files that were written."""
        return [path for hook in self._termination_hooks() if (path := hook.save())]

    def _end(self) -> None:
        for hook in self._termination_hooks():
            hook.end(self)

    def _say_how_to_go_on(self, written: list[str]) -> str:
        """Return what an interrupted training has left, and how it goes on."""
        newest = written[0] if written else last_checkpoint(self)
        if newest is None:
            return 'interrupted before the first epoch had ended: nothing is saved'
        return f'interrupted in epoch {self.epoch + 1}; saved is {newest}{GO_ON}'

    def _termination_hooks(self) -> list[TerminationHook]:
        return [hook for hook in self.hooks if isinstance(hook, TerminationHook)]

    def load_checkpoint(
        self, filename: str, map_location: Any = 'cpu', strict: bool = True, revise_keys: Any = ()
    ) -> dict:
        """Read a training checkpoint safely, and load it with every key in its place.

        Args:
            filename: see :func:`memba_vision.weights.resolve`.
            map_location: the device of the tensors.
            strict: not read; loading is always strict.
            revise_keys: not read.

        Raises:
            UserError: the checkpoint is damaged, holds pickled code, is of other classes than the
                data or does not fit the model.
        """
        checkpoint = read_in_main_process(filename, map_location)
        held = names_of_checkpoint(checkpoint['meta'])
        self._compare_names(held, filename)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        model = plain_model(self)
        load_training_checkpoint(model, checkpoint, filename)
        outputs = getattr(getattr(model, 'head', None), 'num_classes', None)
        named = [(filename, held), *(('the data', names) for names in self._names_of_data())]
        for source, names in named if outputs else ():
            if names:
                check_number(names, outputs, source)
        self._has_loaded = True
        self.logger.info(f'Loaded {filename}')
        return checkpoint

    def check_classes(self) -> None:
        """Compare the classes that a training has to do with, before its first step.

        These are those of all data that is built, and of the checkpoint that it starts or goes on
        from, if there is one.

        Raises:
            UserError: the checkpoint cannot be read, or they are not the same.
        """
        if self._load_from:
            meta = read_in_main_process(self._load_from)['meta']
            self._compare_names(names_of_checkpoint(meta), self._load_from)
        first, *others = self._names_of_data() or [None]
        source = 'the classes of the training data and of the test data'
        for names in others:
            check_names(first, names, source, self.cfg.get(RENAMED, False))

    def _compare_names(self, held: list[str] | None, filename: str) -> None:
        """Compare the classes of a checkpoint with those of the data that is built."""
        source = f'the classes of {filename} and of the data'
        renamed = self.cfg.get(RENAMED, False)
        learns_them = isinstance(self._train_loop, BaseLoop) and not self._resume
        for names in self._names_of_data() if held else ():
            if renamed and learns_them:
                difference = describe_difference(held, names, source)
            else:
                difference = check_names(held, names, source, renamed)
            if difference:
                self.logger.warning(f'{difference}; going on, as {OPTION} says')

    def _names_of_data(self) -> list[list[str]]:
        loops = (self._train_loop, self._val_loop, self._test_loop)
        datasets = [loop.dataloader.dataset for loop in loops if isinstance(loop, BaseLoop)]
        found = [names_in(getattr(dataset, 'metainfo', None)) for dataset in datasets]
        return [names for names in found if names]

    def test_file(self, filename: str) -> dict[str, float]:
        """Measure the accuracy of a file, in a process that has trained.

        Weights are read back from the file and hooks are built anew, so that nothing of the
        training is left: what a hook holds, such as another set of weights, is not tested.

        Args:
            filename: a checkpoint on the machine of the first process.

        Raises:
            UserError: see :meth:`load_checkpoint`.
        """
        self._hooks = []
        hooks = [copy.deepcopy(self.cfg.get(key)) for key in ('default_hooks', 'custom_hooks')]
        self.register_hooks(*hooks)
        self._load_from, self._resume, self._has_loaded = filename, False, False
        return self.test()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Resume training with the config's learning rate and the checkpoint's seed.

        Raises:
            UserError: the checkpoint has no state of the training, or is of another schedule.
        """
        schedule = Schedule(self)
        try:
            super().resume(filename, *args, **kwargs)
        except KeyError as error:
            raise UserError(
                f'{filename} holds no {error.args[0]!r}, so training cannot go on from it: resume '
                'from a checkpoint of tools/train.py'
            ) from error
        schedule.set_epoch(self, filename)
        schedule.set_learning_rates(self, filename)
        sampler = self.train_dataloader.sampler
        if hasattr(sampler, 'seed'):
            sampler.seed = self.seed  # it was built with the config's


def describe_empty_loader(loader: DataLoader, part: str) -> str:
    """Return the error's text for a loader that has images, but no batch of them."""
    return (
        f'{part}_dataloader: batch_size={loader.batch_size} with drop_last={loader.drop_last} '
        f'leaves no batch of {len(loader.sampler):,} images: set {part}_dataloader.batch_size to '
        f'at most that, or {part}_dataloader.drop_last=False'
    )


def _refuse_slow_compilation(compilation: bool | dict | None) -> None:
    if compilation is None or compilation is False:
        return
    if not isinstance(compilation, bool | dict):
        raise UserError(
            f'config: compile is True, False or the arguments of torch.compile, got {compilation!r}'
        )
    settings = {} if compilation is True else compilation
    # Measured on the demo: two minutes of processor time until the third step, and steps as long as
    # without. The kernels are compiled already.
    if settings.get('backend', 'inductor') == 'inductor' and not torch.cuda.is_available():
        raise UserError(
            'config: compile takes minutes on a CPU and makes no training faster: leave it out, or '
            "name another backend than torch's own, as in compile=dict(backend='aot_eager')"
        )


@contextmanager
def reporting_dead_workers(dataset: Callable[[], Any]) -> Iterator[None]:
    """Turn the death of a process that loads data into a ``UserError``."""
    try:
        yield
    except RuntimeError as error:
        if 'DataLoader worker (pid' not in str(error):
            raise
        images = images_of_workers(dataset(), str(error))
        raise UserError(
            f'a process that loads data died while it read {images} '
            f'({one_line(error)}): look at that file, give the machine more memory, or set '
            'num_workers=0 in the dataloader to see the error itself'
        ) from error
