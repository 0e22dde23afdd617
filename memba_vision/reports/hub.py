"""Sharing of a trained model: a folder of it, and a repository of the Hugging Face Hub."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mmengine.config import Config
from torch import nn

from memba_vision.errors import UserError
from memba_vision.files import check_output_path, escape_surrogates, write_atomically
from memba_vision.models.modules.patches import input_size
from memba_vision.reports.model_card import SharedModel, model_card
from memba_vision.runs.backbone import shipped_name
from memba_vision.runs.checkpoints import find_checkpoint
from memba_vision.serving.inference import Inferencer
from memba_vision.serving.predict import load_trained
from memba_vision.serving.shared import ABOUT, ADAPTER, About, from_pretrained, hub_errors
from memba_vision.weights.licences import licence_of
from memba_vision.zoo.adapter_files import result_of, write_adapter

CARD = 'README.md'
TOLERANCE = 1e-4  # of a probability, between a model and what is read of its folder


def save_pretrained(
    run: str | Path, folder: str | Path, licence: str | None = None, repository: str | None = None
) -> Path:
    """Write a folder with all that others need of a trained model, but for the backbone's weights.

    It gets ``adapter.safetensors``, ``memba_vision.json`` and a model card, ``README.md``, and is
    read again: its answers have to be those of the run.

    Args:
        run: its folder, or a checkpoint of it.
        folder: the folder, made if there is none; files of these names are replaced.
        licence: of adapters and head, by the Hub's names, as 'cc-by-4.0'; None takes that of the
            backbone's weights.
        repository: of the Hub, for the examples on the card.

    Returns:
        The folder.

    Raises:
        UserError: there is no checkpoint of adapters, or its images are prepared otherwise than
            those of the shipped models.
    """
    folder, checkpoint = Path(folder), find_checkpoint(run)
    trained = load_trained(checkpoint)
    check_output_path(folder / ADAPTER)
    info = write_adapter(str(checkpoint), folder / ADAPTER)
    config = trained._config
    module = config.model.backbone.module
    about = About(
        backbone=shipped_name(config),
        image_size=module.get('img_size') or input_size(trained.backbone.module),
        classes=trained._dataset_meta.get('classes'),
    )
    write_atomically(folder / ABOUT, about.text().encode())
    if about.backbone:
        _compare(trained, from_pretrained(folder), run)
    result, base_licence = result_of(checkpoint), _base_licence(config)
    model = SharedModel(about, info, result, base_licence, licence, repository)
    write_atomically(folder / CARD, escape_surrogates(model_card(model)).encode())
    return folder


def push_to_hub(
    run: str | Path,
    repository: str,
    licence: str | None = None,
    private: bool = False,
    token: str | None = None,
) -> str:
    """Share a trained model on the Hugging Face Hub, and return its address there.

    Args:
        run: its folder, or a checkpoint of it.
        repository: ``OWNER/NAME``, made if there is none; its files of the same names are replaced.
        licence: see :func:`save_pretrained`.
        private: into a repository that its owner alone sees; a public one of that name is refused.
        token: of the Hub; None takes the one that ``hf auth login`` has kept.

    Raises:
        UserError: see :func:`save_pretrained`; or the Hub refuses it.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=token, library_name='memba_vision')
    with TemporaryDirectory() as folder:
        save_pretrained(run, folder, licence, repository)
        files = [CommitOperationAdd(path.name, path) for path in sorted(Path(folder).iterdir())]
        with hub_errors(f'cannot push to {repository} on the Hugging Face Hub'):
            address = api.create_repo(repository, private=private or None, exist_ok=True)
            is_public = private and not api.repo_info(address.repo_id).private
            if is_public:
                raise UserError(f'{repository} is public already: give another name')
            message = 'Share a model that memba_vision adapted'
            api.create_commit(address.repo_id, files, commit_message=message)
    return str(address)


def _base_licence(config: Config) -> str | None:
    """Return the licence of the backbone's weights, if it is known."""
    init = config.model.backbone.module.get('init_cfg') or {}
    return licence_of(str(init.get('checkpoint')))


def _compare(trained: nn.Module, read: nn.Module, run: str | Path) -> None:
    """Raise a UserError where what was read of the folder answers otherwise than the run."""
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    answers = [Inferencer(model)(image)[0]['pred_scores'] for model in (trained, read)]
    if np.abs(answers[0] - answers[1]).max() > TOLERANCE:
        raise UserError(
            f'{run} answers otherwise than what is read of its folder: its images are prepared '
            'otherwise than in configs/_base_/datasets, or its neck or head is another, which a '
            'shared folder cannot say'
        )
