"""Result of a run: the metric of its test, with method, task, backbone and seed."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from memba_vision.engine.metric_names import TOP1
from memba_vision.files import sha256_of, write_atomically
from memba_vision.runs.backbone import UNKNOWN, Backbone
from memba_vision.runs.method_names import method_without_settings, spelled_as_preset
from memba_vision.runs.metrics import TEST, Metric

#: In the folder of a run.
RESULT_FILE = 'result.json'


def result_file_of(checkpoint: Path) -> str:
    """Return the name of the file for a checkpoint that is not the one a run ended with."""
    return f'result_{checkpoint.stem}.json'


@dataclass(frozen=True)
class Result:
    """The result of one run, on the test split or on that of a validation.

    Attributes:
        task: the task's name.
        method: the config's name without the task; with the settings that were tried, if any.
        value: of the metric on the split; for top-1 in percent.
        test_images: images it was measured on.
        trained_parameters: adapters and head.
        adapter_parameters: adapters alone.
        seed: of the training; None: unknown, as of an adapter file.
        config: path of the config file.
        checkpoint: path of the checkpoint that was tested; empty where none was saved.
        training_seconds: wall-clock time of the training that led to the weights, over all its
            starts; None: unknown.
        peak_memory_mib: of the training, in MiB: what torch allocated on the GPU, without one the
            resident memory of the process. None: unknown.
        checkpoint_sha256: of that file, which tells it from others of the same name. None:
            unknown.
        backbone: identity of the backbone that was adapted.
        metric: name of the metric.
        higher_is_better: False for a metric such as an error.
        split: the images that it was measured on, 'test' or 'val200'.
        settings: settings that were tried, by key.
    """

    task: str
    method: str
    value: float
    test_images: int
    trained_parameters: int
    adapter_parameters: int
    seed: int | None
    config: str
    checkpoint: str
    training_seconds: float | None = None
    peak_memory_mib: float | None = None
    checkpoint_sha256: str | None = None
    backbone: Backbone = UNKNOWN
    metric: str = TOP1
    higher_is_better: bool = True
    split: str = TEST
    settings: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def top1(self) -> float | None:
        """Top-1 accuracy on the test in percent; None where something else was measured."""
        return self.value if self.measure == Metric() else None

    @property
    def measure(self) -> Metric:
        """The metric, with what is known of it."""
        return Metric(self.metric, self.higher_is_better, self.split)

    @property
    def untried_method(self) -> str:
        """The method without the settings that were tried."""
        return method_without_settings(self.method, self.settings)

    def as_record(self) -> dict[str, Any]:
        """Return the result for JSON, with ``top1`` for those who read older files."""
        record = asdict(self)
        return record if self.top1 is None else {**record, 'top1': self.top1}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> 'Result':
        """Read what :meth:`as_record` returned, also in version 0.1, which knew top-1 alone.

        A method that has a preset is spelled as that is, which older versions did not do.

        Raises:
            TypeError, ValueError: it is no record of a result.
        """
        record = dict(record)
        top1 = record.pop('top1', None)
        record['value'] = float(record.get('value', top1))
        if 'backbone' in record:
            record['backbone'] = Backbone(**record['backbone'])
        result = cls(**record)
        return replace(result, method=spelled_as_preset(result.method, result.settings))

    def save(self, path: Path) -> None:
        """Write the record as JSON."""
        write_atomically(path, (json.dumps(self.as_record(), indent=2) + '\n').encode())

    def is_of(self, checkpoint: Path) -> bool:
        """Return True if ``checkpoint`` is the file that was tested, wherever it lies now."""
        tested = Path(self.checkpoint)
        if tested.name != checkpoint.name:
            return False
        if self.checkpoint_sha256 is None:  # of an older version: the path is all there is
            return tested.is_file() and tested.samefile(checkpoint)
        return sha256_of(checkpoint) == self.checkpoint_sha256

    def line(self) -> str:
        """Return the record in one line, for a log."""
        metric = 'top-1 ' if self.metric == TOP1 else ''
        return (
            f'{self.task}, {self.method}: {self.split} {metric}{self.measure.text(self.value)} of '
            f'{self.test_images:,} images, {self.trained_parameters:,} trained parameters'
        )
