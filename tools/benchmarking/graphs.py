"""Calls as CUDA graphs: recorded once, then launched in one go."""

from functools import cache

import torch

from benchmarking.contest import Call
from benchmarking.peers import MissingPeerError

#: Calls before the recording: they compile, and let the libraries choose their kernels.
WARM_UPS = 3


def recorded(call: Call, device: torch.device) -> Call:
    """Return a call that launches again all that ``call`` launches on a GPU.

    Args:
        call: a call that never waits for the GPU, and whose inputs stay in their place.
        device: the GPU.

    Raises:
        MissingPeerError: the call cannot be recorded.
    """
    side, present = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    side.wait_stream(present)
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            call()
    present.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, pool=_owner(device).pool()):
            call()
    except RuntimeError as error:
        _owner.cache_clear()  # torch has not ended its use
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = str(error).partition('\n')[0]
        raise MissingPeerError(f'cannot be recorded as a CUDA graph: {reason}') from error

    def replay() -> object:
        graph.replay()
        return call  # it holds the memory that the graph reads and writes

    return replay


@cache
def _owner(device: torch.device) -> torch.cuda.CUDAGraph:
    """A graph that owns the memory of all graphs: none reads what another has left there.

    torch forgets memory as soon as the last of its graphs is gone; this one stays.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        torch.zeros(1, device=device)
    return graph
