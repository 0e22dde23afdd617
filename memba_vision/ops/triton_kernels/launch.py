"""How every kernel is started."""

import torch


def launch(
    kernel, programs: int | tuple[int, int], *arguments, registers: int | None = None, **constants
) -> None:
    """Run ``programs`` programs of ``kernel`` on the device of its first argument.

    Args:
        kernel: a kernel.
        programs: size of the grid, of one dimension or two.
        arguments: what the kernel takes by position.
        registers: the most that a thread may use, where the compiler knows such a limit.
        constants: what the kernel takes by name, ``num_warps`` included.
    """
    if registers is not None and torch.version.hip is None:
        constants['maxnreg'] = registers
    grid = (programs,) if isinstance(programs, int) else programs
    with torch.cuda.device_of(arguments[0]):
        kernel[grid](*arguments, **constants, enable_fp_fusion=True)
