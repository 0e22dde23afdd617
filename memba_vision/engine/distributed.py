"""Distributed runs on machines without a GPU."""

import os

import torch.distributed

from memba_vision.errors import UserError

#: Environment variables with a process's rank and the number of processes, by launcher.
VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS'),
}


def connect_on_cpu(launcher: str) -> None:
    """Join the other processes of a run over gloo.

    mmengine's own way gives each process a GPU before it connects them.

    Args:
        launcher: the launcher of the processes; a key of ``VARIABLES``.

    Raises:
        UserError: the launcher's environment variables are missing.
    """
    rank, world_size = VARIABLES[launcher]
    missing = {rank, world_size, 'MASTER_ADDR', 'MASTER_PORT'} - os.environ.keys()
    if missing:
        raise UserError(
            f'--launcher {launcher}: the environment lacks {", ".join(sorted(missing))}; start the '
            'processes with "torchrun --nproc_per_node 2 tools/train.py CONFIG --launcher pytorch"'
        )
    os.environ.setdefault('LOCAL_RANK', os.environ[rank])  # mmengine reads it, for the GPU
    torch.distributed.init_process_group(
        'gloo', rank=int(os.environ[rank]), world_size=int(os.environ[world_size])
    )
