from collections import Counter

import pytest

from memba_vision.datasets.tasks import (
    MINI1_TASKS,
    MINI2_TASKS,
    MINI_TASKS,
    VTAB1K_TASKS,
    find_task,
    num_classes,
)
from memba_vision.errors import UserError


def test_vtab1k_has_the_published_tasks():
    tasks = VTAB1K_TASKS.values()
    assert len(tasks) == 19
    assert Counter(task.group for task in tasks) == {
        'Natural': 7,
        'Specialized': 4,
        'Structured': 8,
    }
    assert sum(task.num_test for task in tasks) == 387_904
    assert sum(task.num_classes for task in tasks) == 940


def test_mini_vtab_has_the_groups_of_vtab1k():
    groups = Counter(task.group for task in MINI2_TASKS.values())
    assert groups == {'Natural': 3, 'Specialized': 2, 'Structured': 4}
    assert [*MINI_TASKS] == [*MINI1_TASKS, *MINI2_TASKS]
    assert all(task.meaning for task in MINI2_TASKS.values())


def test_keys_are_names_and_folders_differ():
    for tasks in (VTAB1K_TASKS, MINI_TASKS):
        assert [task.name for task in tasks.values()] == list(tasks)
        assert len({task.folder for task in tasks.values()}) == len(tasks)
    assert not VTAB1K_TASKS.keys() & MINI_TASKS.keys()


def test_find_task_looks_in_both_tables():
    assert find_task('clevr_distance').folder == 'clevr_dist'
    assert find_task('digits') is MINI_TASKS['digits']
    assert num_classes('sun397') == 397


def test_find_task_suggests_the_closest_name_and_lists_all():
    with pytest.raises(
        UserError, match=r"unknown task 'cifar10'.*did you mean 'cifar100'"
    ) as error:
        find_task('cifar10')
    assert all(name in str(error.value) for name in VTAB1K_TASKS | MINI_TASKS)
    assert '\n' not in str(error.value)


def test_find_task_without_a_close_name():
    with pytest.raises(UserError) as error:
        num_classes('zzz')
    assert 'did you mean' not in str(error.value)


def test_find_task_in_one_table():
    with pytest.raises(UserError, match='cifar100'):
        find_task('cifar100', MINI_TASKS)
