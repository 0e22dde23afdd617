"""Parts of a training run beside model and data: runner, hooks, optimizer set-up, file backends."""

__all__ = ['checkpoint_loader', 'file_backend', 'flops', 'hooks', 'optim', 'runner']
