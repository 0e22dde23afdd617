"""Necks, the modules between backbone and head."""

from memba_vision.models.necks.feature_norm import FeatureNorm

__all__ = ['FeatureNorm']
