"""Reading weights: what is refused and what the message says; downloads; fingerprints."""

import argparse
import errno
import hashlib
import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from helpers import CONFIGS
from safetensors.torch import save_file
from torch import nn

from memba_vision.errors import UserError
from memba_vision.files import sha256_of
from memba_vision.weights import (
    fingerprint,
    load_strictly,
    published_hashes,
    read_checkpoint,
    read_state_dict,
    reading,
    resolve,
)

WEIGHTS = {'a.weight': torch.arange(600.0).reshape(20, 30), 'a.bias': torch.ones(3).bfloat16()}


def save(path: Path, content=WEIGHTS, **options) -> Path:
    torch.save(content, path, **options)
    return path


def assert_same(actual, expected=WEIGHTS):
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[key], tensor) for key, tensor in expected.items())


# What is read


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
def test_torch_files(tmp_path, zipped):
    path = save(tmp_path / 'w.pth', _use_new_zipfile_serialization=zipped)
    assert_same(read_checkpoint(str(path)))


def test_safetensors_files(tmp_path):
    save_file(WEIGHTS, tmp_path / 'w.safetensors')
    assert_same(read_checkpoint(str(tmp_path / 'w.safetensors')))


META = torch.empty(0, device='meta')


@pytest.mark.parametrize(
    'location', ['meta', META.device, {'cpu': 'meta'}, lambda *_: META.untyped_storage()]
)
def test_safetensors_go_to_the_device_that_is_asked_for(tmp_path, location):
    save_file({'a': torch.ones(2)}, tmp_path / 'weights.safetensors')
    path = str(tmp_path / 'weights.safetensors')
    assert read_checkpoint(path, location)['a'].device.type == 'meta'
    assert read_checkpoint(path)['a'].device.type == 'cpu'


def test_a_path_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    save(tmp_path / 'w.pth')
    assert_same(read_checkpoint('~/w.pth'))


def test_the_command_line_beside_the_weights_is_harmless(tmp_path):
    save(tmp_path / 'w.pth', {'model': WEIGHTS, 'args': argparse.Namespace(lr=0.1)})
    assert read_checkpoint(str(tmp_path / 'w.pth'))['args'].lr == 0.1
    assert_same(read_state_dict(str(tmp_path / 'w.pth')))


@pytest.mark.parametrize(
    'content',
    [WEIGHTS, {'model': WEIGHTS}, {'state_dict': WEIGHTS, 'meta': {'epoch': 1}}],
    ids=['bare', 'model', 'state_dict'],
)
def test_weights_are_taken_out_of_their_wrapping(tmp_path, content):
    assert_same(read_state_dict(str(save(tmp_path / 'w.pth', content))))


def test_a_prefix_picks_and_is_cut_off(tmp_path):
    path = save(tmp_path / 'w.pth', {'backbone.x': torch.ones(1), 'head.x': torch.zeros(1)})
    assert_same(read_state_dict(str(path), 'backbone.'), {'x': torch.ones(1)})


def test_the_content_says_what_a_file_is(tmp_path):
    save_file(WEIGHTS, tmp_path / 'w.pth')
    assert_same(read_checkpoint(str(tmp_path / 'w.pth')))
    for zipped in (True, False):
        options = dict(_use_new_zipfile_serialization=zipped)
        path = save(tmp_path / 'w.safetensors', WEIGHTS, **options)
        assert_same(read_checkpoint(str(path)))


# What is refused


def test_code_that_torch_compiled_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / 'w.pth')
    with pytest.raises(UserError, match='TorchScript archive, which holds code: save the state_d'):
        read_checkpoint(str(tmp_path / 'w.pth'))


@pytest.mark.parametrize('share', [0.0, 0.3, 0.6, 0.99], ids='{:.0%}'.format)
@pytest.mark.parametrize('kind', ['pth', 'legacy.pth', 'safetensors'])
def test_a_truncated_file(tmp_path, kind, share):
    path = tmp_path / f'w.{kind}'
    if kind == 'safetensors':
        save_file(WEIGHTS, path)
    else:
        save(path, _use_new_zipfile_serialization=kind == 'pth')
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(UserError, match='is truncated or not a checkpoint') as error:
        read_checkpoint(str(path))
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_random_bytes(tmp_path, suffix, seed):
    path = tmp_path / f'w.{suffix}'
    numbers = torch.randint(256, (1000,), generator=torch.Generator().manual_seed(seed))
    path.write_bytes(bytes(numbers.tolist()))
    with pytest.raises(UserError, match=r'1,000 bytes\) is truncated or not a checkpoint'):
        read_checkpoint(str(path))


