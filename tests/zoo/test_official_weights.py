import argparse
import json
from dataclasses import replace

import pytest
import torch
from helpers import run_tool
from safetensors.torch import load_file, save_file

from memba_vision.errors import UserError
from memba_vision.models import Vim
from memba_vision.serving.export import export_backbone
from memba_vision.weights import read_checkpoint
from memba_vision.zoo import official_weights
from memba_vision.zoo.official import OFFICIAL

ARCH = dict(embed_dims=16, num_layers=2)


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    model = Vim(ARCH)
    return {**model.state_dict(), 'head.weight': torch.zeros(10, 16), 'head.bias': torch.zeros(10)}


@pytest.fixture
def official(monkeypatch, file_server, weights):
    """The published checkpoint 'small', tiny and on a server of one's own."""
    url = f'{file_server.url}/vim.pth'
    monkeypatch.setitem(OFFICIAL, 'vim_small', replace(OFFICIAL['vim_small'], arch=ARCH, url=url))
    torch.save({'model': weights, 'epoch': 300}, file_server.folder / 'vim.pth')
    return file_server


def test_fetched_recorded_and_compared(official, tmp_path):
    first, second = (run_tool('weights', 'fetch', 'small', '--out', tmp_path) for _ in range(2))
    assert first.out.endswith('every key fits vim_small; size and SHA-256 recorded\n')
    assert second.out.endswith('every key fits vim_small; the same as it was first recorded\n')
    assert len(official.requests) == 1
    record = json.loads((tmp_path / 'vim.pth.json').read_text())
    assert record['url'] == f'{official.url}/vim.pth'
    assert record['size'] == (tmp_path / 'vim.pth').stat().st_size


def test_a_mirror_may_call_it_otherwise(official, tmp_path):
    small = OFFICIAL['vim_small']
    path, _ = official_weights.fetch(small, tmp_path, f'{official.url}/vim.pth?download=true')
    assert path == tmp_path / 'vim.pth'


def test_a_broken_fetch_goes_on(official, tmp_path):
    official.bytes_per_answer = 20_000
    error = run_tool('weights', 'fetch', 'small', '--out', tmp_path).error()
    assert 'run the same command again' in error
    official.bytes_per_answer = None
    assert run_tool('weights', 'fetch', 'small', '--out', tmp_path).status == 0
    assert official.requests[1][1] == 'bytes=20000-'


def test_a_file_that_was_replaced_since_is_refused_everywhere(official, tmp_path, weights):
    run_tool('weights', 'fetch', 'small', '--out', tmp_path)
    torch.save({'model': weights | {'head.bias': torch.ones(10)}}, tmp_path / 'vim.pth')
    error = run_tool('weights', 'fetch', 'small', '--out', tmp_path).error()
    assert 'is not the file that vim.pth.json describes' in error
    with pytest.raises(UserError, match='is not the file'):
        read_checkpoint(str(tmp_path / 'vim.pth'))


def test_a_page_instead_of_a_checkpoint_is_not_recorded(official, tmp_path):
    (official.folder / 'vim.pth').write_text('<html>log in first</html>')
    error = run_tool('weights', 'fetch', 'small', '--out', tmp_path).error()
    assert f'not a checkpoint, or damaged: copy or download it again; remove {tmp_path}' in error
    assert not (tmp_path / 'vim.pth.json').exists()


def test_converted_holds_the_same_weights(official, tmp_path, weights):
    source, out = official.folder / 'vim.pth', tmp_path / 'v.safetensors'
    assert run_tool('weights', 'convert', source, out).status == 0
    found = load_file(out)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    outcome = run_tool('weights', 'verify', out, '--name', 'small')
    values = sum(t.numel() for name, t in weights.items() if not name.startswith('head'))
    assert f'every key fits vim_small, {values:,} values' in outcome.out
    content = bytearray(out.read_bytes())
    content[-100] ^= 1  # safetensors has no checksum; the record beside the file has
    out.write_bytes(content)
    assert 'it was damaged' in run_tool('weights', 'verify', out, '--name', 'small').error()


def test_weights_that_are_written_over_converted_ones(official, tmp_path, weights):
    source, out = official.folder / 'vim.pth', tmp_path / 'v.safetensors'
    assert run_tool('weights', 'convert', source, out).status == 0
    torch.save({f'backbone.{name}': tensor for name, tensor in weights.items()}, tmp_path / 'a.pth')
    export_backbone(str(tmp_path / 'a.pth'), str(out))
    assert not (tmp_path / 'v.safetensors.json').exists()
    assert read_checkpoint(str(out)).keys() == weights.keys()
    (tmp_path / 'v.safetensors.json').write_text('{"layers": 2}')  # about something else
    export_backbone(str(tmp_path / 'a.pth'), str(out))
    assert read_checkpoint(str(out)).keys() == weights.keys()
    assert (tmp_path / 'v.safetensors.json').is_file()


