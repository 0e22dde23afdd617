"""Heads, the modules that make losses and predictions of features."""

from memba_vision.models.heads.factor_head import FactorHead

__all__ = ['FactorHead']
