"""Adapt vision Mamba models with few trained parameters, as a plugin for mmpretrain."""

__version__ = '0.1.0'
