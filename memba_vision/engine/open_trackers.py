"""Trackers of a training that stay open until its test."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.runner import Runner


@contextmanager
def trackers_kept_open(runner: Runner) -> Iterator[None]:
    """Keep the visualizer's backends open, and close them once, at the end.

    mmengine closes them behind every loop: the test of a training would find them closed, and
    those that begin anew by themselves, as MLflow, would have a second, empty run.
    """
    visualizer = runner.visualizer
    visualizer.close = lambda: None  # an attribute of the object goes before its class's method
    try:
        yield
    finally:
        del visualizer.close
    visualizer.close()


def track_test(runner: Runner, metrics: Mapping[str, Any]) -> None:
    """Give the numbers of a training's test to its trackers, at its last step.

    Args:
        runner: of the training.
        metrics: of the test; ``accuracy/top1`` becomes ``test/accuracy/top1``.
    """
    numbers = {f'test/{name}': value for name, value in metrics.items() if _is_number(value)}
    if numbers:
        runner.visualizer.add_scalars(numbers, step=runner.iter)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
