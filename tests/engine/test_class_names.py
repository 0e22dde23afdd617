"""Names of classes are compared by what they say, label by label."""

import pytest

from memba_vision.engine.class_names import (
    check_names,
    check_number,
    class_names,
    describe_difference,
)
from memba_vision.errors import UserError

HELD = ['bright', 'café', 'dark']


@pytest.mark.parametrize(
    'wanted',
    [HELD, tuple(HELD), ['\ufeffbright', 'café', 'dark'], ['bright\r', 'cafe\u0301', ' dark']],
)
def test_the_same_names(wanted):
    assert check_names(HELD, wanted, 'x') == ''


@pytest.mark.parametrize(
    ('wanted', 'expected'),
    [
        (['bright', 'café', 'dusk'], "label 2 was 'dark' and is 'dusk'."),
        (['abyss', 'bright', 'café'], "label 0 was 'bright' and is 'abyss'; label 1 was 'café'"),
        (['bright', 'dark', 'café'], "label 1 was 'café' and is 'dark'; label 2 was 'dark'"),
        (['bright', 'café', 'dark', 'new'], "label 3 was no class and is 'new'"),
        (['bright', 'café'], "label 2 was 'dark' and is no class"),
    ],
    ids=['renamed', 'renamed and moved', 'another order', 'added', 'left out'],
)
def test_other_names_are_told_label_by_label(wanted, expected):
    only_renamed = set(wanted) & {'dusk'}
    with pytest.raises(UserError) as error:
        check_names(HELD, wanted, 'the classes of a and b')
    assert f'the classes of a and b are not the same: {expected}' in str(error.value)
    assert ('--renamed-classes' in str(error.value)) == bool(only_renamed)
    if only_renamed:
        assert 'dusk' in check_names(HELD, wanted, 'x', renamed=True)
    else:
        with pytest.raises(UserError, match='train anew'):
            check_names(HELD, wanted, 'x', renamed=True)


def test_two_classes_of_one_name_have_not_moved():
    assert check_names(['crane', 'a', 'crane'], ['crane', 'b', 'crane'], 'x', renamed=True)


def test_of_many_differences_a_few_are_listed():
    text = describe_difference([str(n) for n in range(100)], [f'c{n}' for n in range(100)], 'x')
    assert "label 4 was '4' and is 'c4' and 95 more" in text
    assert 'label 5 ' not in text


@pytest.mark.parametrize('meta', [{}, {'dataset_meta': None}, {'dataset_meta': {'classes': {}}}])
def test_a_checkpoint_without_names_has_numbers(meta):
    assert class_names(meta, 2, 'x') == ['0', '1']


@pytest.mark.parametrize('number', [1, 3])
def test_a_name_for_each_output(number):
    with pytest.raises(UserError, match=f'x names 2 classes, but the head has {number} outputs'):
        check_number(['a', 'b'], number, 'x')
    with pytest.raises(UserError, match='x names 2 classes'):
        class_names({'dataset_meta': {'classes': ('a', 'b')}}, number, 'x')