@pytest.mark.parametrize('text', ['<html>404</html>', 'version https://git-lfs', '{}'])
def test_a_text_file(tmp_path, text):
    (tmp_path / 'w.pth').write_text(text)
    with pytest.raises(UserError, match='is truncated or not a checkpoint'):
        read_checkpoint(str(tmp_path / 'w.pth'))


@pytest.mark.parametrize('location', ['absent.pth', 'absent.safetensors', ''])
def test_a_missing_file(tmp_path, location):
    with pytest.raises(UserError, match=r'no checkpoint at .*give the path of a file that exists'):
        read_checkpoint(str(tmp_path / location))


def test_weights_that_do_not_come_with_the_package():
    with pytest.raises(UserError, match=r'no checkpoint at memba_vision://absent\.safetensors'):
        read_checkpoint('memba_vision://absent.safetensors')


@pytest.mark.parametrize(
    ('content', 'name'), [([1, 2], 'list'), (torch.ones(2), 'Tensor'), (None, 'NoneType')]
)
def test_anything_but_a_dict(tmp_path, content, name):
    path = save(tmp_path / 'w.pth', content)
    with pytest.raises(UserError, match=f'holds a {name}, expected a dict of weights'):
        read_checkpoint(str(path))


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def write_zip(path, content):
    torch.save(content, path)


def write_legacy(path, content):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_plain_pickle(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize('write', [write_zip, write_legacy, write_plain_pickle])
def test_pickled_code_is_refused_and_never_run(tmp_path, write):
    canary = tmp_path / 'ran'
    write(tmp_path / 'w.pth', {'model': {'x': Canary(canary)}})
    with pytest.raises(UserError, match=r'could run code, so it was not loaded: export .*safetens'):
        read_checkpoint(str(tmp_path / 'w.pth'))
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))
    assert canary.exists()  # it would have shown


def test_a_pickled_model_is_refused(tmp_path):
    save(tmp_path / 'w.pth', {'model': nn.Linear(2, 2)})
    with pytest.raises(UserError, match='holds pickled Python objects'):
        read_checkpoint(str(tmp_path / 'w.pth'))


