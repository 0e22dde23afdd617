"""Planted defects: each is found, where it is, and nowhere else."""

import re
import shutil
from pathlib import Path

import pytest
from helpers import run_tool
from PIL import Image
from vtab_tree import SPLIT_SIZES, TASKS, make_tree

from memba_vision.datasets.mini_vtab.write import ensure_task
from memba_vision.datasets.vtab1k_tools.check import Settings, check_tree
from memba_vision.datasets.vtab1k_tools.findings import as_text
from memba_vision.errors import UserError

SETTINGS = Settings(split_sizes=SPLIT_SIZES)
QUICK = Settings(decode=False, split_sizes=SPLIT_SIZES)


@pytest.fixture(scope='module')
def intact(tmp_path_factory) -> Path:
    """The tree as it should be; not to be changed."""
    return make_tree(tmp_path_factory.mktemp('tree') / 'vtab-1k')


@pytest.fixture
def tree(intact, tmp_path) -> Path:
    return shutil.copytree(intact, tmp_path / 'vtab-1k')


def check(root: Path, settings: Settings = SETTINGS) -> dict:
    return {report.task.name: report for report in check_tree(root, TASKS, settings)}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# Each plants one defect in the task svhn, or in the folder that is given.


def task_folder_missing(folder):
    shutil.rmtree(folder)


def list_missing(folder):
    (folder / 'val200.txt').unlink()


def list_too_short(folder):
    lines = (folder / 'test.txt').read_text().splitlines(True)
    (folder / 'test.txt').write_text(''.join([lines[0], lines[2]]))


def line_unparsable(folder):
    edit(folder / 'train800.txt', '000001.png 3', '000001.png')


def label_out_of_range(folder):
    edit(folder / 'train800.txt', '000003.png 9', '000003.png 10')


def labels_shifted(folder):
    for path in folder.glob('*.txt'):
        path.write_text(path.read_text().replace(' 0\n', ' 1\n'))


def image_missing(folder):
    (folder / 'images/test/000001.png').unlink()


def image_truncated(folder):
    path = folder / 'images/train800/000002.png'
    path.write_bytes(path.read_bytes()[:60])


def image_empty(folder):
    (folder / 'images/val200/000000.png').write_bytes(b'')


def image_is_a_web_page(folder):
    (folder / 'images/val200/000000.png').write_text('<html>quota exceeded</html>')


def train_image_in_test(folder):
    shutil.copy(folder / 'images/train800/000000.png', folder / 'images/test/000002.png')


def lists_disagree(folder):
    edit(folder / 'train800val200.txt', 'train800/000001.png 3', 'train800/000001.png 2')


def image_listed_twice(folder):
    edit(folder / 'test.txt', 'test/000001.png', 'test/000000.png')


def path_leads_out(folder):
    edit(folder / 'test.txt', 'images/test/000001', '../kitti/images/test/000001')


def path_is_absolute(folder):
    edit(folder / 'test.txt', 'images/test/000001', '/etc/images/000001')


DEFECTS = {
    task_folder_missing: ('missing', 'there is no folder .*svhn'),
    list_missing: ('missing', r'there is no list .*svhn/val200\.txt'),
    list_too_short: ('wrong', r'test\.txt lists 2 images, expected 3'),
    line_unparsable: ('wrong', r'train800\.txt, line 2: expected "relative/path label"'),
    label_out_of_range: ('wrong', r'train800\.txt, line 4: label 10 is outside'),
    labels_shifted: ('wrong', 'labels run from 1 to 9, expected 0 to 9'),
    image_missing: ('missing', r'1 listed image\(s\) do not exist, such as .*test/000001\.png'),
    image_truncated: ('wrong', r'1 image\(s\) cannot be read, .*train800/000002\.png'),
    image_empty: ('wrong', r'val200/000000\.png \(the file is empty\)'),
    image_is_a_web_page: ('wrong', r'val200/000000\.png \(no image of a known format\)'),
    train_image_in_test: ('wrong', r'1 training image\(s\) are in the test set too'),
    lists_disagree: ('wrong', r'train800val200\.txt differs .* in 1 image'),
    image_listed_twice: ('wrong', r'test\.txt lists 1 image\(s\) more than once'),
    path_leads_out: ('wrong', r'files outside the folder .*\.\./kitti'),
    path_is_absolute: ('wrong', r'files outside the folder .*/etc/images'),
}


def test_the_intact_tree_is_right_and_stays_so(tree):
    for state in ('written', 'verified'):
        reports = check(tree)
        assert len(reports) == 19
        assert all(not report.findings for report in reports.values())
        assert {report.manifest for report in reports.values()} == {state}
        assert all(report.formats == {'PNG': 9} for report in reports.values())
    text = as_text(list(reports.values()))
    assert re.search(r'^svhn +9  PNG 9 +verified +right$', text, re.M)
    assert text.endswith('19 of 19 tasks are right\n')


@pytest.mark.parametrize('plant', DEFECTS, ids=lambda plant: plant.__name__)
def test_a_planted_defect_is_found(tree, plant):
    plant(tree / 'svhn')
    level, text = DEFECTS[plant]
    reports = check(tree)
    assert {name for name, report in reports.items() if report.verdict != 'right'} == {'svhn'}
    assert any(f.level == level and re.search(text, f.text) for f in reports['svhn'].findings)
    assert all(finding.advice for finding in reports['svhn'].findings)
    assert not (tree / 'svhn/manifest.sha256').exists(), 'a faulty task got a manifest'
    assert '18 of 19 tasks are right, 1' in as_text(list(reports.values()))