@pytest.mark.parametrize(
    ('name', 'tensor', 'expected'),
    [
        ('layers.1.mixer.A_log', None, 'missing layers.1.mixer.A_log'),
        ('layers.2.norm.weight', torch.ones(16), 'unexpected layers.2.norm.weight'),
        ('norm_f.weight', torch.ones(8), r'norm_f.weight is \(8,\), expected \(16,\)'),
        ('norm_f.weight', torch.full((16,), float('nan')), 'not finite: norm_f.weight'),
        ('head.bias', torch.full((10,), float('inf')), 'not finite: head.bias'),
        ('pos_embed', torch.ones(1, 199, 16), '198 patches, expected 196; an image of no size'),
    ],
)
def test_every_key_is_verified(official, tmp_path, weights, name, tensor, expected):
    weights.pop(name, None)
    if tensor is not None:
        weights[name] = tensor
    save_file(weights, tmp_path / 'w.safetensors')
    with pytest.raises(UserError, match=expected):
        official_weights.verify(str(tmp_path / 'w.safetensors'), OFFICIAL['vim_small'])


def test_verified_for_images_of_another_size(official, tmp_path):
    larger = {**Vim(ARCH, img_size=384).state_dict()}
    save_file(larger, tmp_path / 'w.safetensors')
    arguments = ('verify', tmp_path / 'w.safetensors', '--name', 'small')
    error = run_tool('weights', *arguments).error()
    assert 'pos_embed has 576 patches, expected 196; an image of 384 with a stride of 16' in error
    assert 'every key fits' in run_tool('weights', *arguments, '--img-size', 384).out
    plus = {**Vim(ARCH, stride=8).state_dict()}
    save_file(plus, tmp_path / 'w.safetensors')
    assert (
        'of 432 with a stride of 16 or 224 with a stride of 8'
        in run_tool('weights', *arguments).error()
    )
    assert 'img_size 3 is smaller' in run_tool('weights', *arguments, '--img-size', 3).error()


def test_the_set_of_weights_that_is_wanted(official, tmp_path, weights):
    averaged = {f'module.{name}': tensor + 1 for name, tensor in weights.items()}
    torch.save({'model': weights, 'model_ema': averaged}, tmp_path / 'w.pth')
    out = tmp_path / 'w.safetensors'
    for choice in (['--key', 'model_ema'], ['--key', 'model_ema', '--prefix', 'module']):
        assert run_tool('weights', 'convert', tmp_path / 'w.pth', out, *choice).status == 0
        found = load_file(out)
        assert all(torch.equal(found[name], weights[name] + 1) for name in weights)
        verified = run_tool('weights', 'verify', tmp_path / 'w.pth', '--name', 'small', *choice)
        assert 'every key fits' in verified.out


def test_other_variants_of_vim_are_refused(official, tmp_path, weights):
    name = 'vim_small_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_cls_token_div2'
    torch.save({'model': weights, 'args': argparse.Namespace(model=name)}, tmp_path / 'w.pth')
    with pytest.raises(UserError, match='its class token, if any, is not in the middle'):
        official_weights.verify(str(tmp_path / 'w.pth'), OFFICIAL['vim_small'])
    arguments = ('convert', tmp_path / 'w.pth', tmp_path / 'w.safetensors')
    assert f'is of {name}: its class token' in run_tool('weights', *arguments).error()
    assert run_tool('weights', *arguments, '--any-variant').status == 0
    assert official_weights.verify(str(tmp_path / 'w.safetensors'), OFFICIAL['vim_small'])


def test_mistakes(tmp_path):
    assert 'must end in .safetensors' in run_tool('weights', 'convert', 'a', 'b.pth').error()
    assert 'no checkpoint at' in run_tool('weights', 'verify', 'a', '--name', 'tiny').error()
    torch.save({'epoch': 1}, tmp_path / 'a.pth')
    out = tmp_path / 'b.safetensors'
    assert 'no tensors' in run_tool('weights', 'convert', tmp_path / 'a.pth', out).error()


def test_published_addresses():
    assert OFFICIAL['vim_small'].url == (
        'https://huggingface.co/hustvl/Vim-small-midclstok/resolve/main/vim_s_midclstok_80p5acc.pth'
    )
