"""The checkpoints that the authors of Vim published: one table for configs, tools and timm."""

from dataclasses import dataclass

PATCH_SIZE = 16  # of all published checkpoints


@dataclass(frozen=True)
class Official:
    """A checkpoint of the authors of Vim, for images of 224 pixels.

    Args:
        repository: on Hugging Face, below ``hustvl/``.
        file: the file's name there.
        arch: of :class:`Vim`.
        stride: of its patches; 8 for those that the authors mark with a plus.
    """

    repository: str
    file: str
    arch: str
    stride: int = 16

    @property
    def url(self) -> str:
        """The address of the file."""
        return f'https://huggingface.co/hustvl/{self.repository}/resolve/main/{self.file}'


OFFICIAL = {
    'tiny': Official('Vim-tiny-midclstok', 'vim_t_midclstok_76p1acc.pth', 'tiny'),
    'tiny+': Official('Vim-tiny-midclstok', 'vim_t_midclstok_ft_78p3acc.pth', 'tiny', 8),
    'small': Official('Vim-small-midclstok', 'vim_s_midclstok_80p5acc.pth', 'small'),
    'small+': Official('Vim-small-midclstok', 'vim_s_midclstok_ft_81p6acc.pth', 'small', 8),
    'base': Official('Vim-base-midclstok', 'vim_b_midclstok_81p9acc.pth', 'base'),
}
