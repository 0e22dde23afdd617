"""How every kernel and its parts are compiled."""

import hashlib
import logging
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from numba import config, njit, types
from numba.extending import intrinsic

# Contraction is fused multiply-add and nothing more: reordering sums would break the rounding in
# `maths`, and assuming that there is no NaN would lose it. numpy's division checks for no zero,
# which would keep LLVM from vectorising.
#
# Parts are inlined: of one that is called, numba compiles a copy beside the kernel's own, and runs
# it in the process that compiles but not in those that load the kernel from the disk. The two may
# differ in their last bits, and a resumed run would not end as an uninterrupted one.
part = partial(njit, forceinline=True, fastmath={'contract'}, error_model='numpy')


def kernel(function: Callable) -> Callable:
    """Compile ``function`` at its first call, without the GIL, and keep it on disk if it can be."""
    previous = config.CACHE_DIR
    compiled = partial(part, function, nogil=True, forceinline=False)
    try:
        config.CACHE_DIR = str(_cache_folder())
        return compiled(cache=True)
    except RuntimeError:  # nowhere to write: every process compiles
        return compiled()
    finally:
        config.CACHE_DIR = previous


@cache
def _cache_folder() -> Path:
    """A folder for this state of the sources; ``NUMBA_CACHE_DIR`` says where it lies.

    numba looks at the time stamp of a kernel's own file: by itself it would go on using code
    compiled from older versions of the parts that a kernel calls.
    """
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob('*.py')):
        sources.update(path.read_bytes())
    root = os.environ.get('NUMBA_CACHE_DIR')
    if not root:
        home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
        root = Path(home, 'memba_vision', 'numba')
    folder = Path(root, sources.hexdigest()[:16])
    if not folder.exists():
        logging.getLogger(__name__).warning(
            'Compiling the CPU kernels, once on this machine: about half a minute'
        )
    return folder


@intrinsic
def widest_vectors(typing_context):
    """Let LLVM use all 512 bits in the kernel that calls this, where a CPU has them.

    It prefers 256 on many Intel CPUs, for code that is rarely in vectors. This is what clang's
    -mprefer-vector-width=512 sets; llvmlite's own list of attributes leaves it out.
    """

    def generate(context, builder, signature, args):
        attributes = builder.function.attributes
        if isinstance(attributes, set):
            set.add(attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate
