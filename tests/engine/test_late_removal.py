"""Checkpoints are saved after a number of epochs or of minutes."""

from types import SimpleNamespace

import pytest

from memba_vision.engine.hooks import LateRemovalHook
from memba_vision.engine.hooks import late_removal as module

EPOCHS = range(12)


@pytest.fixture
def saved(monkeypatch):
    """The epochs after which a hook saves, where each takes some minutes."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, 'time', SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(module.CheckpointHook, 'before_train', lambda hook, runner: None)

    def saved(minutes: float, **settings: object) -> list[int]:
        hook = LateRemovalHook(**settings)
        hook.before_train(None)
        found = []
        monkeypatch.setattr(
            module.CheckpointHook,
            '_save_checkpoint_with_step',
            lambda hook, runner, step, meta: found.append(step),
        )
        for epoch in EPOCHS:
            clock.now += 60 * minutes
            runner = SimpleNamespace(epoch=epoch)
            if hook.every_n_epochs(runner, hook.interval, hook.save_begin):
                hook._save_checkpoint_with_step(runner, epoch + 1, {})
        return found

    return saved


@pytest.mark.parametrize(
    ('minutes', 'settings', 'expected'),
    [
        (0.1, dict(interval=5), [5, 10]),
        (2, dict(interval=10), [3, 6, 9, 10]),
        (2, dict(interval=10, max_minutes=10), [5, 10]),
        (20, dict(interval=10), [*range(1, 13)]),
        (20, dict(interval=10, save_begin=9), [9, 10, 11, 12]),
        (20, dict(interval=-1), []),
        (20, dict(interval=5, max_minutes=float('inf')), [5, 10]),
    ],
    ids=str,
)
def test_the_shorter_of_the_two_counts(saved, minutes, settings, expected):
    assert saved(minutes, **settings) == expected
