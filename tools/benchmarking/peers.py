"""The peers: other implementations, measured where they are installed."""

import importlib
import importlib.util
import logging
from collections.abc import Callable, Sequence
from types import ModuleType

import torch
from torch import nn

from benchmarking.setting import Sizes


class MissingPeerError(Exception):
    """A peer cannot be measured here; the text says why."""


class BothWays(nn.Module):
    """Two one-directional mixers, on the sequence and on its flip; their results are averaged.

    Args:
        make: makes one mixer, (batch, length, width) to the same.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.ahead = make()
        self.back = make()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Mix (batch, length, width) along its length."""
        return (self.ahead(hidden) + self.back(hidden.flip(1)).flip(1)) / 2


def mambapy_blocks(sizes: Sizes) -> BothWays:
    """Two ``MambaBlock`` of mambapy: plain torch, with a parallel scan."""
    mamba = import_peer('mambapy.mamba', 'mambapy')
    config = mamba.MambaConfig(d_model=sizes.width, n_layers=1, d_state=sizes.state)
    return BothWays(lambda: mamba.MambaBlock(config))


def hugging_face_mixers(sizes: Sizes, device: torch.device) -> BothWays:
    """Two ``MambaMixer`` of Hugging Face's transformers, on the path that they take on a CPU."""
    if device.type != 'cpu':
        raise MissingPeerError('measured on a CPU alone')
    logging.getLogger('transformers').setLevel(logging.ERROR)  # it warns of being slow
    module = import_peer('transformers.models.mamba.modeling_mamba', 'transformers')
    config = module.MambaConfig(
        hidden_size=sizes.width, state_size=sizes.state, num_hidden_layers=1
    )
    return BothWays(lambda: module.MambaMixer(config, layer_idx=0))


def mamba_ssm_mixers(sizes: Sizes, device: torch.device) -> BothWays:
    """Two ``Mamba`` of mamba-ssm, with its fused CUDA kernels."""
    if device.type != 'cuda':
        raise MissingPeerError('needs a GPU')
    module = import_peer('mamba_ssm.modules.mamba_simple', 'mamba-ssm')
    return BothWays(lambda: module.Mamba(sizes.width, d_state=sizes.state))


def vit(sizes: Sizes, classes: int) -> nn.Module:
    """The ``VisionTransformer`` of timm with LoRA of peft on qkv and proj, and a head."""
    model = import_peer('timm', 'timm').create_model(
        'vit_small_patch16_224',
        num_classes=classes,
        img_size=sizes.image,
        embed_dim=sizes.width,
        depth=sizes.vit_depth,
        num_heads=max(1, sizes.width // 64),
        drop_path_rate=0.1,  # as Vim has it
    )
    return _with_lora(model, sizes, ('attn.qkv', 'attn.proj'), head='head')


def swin(sizes: Sizes, classes: int, targets: Sequence[str]) -> nn.Module:
    """The ``SwinTransformer`` of timm with LoRA of peft on ``targets``, and a head."""
    model = import_peer('timm', 'timm').create_model(
        'swin_tiny_patch4_window7_224',
        num_classes=classes,
        img_size=sizes.image,
        embed_dim=sizes.pyramid_dims,
        depths=sizes.swin_depths,
        num_heads=[sizes.pyramid_dims // 32 * 2**stage for stage in range(len(sizes.swin_depths))],
    )
    return _with_lora(model, sizes, targets, head='head.fc')


def _with_lora(model: nn.Module, sizes: Sizes, targets: Sequence[str], head: str) -> nn.Module:
    """LoRA of peft, with the scale and the dropout that our LoRA has by default, and a head."""
    peft = import_peer('peft', 'peft')
    config = peft.LoraConfig(
        r=sizes.rank,
        lora_alpha=0.1 * sizes.rank,
        lora_dropout=0.1,
        target_modules=list(targets),
        modules_to_save=[head],
    )
    return peft.get_peft_model(model, config)


def mamba_ssm_scan() -> Callable[..., torch.Tensor]:
    """The ``selective_scan_fn`` of mamba-ssm, called directly."""
    return import_peer('mamba_ssm.ops.selective_scan_interface', 'mamba-ssm').selective_scan_fn


def import_peer(module: str, package: str) -> ModuleType:
    """Import a module of the pip package ``package``.

    Raises:
        MissingPeerError: it is not installed, or cannot be imported.
    """
    if importlib.util.find_spec(module.partition('.')[0]) is None:
        raise MissingPeerError(f'not installed: pip install {package}')
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        reason = str(error).partition('\n')[0]
        raise MissingPeerError(f'{package} cannot be imported: {reason}') from error
