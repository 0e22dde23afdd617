"""Hooks of a run, one per file."""

from memba_vision.engine.hooks.cost import CostHook
from memba_vision.engine.hooks.epoch_seed import EpochSeedHook
from memba_vision.engine.hooks.finite_loss import FiniteLossHook
from memba_vision.engine.hooks.keep_features import KeepFeaturesHook
from memba_vision.engine.hooks.kernel_report import KernelReportHook
from memba_vision.engine.hooks.late_removal import LateRemovalHook
from memba_vision.engine.hooks.loss_curve import LossCurveHook
from memba_vision.engine.hooks.membrane_report import MembraneReportHook
from memba_vision.engine.hooks.parameter_report import ParameterReportHook
from memba_vision.engine.hooks.plain_checkpoint import PlainCheckpointHook
from memba_vision.engine.hooks.resumed_validation import ResumedValidationHook
from memba_vision.engine.hooks.termination import TerminationHook

__all__ = [
    'CostHook',
    'EpochSeedHook',
    'FiniteLossHook',
    'KeepFeaturesHook',
    'KernelReportHook',
    'LateRemovalHook',
    'LossCurveHook',
    'MembraneReportHook',
    'ParameterReportHook',
    'PlainCheckpointHook',
    'ResumedValidationHook',
    'TerminationHook',
]
