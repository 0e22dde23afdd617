"""Sums over a block of channels, with one channel in each lane of a warp."""

import triton
import triton.language as tl

#: Channels of a block: as many as a warp has lanes.
LANES = tl.constexpr(32)


@triton.jit
def sum_channels(block):
    """Sum (rows, LANES) over its lanes; the number of rows is a power of two.

    At each level a lane gives half of its rows to a partner and adds the partner's other half to
    its own. The sums of 16 rows cost 16 shuffles; a tree for each row would cost 80.

    Returns:
        (rows / LANES, LANES), a sum per lane, of the row that :func:`row_of_lane` returns. With
        fewer rows than lanes, (1, LANES) with equal sums in neighbouring lanes.
    """
    block = _fold(block, 16)
    block = _fold(block, 8)
    block = _fold(block, 4)
    block = _fold(block, 2)
    return _fold(block, 1)


@triton.jit
def row_of_lane(rows: tl.constexpr):
    """Return the number of the row that each result of :func:`sum_channels` is the sum of."""
    lane = tl.arange(0, LANES)[None, :]
    if rows <= LANES:
        row = lane * rows // LANES
    else:
        each: tl.constexpr = rows // LANES
        row = lane * each + tl.arange(0, each)[:, None]
    return row


@triton.jit
def _fold(block, bit: tl.constexpr):
    """Add the lanes that differ in ``bit``; this halves the rows, if there are two or more."""
    lane = tl.arange(0, LANES)[None, :]
    rows: tl.constexpr = block.shape[0]
    if rows == 1:
        folded = block + tl.gather(block, lane ^ bit, axis=1)
    else:
        half: tl.constexpr = rows // 2
        low, high = tl.split(tl.permute(tl.reshape(block, (2, half, LANES)), (1, 2, 0)))
        keeps_high = (lane & bit) != 0
        partner = tl.broadcast_to(lane ^ bit, (half, LANES))
        given = tl.gather(tl.where(keeps_high, low, high), partner, axis=1)
        folded = tl.where(keeps_high, high, low) + given
    return folded
