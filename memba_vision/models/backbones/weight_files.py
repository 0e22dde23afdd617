"""Files of weights of a family of backbones: the names in them, loading, and being strict."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from mmengine.logging import print_log
from mmengine.model import PretrainedInit, initialize
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.backbones.arch_check import check_arch
from memba_vision.weights import (
    ADAPTER_HEADER,
    BESIDE_THE_BACKBONE,
    HEADS,
    MissingWeights,
    StoredWeights,
    check_fit,
    load_strictly,
    read_weights,
    source_of,
    under_names,
)

#: Settings of ``type='Pretrained'``; mmengine's ``map_location`` changes nothing, since tensors go
#: to where the backbone is.
_SETTINGS = ('type', 'checkpoint', 'prefix', 'key', 'map_location')


def check_pretrained(entry: Mapping[str, Any]) -> None:
    """Raise a UserError where an entry of ``init_cfg`` that names a file has unknown settings."""
    if unknown := [name for name in entry if name not in _SETTINGS]:
        known = ', '.join(_SETTINGS)
        raise UserError(f'init_cfg has unknown {", ".join(unknown)}; known are {known}')


class WeightFiles:
    """Files of weights of a family; a subclass overrides the steps in which its files differ."""

    #: Names in every file, by which a prefix of all names is found.
    anchors: ClassVar[tuple[str, ...]] = ()
    #: Beginnings of names that look like a head's and are the backbone's.
    kept: ClassVar[tuple[str, ...]] = ()

    def rename(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the tensors under the names of today's files."""
        return dict(tensors)

    def check(self, stored: StoredWeights) -> None:
        """Raise a UserError where a file is of something that the family does not compute."""

    def fit(
        self, backbone: nn.Module, tensors: Mapping[str, torch.Tensor], source: str
    ) -> dict[str, torch.Tensor]:
        """Return the tensors in the shapes that ``backbone`` has, where they can be brought there.

        Raises:
            UserError: they are of another arch, which the message names.
        """
        found = self.arch_of(tensors)
        if found:
            check_arch(backbone, found, source)
        return dict(tensors)

    def arch_of(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
        """Return the settings of the arch that weights are of, as their names and shapes tell.

        None stands for weights that tell nothing, or not enough.
        """

    def read(
        self, location: str, prefix: str | None = None, key: str | None = None
    ) -> StoredWeights:
        """Read weights under the official names, with any prefix of all names in the file.

        A head that is one linear layer comes along as ``head.weight`` and ``head.bias``.

        Args:
            location: see :func:`memba_vision.weights.resolve`.
            prefix: see :func:`memba_vision.weights.read_weights`.
            key: see there.

        Raises:
            UserError: the file cannot be read, or is not of this family.
        """
        stored = read_weights(location, prefix, key)
        self.check(stored)
        return replace(stored, tensors=self.official_names(stored.tensors, location))

    def load(self, backbone: nn.Module, stored: StoredWeights) -> None:
        """Load weights that :meth:`read` returned, strictly.

        Raises:
            UserError: the weights do not fit.
        """
        weights = self.fit(backbone, stored.tensors, stored.source)
        load_strictly(backbone, weights, stored.source, ignore_prefixes=BESIDE_THE_BACKBONE)

    def initialize(self, backbone: nn.Module) -> None:
        """Do as ``backbone.init_cfg`` says: mmengine's initializers first, a file last.

        Args:
            backbone: its ``init_cfg`` is None, a dict or a list of dicts. ``type='Pretrained'``
                has ``checkpoint``, ``prefix`` and ``key`` (see
                :func:`memba_vision.weights.read_weights`).

        Raises:
            UserError: an entry is none of these, or the weights do not fit.
        """
        given = backbone.init_cfg or []
        entries = [given] if isinstance(given, Mapping) else given
        are_dicts = isinstance(entries, list | tuple)
        if not are_dicts or not all(isinstance(e, Mapping) for e in entries):
            raise UserError(f'init_cfg is a dict or a list of dicts, got {given!r}')
        files = [entry for entry in entries if _names_a_file(entry)]
        others = [dict(entry) for entry in entries if not _names_a_file(entry)]
        try:
            if others:
                initialize(backbone, others)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise UserError(f'init_cfg {given}: {" ".join(str(error).split())}') from error
        for entry in files:
            check_pretrained(entry)
            if entry.get('checkpoint') is not None:
                location = str(entry['checkpoint'])
                with _telling_size(backbone):
                    stored = self.read(location, entry.get('prefix'), entry.get('key'))
                self.load(backbone, stored)

    def official_names(
        self, tensors: Mapping[str, torch.Tensor], source: str
    ) -> dict[str, torch.Tensor]:
        """Return the tensors without a shared prefix; a linear head becomes 'head'.

        Other heads are dropped. A neck stays, for the head needs it.

        Raises:
            UserError: two names become one.
        """
        named = self.todays_names(tensors, source)
        heads = self._heads(named)
        body = {n: t for n, t in named.items() if n not in heads}
        return body | _linear_head(heads, source)

    def rename_for_classifier(
        self, state_dict: dict[str, torch.Tensor], prefix: str, local_metadata: dict, *_: Any
    ) -> None:
        """Rename the tensors of a file to their names in an mmpretrain classifier.

        mmpretrain's classifiers call it as the filter of their backbone before they load.

        Args:
            state_dict: of a file of the backbone's or of a classifier; changed in place.
            prefix: of the classifier's names in it.
            local_metadata: says whether it was read from a file.
        """
        source = source_of(local_metadata)
        if source is None or prefix or any(name.endswith(ADAPTER_HEADER) for name in state_dict):
            return
        named = self.todays_names(state_dict, source)
        if not any(name in named for name in self.anchors):
            return
        heads = self._heads(named)
        neck = {n: t for n, t in named.items() if n.startswith('neck.') and n not in self.kept}
        body = {f'backbone.{n}': t for n, t in named.items() if n not in heads and n not in neck}
        if not all(name.startswith('head.') and name.count('.') > 1 for name in heads):
            heads = _linear_head(heads, source)
            heads = {name.replace('head.', 'head.fc.'): tensor for name, tensor in heads.items()}
        state_dict.clear()
        state_dict.update({**body, **neck, **heads})

    def fit_files(
        self,
        backbone: nn.Module,
        state_dict: dict[str, torch.Tensor],
        prefix: str,
        local_metadata: dict,
        *_: Any,
    ) -> None:
        """Check the tensors of a file before mmengine loads them, which would not be strict.

        Args:
            backbone: a hook of which this is.
            state_dict: changed in place: tensors are renamed and brought into shape.
            prefix: of the names of ``backbone`` in it.
            local_metadata: says whether it was read from a file.

        Raises:
            UserError: the weights do not fit.
        """
        source = source_of(local_metadata)
        if source is None:
            return
        own = {k.removeprefix(prefix): t for k, t in state_dict.items() if k.startswith(prefix)}
        for name in own:
            del state_dict[f'{prefix}{name}']
        # Without a prefix, nothing but this backbone is loaded.
        own = self.rename(own) if prefix else self.todays_names(own, source)
        own = self.fit(backbone, own, source)
        state_dict.update({f'{prefix}{name}': tensor for name, tensor in own.items()})
        check_fit(backbone, own, source, ignore_prefixes=BESIDE_THE_BACKBONE)

    def todays_names(
        self, tensors: Mapping[str, torch.Tensor], source: str
    ) -> dict[str, torch.Tensor]:
        """Return the tensors under the names of today's files, without a shared prefix.

        Raises:
            UserError: two names become one.
        """
        return self.rename(under_names(tensors, self.anchors, source))

    def is_beside(self, name: str, beginnings: tuple[str, ...] = BESIDE_THE_BACKBONE) -> bool:
        """Return True for the name of a part beside the backbone, such as a head."""
        return name.startswith(beginnings) and not name.startswith(self.kept or ('\0',))

    def _heads(self, named: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {n: t for n, t in named.items() if self.is_beside(n, HEADS)}


@contextlib.contextmanager
def _telling_size(backbone: nn.Module) -> Iterator[None]:
    """Add the size of a backbone's weights to the error that they are missing."""
    try:
        yield
    except MissingWeights as error:
        values = sum(tensor.numel() for tensor in backbone.state_dict().values())
        raise MissingWeights(
            f'{error}. The file is of {4 * values / 1e6:,.0f} MB or more: {values:,} values'
        ) from error


def _names_a_file(entry: Mapping[str, Any]) -> bool:
    return entry.get('type', 'Pretrained') in ('Pretrained', PretrainedInit)


def _linear_head(heads: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    weights = [n for n, t in heads.items() if n.endswith('.weight') and t.ndim == 2]
    stem = weights[0].removesuffix('weight') if weights else ''
    if not weights or heads.keys() - {f'{stem}weight', f'{stem}bias'}:
        if heads:
            print_log(f'{source}: left aside: {", ".join(heads)}', logger='current')
        return {}
    weight = heads[f'{stem}weight']
    # Zeros are as good as no bias.
    bias = heads.get(f'{stem}bias', torch.zeros(len(weight), dtype=weight.dtype))
    return {'head.weight': weight, 'head.bias': bias}