def change_a_pixel(folder):
    path = folder / 'images/test/000001.png'
    image = Image.open(path).copy()
    image.putpixel((0, 0), (1, 2, 3))
    image.save(path)


def add_an_image(folder):
    shutil.copy(folder / 'images/test/000001.png', folder / 'images/test/new.png')
    edit(folder / 'test.txt', 'test/000001.png', 'test/new.png')


@pytest.mark.parametrize(
    ('plant', 'texts'),
    [
        (change_a_pixel, [r'1 file\(s\) changed since .*manifest\.sha256 .*test/000001\.png']),
        (add_an_image, ['file.s. changed', 'file.s. vanished', 'file.s. were added']),
        (image_missing, ['do not exist', r'1 file\(s\) vanished']),
    ],
)
def test_what_changed_since_the_manifest_is_found(tree, plant, texts):
    check(tree)
    plant(tree / 'svhn')
    for settings in (SETTINGS, QUICK):
        report = check(tree, settings)['svhn']
        assert report.manifest == 'differs'
        assert all(any(re.search(text, f.text) for f in report.findings) for text in texts)


def test_names_of_classes_that_were_swapped_are_found(tree):
    check(tree)
    (tree / 'svhn/classes.txt').write_text('a\nb\n')
    assert check(tree)['svhn'].manifest == 'verified', 'older manifests say nothing of it'
    check(tree, Settings(renew=True, split_sizes=SPLIT_SIZES))
    (tree / 'svhn/classes.txt').write_text('b\na\n')
    (finding,) = check(tree)['svhn'].findings
    assert re.search(r'1 file\(s\) changed since .*such as classes\.txt', finding.text)


def test_a_change_can_be_accepted(tree):
    check(tree)
    change_a_pixel(tree / 'svhn')
    renewed = Settings(renew=True, split_sizes=SPLIT_SIZES)
    assert check(tree, renewed)['svhn'].manifest == 'written'
    assert check(tree)['svhn'].verdict == 'right'


def test_a_damaged_manifest_is_told(tree):
    check(tree)
    (tree / 'svhn/manifest.sha256').write_text('not a hash\n')
    assert 'manifest.sha256, line 1: expected' in check(tree)['svhn'].findings[0].text


def test_quick_does_not_decode_but_sees_what_is_no_image(tree):
    image_truncated(tree / 'svhn')
    image_is_a_web_page(tree / 'dtd')
    reports = check(tree, QUICK)
    assert {name for name, report in reports.items() if report.verdict != 'right'} == {'dtd'}


def to_jpeg(folder: Path) -> None:
    for path in folder.rglob('*.png'):
        Image.open(path).copy().save(path, format='JPEG')


def test_lossy_copies_of_lossless_originals_are_noted(tree):
    to_jpeg(tree / 'svhn')
    to_jpeg(tree / 'dtd')
    reports = check(tree)
    assert reports['svhn'].formats == reports['dtd'].formats == {'JPEG (lossy)': 9}
    assert [(f.level, f.text) for f in reports['svhn'].findings] == [
        ('note', '9 of 9 images are lossy, the original ones are not')
    ]
    assert not reports['dtd'].findings, 'its originals are JPEG'
    assert reports['svhn'].verdict == 'right'


def test_a_few_twins_in_dsprites_are_normal(tree, monkeypatch):
    train_image_in_test(tree / 'dsprites_ori')
    assert check(tree)['dsprites_orientation'].verdict == 'wrong'
    monkeypatch.setattr('memba_vision.datasets.vtab1k_tools.check.SHARE_OF_TWINS', 0.2)
    report = check(tree)['dsprites_orientation']
    assert [finding.level for finding in report.findings] == ['note']


def test_a_folder_too_deep_or_too_high(tree):
    with pytest.raises(UserError, match=f'holds no task, but {tree} does'):
        check(tree.parent)
    with pytest.raises(UserError, match=r'vtab-1k does'):
        check(tree / 'svhn')
    with pytest.raises(UserError, match='no folder'):
        check(tree / 'nowhere')


def test_a_folder_that_cannot_be_written_is_checked_all_the_same(tree, monkeypatch):
    def refuse(*_):
        raise PermissionError('read-only')

    monkeypatch.setattr('memba_vision.datasets.vtab1k_tools.check.write_manifest', refuse)
    report = check(tree)['svhn']
    assert (report.verdict, report.manifest) == ('right', 'not written')


def test_the_tool_says_what_is_wrong(tree):
    outcome = run_tool('prepare_vtab1k', 'check', tree, '--jobs', 1)
    assert outcome.status == 1
    assert 'svhn/train800.txt lists 4 images, expected 800' in outcome.out
    assert '0 of 19 tasks are right, 19 wrong' in outcome.out
    error = run_tool('prepare_vtab1k', 'check', tree, '--tasks', 'svnh').error()
    assert "did you mean 'svhn'" in error


def test_the_tool_passes_a_whole_task_in_several_processes(tmp_path):
    ensure_task(tmp_path, 'digits')
    arguments = ['check', tmp_path, '--tasks', 'digits', '--jobs', 2]
    first, second = (run_tool('prepare_vtab1k', *arguments) for _ in range(2))
    assert (first.status, second.status) == (0, 0), first.out
    assert re.search(r'^digits +1,797  PNG 1,797 +verified +right$', second.out, re.M)
