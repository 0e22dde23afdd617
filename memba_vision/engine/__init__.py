"""What a training run needs beside model and data: hooks, optimizer set-up, file backends."""

from memba_vision.engine import checkpoint_loader, file_backend, flops, hooks, optim, runner

__all__ = ['checkpoint_loader', 'file_backend', 'flops', 'hooks', 'optim', 'runner']
