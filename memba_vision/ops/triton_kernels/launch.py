"""Launch of a kernel."""

import torch


def launch(
    kernel, programs: int | tuple[int, int], *arguments, registers: int | None = None, **constants
) -> None:
    """Run ``programs`` programs of ``kernel`` on the device of its first argument.

    Args:
        kernel: a function that Triton compiles.
        programs: size of the grid, of one dimension or two.
        arguments: positional arguments of the kernel.
        registers: limit of the registers of a thread, for compilers that have such a limit.
        constants: keyword arguments of the kernel, ``num_warps`` included.
    """
    if registers is not None and torch.version.hip is None:
        constants['maxnreg'] = registers
    grid = (programs,) if isinstance(programs, int) else programs
    with torch.cuda.device_of(arguments[0]):
        kernel[grid](*arguments, **constants, enable_fp_fusion=True)
