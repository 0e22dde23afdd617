"""What a training run needs beside model and data: hooks, optimizer set-up, file backends."""

__all__ = ['checkpoint_loader', 'file_backend', 'flops', 'hooks', 'optim', 'runner']