def test_reading_leaves_the_list_of_safe_types_as_it_was(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    read_checkpoint(str(save(tmp_path / 'w.pth')))
    assert set(torch.serialization.get_safe_globals()) == before


# Downloads


@pytest.fixture
def server(file_server, tmp_path, monkeypatch):
    """A web server over a folder, and an empty ``TORCH_HOME``."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch_home'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    return file_server


def kept_files(tmp_path):
    return sorted(path.name for path in (tmp_path / 'torch_home').rglob('*') if path.is_file())


def test_a_download_is_kept(server, tmp_path):
    save(server.folder / 'vim.pth')
    for _ in range(2):
        assert_same(read_checkpoint(f'{server.url}/vim.pth?download=true'))
    assert server.requests == [('/vim.pth?download=true', None)]
    assert resolve(f'{server.url}/vim.pth') == tmp_path / 'torch_home/hub/checkpoints/vim.pth'


def test_two_files_of_one_name_stay_two(server, tmp_path):
    for number, folder in enumerate('ab'):
        (server.folder / folder).mkdir()
        torch.save({'x': torch.tensor(number)}, server.folder / folder / 'model.pth')
    for _ in range(2):
        for number, folder in enumerate('ab'):
            assert read_checkpoint(f'{server.url}/{folder}/model.pth')['x'] == number
    assert len(server.requests) == 2
    assert len([name for name in kept_files(tmp_path) if name.endswith('.pth')]) == 2


def test_addresses_that_differ_in_what_they_ask_for_are_two_files(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))
    monkeypatch.setattr(reading, 'download', lambda url, path: path.write_text(url))
    drive = 'https://drive.google.com/uc?export=download&id='
    paths = [resolve(f'{drive}{number}') for number in (1, 2, 1)]
    assert paths[0] == paths[2] == tmp_path / 'checkpoints/uc'
    assert paths[0] != paths[1]
    signed = 'https://a.org/w.pth?v=1&X-Amz-Signature={0}&Expires={0}&sig={0}&se={0}&token={0}'
    assert len({resolve(signed.format(number)) for number in (1, 2)}) == 1
    assert len({resolve(f'https://a.org/x.pth{end}') for end in ('', '?download=true', '#a')}) == 1


def test_a_file_of_an_address_without_a_question_is_found_again(server, tmp_path):
    """Under the names that earlier versions gave."""
    folder = tmp_path / 'torch_home/hub/checkpoints'
    folder.mkdir(parents=True)
    (folder / 'vim.pth.url').write_text('https://elsewhere.org/vim.pth')
    digest = hashlib.sha256(f'{server.url}/vim.pth'.encode()).hexdigest()[:8]
    save(folder / f'vim-{digest}.pth')
    assert_same(read_checkpoint(f'{server.url}/vim.pth'))
    assert not server.requests


def test_of_two_processes_that_want_files_of_one_name_one_gets_the_name(tmp_path):
    path = tmp_path / 'model.pth'
    assert [reading._claim(path, url) for url in ('a', 'b', 'a')] == [True, False, True]
    assert len(list(tmp_path.iterdir())) == 1


def test_they_ask_for_it_at_the_same_time_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOTSUP, 'Operation not supported')

    monkeypatch.setattr(os, 'link', refuse)
    urls = [f'https://{letter}.org/model.pth' for letter in 'abcdefgh']
    with ThreadPoolExecutor(len(urls)) as pool:
        claimed = list(pool.map(lambda url: reading._claim(tmp_path / 'model.pth', url), urls))
    assert claimed.count(True) == 1


def test_a_file_that_somebody_put_there_is_taken(server, tmp_path):
    folder = tmp_path / 'torch_home/hub/checkpoints'
    folder.mkdir(parents=True)
    save(folder / 'vim.pth')
    assert_same(read_checkpoint(f'{server.url}/vim.pth'))
    assert kept_files(tmp_path) == ['vim.pth']
    assert not server.requests


@pytest.mark.parametrize('name', ['absent.pth', 'cut.pth'])
def test_a_failing_download_says_what_to_do_and_leaves_no_checkpoint(server, tmp_path, name):
    (server.folder / 'cut.pth').write_bytes(bytes(100_000))
    server.bytes_per_answer = 1000
    with pytest.raises(UserError, match=f'cannot download {server.url}/{name}') as error:
        read_checkpoint(f'{server.url}/{name}')
    kept = tmp_path / 'torch_home/hub/checkpoints' / name
    assert f'put it at {kept}, or name a local path' in str(error.value)
    assert '--cfg-options model.backbone.module.init_cfg.checkpoint=FILE' in str(error.value)
    assert '\n' not in str(error.value)
    assert name not in kept_files(tmp_path)


def test_a_server_that_does_not_answer(server, tmp_path):
    with pytest.raises(UserError, match=r'cannot download http://127\.0\.0\.1:9/w\.pth \('):
        read_checkpoint('http://127.0.0.1:9/w.pth')
    assert kept_files(tmp_path) == []


def test_a_damaged_download_says_where_it_lies(server, tmp_path):
    (server.folder / 'page.pth').write_text('<html>log in first</html>')
    with pytest.raises(UserError, match=r'hub/checkpoints/page\.pth .* not a checkpoint'):
        read_checkpoint(f'{server.url}/page.pth')


# Strict loading


def test_all_problems_are_named_in_one_line():
    given = {'weight': torch.zeros(3, 2), 'other': torch.zeros(1), 'head.x': torch.zeros(1)}
    with pytest.raises(UserError) as error:
        load_strictly(nn.Linear(2, 2), given, 'FILE', ignore_prefixes=('head.',))
    assert str(error.value).startswith(
        'FILE does not fit Linear: missing bias; unexpected other; weight is (3, 2), '
        'expected (2, 2). '
    )


def test_keys_are_ignored_by_prefix_alone():
    layer = nn.Linear(2, 2)
    given = {key: tensor + 1 for key, tensor in layer.state_dict().items()}
    with pytest.raises(UserError, match=re.escape('unexpected head.x')):
        load_strictly(layer, given | {'head.x': torch.zeros(1)}, 'FILE')
    load_strictly(layer, given | {'head.x': torch.zeros(1)}, 'FILE', ('head.',))
    assert_same(layer.state_dict(), given)


# Fingerprints


def make_store(**tensors):
    """A module that holds tensors as buffers."""
    store = nn.Module()
    for name, tensor in tensors.items():
        store.register_buffer(name, tensor)
    return store


def make_tensors():
    return {
        'small': torch.linspace(-1, 1, 6).bfloat16().reshape(2, 3),
        'single': torch.linspace(-1, 1, 4).reshape(4, 1),
        'count': torch.tensor(3),
    }


def test_fingerprint_depends_on_the_weights_alone():
    first = fingerprint(make_store(**make_tensors()).state_dict())
    assert fingerprint(make_store(**make_tensors()).state_dict()) == first
    assert re.fullmatch('[0-9a-f]{64}', first)
    reordered = dict(reversed(make_tensors().items()))
    assert fingerprint(make_store(**reordered).state_dict()) == first
    transposed = make_tensors()
    transposed['small'] = transposed['small'].T.contiguous().T
    assert fingerprint(make_store(**transposed).state_dict()) == first


def test_fingerprint_changes_with_any_bit():
    expected, seen = fingerprint(make_store(**make_tensors()).state_dict()), set()
    for name, tensor in make_tensors().items():
        for bit in range(tensor.numel() * tensor.element_size() * 8):
            tensors = make_tensors()
            tensors[name].view(-1).view(torch.uint8)[bit // 8] ^= 1 << bit % 8
            seen.add(fingerprint(make_store(**tensors).state_dict()))
    assert len(seen) == 6 * 16 + 4 * 32 + 64
    assert expected not in seen


@pytest.mark.parametrize(
    'change',
    [
        lambda tensors: {**tensors, 'more': torch.zeros(0)},
        lambda tensors: {('sing1e' if k == 'single' else k): v for k, v in tensors.items()},
        lambda tensors: {**tensors, 'single': tensors['single'].T},
        lambda tensors: {**tensors, 'single': tensors['single'].view(torch.int32)},
    ],
    ids=['one more', 'name', 'shape', 'dtype'],
)
def test_fingerprint_changes_with_names_shapes_and_dtypes(change):
    changed = fingerprint(make_store(**change(make_tensors())).state_dict())
    assert changed != fingerprint(make_store(**make_tensors()).state_dict())


DEIT = 'deit_small_patch16_224-cd65a155.pth'


@pytest.mark.parametrize('folder', ['', 'http://127.0.0.1:9/'], ids=['path', 'address'])
def test_missing_weights_say_the_hash_that_their_authors_state(folder, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(UserError, match='the SHA-256 of its content begins with cd65a155') as error:
        read_checkpoint(f'{folder}{DEIT}')
    assert '--cfg-options model.backbone.module.init_cfg.checkpoint=FILE' in str(error.value)
    assert '\n' not in str(error.value)


def test_a_published_file_has_the_hash_that_its_authors_state(tmp_path, monkeypatch):
    path = save(tmp_path / DEIT)
    with pytest.raises(UserError, match=r'its SHA-256 begins with [0-9a-f]{8}, .* state cd65a155'):
        read_checkpoint(str(path))
    assert_same(read_checkpoint(str(path.rename(tmp_path / 'mine.pth'))))
    path = save(tmp_path / DEIT)
    monkeypatch.setattr(published_hashes, 'HASHES', {DEIT: sha256_of(path)[:8]})
    assert_same(read_checkpoint(str(path)))


def test_hashes_are_those_of_the_configs():
    """torch's habit: a file's name ends in the beginning of its SHA-256."""
    text = ''.join(path.read_text() for path in (CONFIGS / '_base_' / 'models').glob('*.py'))
    named = dict(re.findall(r'/([\w.]+-([0-9a-f]{8})\.pth)', text))
    assert named == dict(published_hashes.HASHES)
