"""The example in docs/methods.md works."""

import re
import sys

import torch
from helpers import DEMO, REPOSITORY, needs_checkout
from mmpretrain.registry import MODELS

from memba_vision.apis.config import load_config
from memba_vision.registry import ADAPTERS

VIM = dict(type='Vim', arch=dict(embed_dims=16, num_layers=2, d_state=4), img_size=32, patch_size=8)


@needs_checkout
def test_the_example_of_a_new_method(tmp_path, monkeypatch):
    text = (REPOSITORY / 'docs' / 'methods.md').read_text(encoding='utf-8')
    section = text.split('## Adding a method')[1]
    code, preset = re.findall(r'^```python\n# \S+\n(.*?)^```', section, re.MULTILINE | re.DOTALL)
    assert len((code + preset).splitlines()) < 40
    (tmp_path / 'output_scaling.py').write_text(code)
    (tmp_path / 'preset.py').write_text(preset)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ADAPTERS, '_module_dict', dict(ADAPTERS.module_dict))
    __import__('output_scaling')
    monkeypatch.delitem(sys.modules, 'output_scaling')

    config = load_config(str(DEMO), {}, None, peft=str(tmp_path / 'preset.py'))
    torch.manual_seed(0)
    model = MODELS.build({**config.model.backbone, 'module': VIM}).eval()
    assert sum(p.numel() for p in model.adapter_parameters().values()) == 2 * 16
    images = torch.randn(2, 3, 32, 32)
    model(images)[0].sum().backward()
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter -= 0.1 * parameter.grad.sign()
    merged, reasons = model.merge()
    assert not reasons
    assert list(merged.state_dict()) == list(MODELS.build(VIM).state_dict())
    torch.testing.assert_close(merged(images)[0], model(images)[0], rtol=1e-5, atol=1e-5)
