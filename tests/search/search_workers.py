"""Workers of one search in processes of their own, whose trainings take a moment."""

import time
from dataclasses import replace
from pathlib import Path

from processes import CONTEXT

from memba_vision.search import search as searching
from memba_vision.search.search import Search, search
from memba_vision.search.study import open_study

NUMBER = 3  # of workers


def work_at_once(task: Search) -> None:
    """Start workers at one moment, which train the default once and end at the number of trials."""
    ready = CONTEXT.Barrier(NUMBER)
    tasks = [replace(task, seed=seed) for seed in range(NUMBER)]
    workers = [CONTEXT.Process(target=_work, args=(each, ready)) for each in tasks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * NUMBER
    trained = (task.folder / 'trained').read_text().splitlines()
    study = open_study(task.storage, f'{task.name}/settings', task.pruner, task.trial_epochs)
    defaults = [trial for trial in study.get_trials() if trial.user_attrs.get('default')]
    of_default = {f'settings_{trial.number:03d}' for trial in defaults}
    assert len(of_default & set(trained)) == 1
    assert len(trained) == len(set(trained)) <= task.trials
    for number in range(NUMBER):
        assert (task.folder / f'ended_{number}').read_text() == str(task.trials)


def _work(task: Search, ready) -> None:
    def run(config, report, beat):
        with open(task.folder / 'trained', 'a') as file:
            file.write(f'{Path(config.work_dir).name}\n')
        time.sleep(0.1)
        beat()
        return 50.0 + config.model.backbone.rank

    searching.run_trial, searching.POLL = run, 0.1
    task.folder.mkdir(exist_ok=True)
    ready.wait()
    found = search(task)
    (task.folder / f'ended_{task.seed}').write_text(str(len(found)))
