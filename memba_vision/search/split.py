"""Split of a search: that of a validation, judged after each epoch."""

from mmengine.config import Config

from memba_vision.runs.validation import use_validation_split


def validate_each_epoch(config: Config) -> None:
    """Make a config train on ``train800`` and validate on ``val200`` after each epoch.

    The config has no test afterwards.

    Raises:
        UserError: see :func:`memba_vision.runs.validation.use_validation_split`.
    """
    use_validation_split(config)
    config.val_dataloader, config.val_evaluator = config.test_dataloader, config.test_evaluator
    config.val_cfg = dict()
    config.test_dataloader = config.test_evaluator = config.test_cfg = None
    config.train_cfg.val_interval = 1
    config.train_cfg.pop('val_begin', None)
