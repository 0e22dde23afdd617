"""A tracker that keeps in memory all that it gets, and refuses it where others lose it."""

from typing import Any, ClassVar

from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend


@VISBACKENDS.register_module()
class RecordingVisBackend(BaseVisBackend):
    """Every run of it is in ``runs``: its config's work_dir, what it was given, and its ends."""

    runs: ClassVar[list['RecordingVisBackend']] = []

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir)
        self.scalars, self.closed, self.work_dir = {}, 0, None
        self.runs.append(self)

    def _init_env(self) -> None:
        raise AssertionError('nothing is to be set up')

    def add_config(self, config: Any, **kwargs: Any) -> None:
        self.work_dir = config.work_dir

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        self.add_scalars({name: value}, step)

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path=None, **kwargs: Any) -> None:
        assert not self.closed, f'{scalar_dict} comes when the tracker is closed'
        for name, value in scalar_dict.items():
            self.scalars.setdefault(name, []).append((step, float(value)))

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        raise AssertionError('nothing draws')

    def add_graph(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError('nothing draws')

    @property
    def experiment(self) -> 'RecordingVisBackend':
        return self

    def close(self) -> None:
        self.closed += 1


#: As docs/track_and_log.md adds a tracker.
RECORDING = {'visualizer.vis_backends+': {'type': 'RecordingVisBackend'}}
