"""Made-up runs, on the disk as the tools leave them."""

import json
from pathlib import Path

from memba_vision.datasets.tasks import VTAB1K_TASKS
from memba_vision.runs.result import RESULT_FILE, Result


def make_result(method='memba', task='digits', seed=0, top1=90.0, **others) -> Result:
    settings = dict(
        test_images=797,
        trained_parameters=74_698,
        adapter_parameters=73_728,
        config='digits_memba.py',
        checkpoint='epoch_20.pth',
    )
    return Result(task=task, method=method, seed=seed, value=top1, **(settings | others))


def save_runs(folder: Path, results: list[Result], epochs: int = 3) -> Path:
    """Write each result, and a log, into a folder of its own."""
    for result in results:
        name = f'{result.task}_{result.method}_seed{result.seed}'
        result.save(folder / name / RESULT_FILE)
        write_log(folder / name, '20260101_000000', {e: 2.0 / e for e in range(1, epochs + 1)})
    return folder


def write_log(folder: Path, start: str, losses: dict[int, float]) -> Path:
    path = folder / start / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    lines = [json.dumps({'loss': loss, 'epoch': epoch}) for epoch, loss in losses.items()]
    path.write_text('\n'.join(lines) + '\n')
    return path


def plan(folder: Path, methods, tasks, seeds) -> None:
    """The plan of a sweep."""
    runs = [
        dict(
            name=f'{task}_{method}_seed{seed}',
            config=f'configs/{task}_memba.py',
            method=method,
            task=task,
            seed=seed,
        )
        for task in tasks
        for method in methods
        for seed in seeds
    ]
    folder.mkdir(exist_ok=True)
    (folder / 'sweep.json').write_text(json.dumps({'runs': runs, 'options': {}}))


def set_status(folder: Path, name: str, state: str, message: str = '', tries: int = 1) -> None:
    (folder / name).mkdir(exist_ok=True)
    status = dict(state=state, message=message, tries=tries)
    (folder / name / 'status.json').write_text(json.dumps(status))


def with_group_means(natural: float, specialized: float, structured: float) -> dict[str, float]:
    """An accuracy for each of the 19 tasks, spread around the means of their groups."""
    wanted = {'Natural': natural, 'Specialized': specialized, 'Structured': structured}
    accuracies = {}
    for group, mean in wanted.items():
        tasks = [name for name, task in VTAB1K_TASKS.items() if task.group == group]
        middle = (len(tasks) - 1) / 2
        accuracies |= {name: mean + 0.5 * (i - middle) for i, name in enumerate(tasks)}
    return accuracies
