"""Projections that all mixers around a selective scan have, as places for adapters."""

from collections.abc import Sequence
from typing import NamedTuple

from memba_vision.models.sites import Rows


class MixerSizes(NamedTuple):
    """Widths in a mixer.

    Attributes:
        d_inner: channels of a scan.
        dt_rank: outputs of ``x_proj`` that lead to the step size.
        d_state: state dimensions per channel.
    """

    d_inner: int
    dt_rank: int
    d_state: int


def mixer_projections(
    prefix: str, directions: Sequence[str], sizes: MixerSizes, with_z: bool = True
) -> dict[str, tuple[Rows, ...]]:
    """Return the projections of a mixer by role, as :class:`.BlockSites` has them.

    Args:
        prefix: beginning of the paths of ``in_proj`` and ``out_proj``.
        directions: paths of the projections of each direction, with ``{}`` for their names.
        sizes: the widths in the mixer.
        with_z: True where ``in_proj`` makes z behind x.
    """
    d_inner, dt_rank, d_state = sizes
    in_proj, before_C = f'{prefix}in_proj', dt_rank + d_state

    def each(name: str, rows: range | None = None) -> tuple[Rows, ...]:
        return tuple(Rows(direction.format(name), rows) for direction in directions)

    z = {'mix.z': (Rows(in_proj, range(d_inner, 2 * d_inner)),)} if with_z else {}
    return {
        'mix.in': (Rows(in_proj),),
        'mix.x': (Rows(in_proj, range(d_inner)),),
        **z,
        'mix.params': each('x_proj'),
        'mix.delta': each('x_proj', range(dt_rank)),
        'mix.B': each('x_proj', range(dt_rank, before_C)),
        'mix.C': each('x_proj', range(before_C, before_C + d_state)),
        'mix.dt': each('dt_proj'),
        'mix.out': (Rows(f'{prefix}out_proj'),),
    }
