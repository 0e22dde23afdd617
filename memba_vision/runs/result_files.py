"""Reading of the file of a run's result, with the backbone that the run's record names."""

import json
from dataclasses import replace
from pathlib import Path

from memba_vision.errors import UserError
from memba_vision.runs.backbone import UNKNOWN, Backbone, backbone_of
from memba_vision.runs.record import read_config
from memba_vision.runs.result import Result


def read_result(path: Path) -> Result:
    """Read the record of one run.

    A record of version 0.1 does not name its backbone: that is what the run's own record says, or
    else a Vim of unknown size.

    Raises:
        UserError: it is not one.
    """
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
        result = Result.from_record(record)
    except (ValueError, TypeError) as error:
        raise UserError(
            f'{path} is not a result of this version: remove it, or test again'
        ) from error
    if 'backbone' in record:
        return result
    return replace(result, backbone=recorded_backbone(path.parent))


def recorded_backbone(folder: Path) -> Backbone:
    """Return the backbone that the record of a run's last start names; unknown without one."""
    try:
        return backbone_of(read_config(folder))
    except (UserError, LookupError, TypeError, AttributeError):
        return UNKNOWN
