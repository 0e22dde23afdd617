"""Runs with a trained look, made in a moment: their adapters are random."""

import json
from pathlib import Path

import torch
from helpers import CONFIGS, tiny_options

from memba_vision.runs.config import load_config
from memba_vision.zoo.models import build_classifier


def make_run(folder: Path, base: Path, config: str = 'digits_memba', seed: int = 0, **options):
    """The folder of a finished run of a demo config over the tiny backbone."""
    settings = tiny_options(base, folder / 'data', **options)
    if config.endswith('_lora'):
        del settings['model.backbone.rank']
    read = load_config(str(CONFIGS / 'demo' / f'{config}.py'), settings, str(folder))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_classifier(read)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.5)
    folder.mkdir()
    classes = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']
    meta = {'epoch': 20, 'dataset_meta': {'classes': classes}}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, folder / 'epoch_20.pth')
    (folder / 'run.json').write_text(json.dumps([{'config': read.to_dict()}], default=str))
    return folder
