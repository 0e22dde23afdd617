"""Model card: a page on a shared model, with the fields that the Hugging Face Hub reads."""

from dataclasses import dataclass

from memba_vision.models.peft.adapter_files import AdapterInfo
from memba_vision.reports.shares import wilson_interval
from memba_vision.reports.text_tables import markdown_table
from memba_vision.runs.result import Result
from memba_vision.serving.shared import ABOUT, ADAPTER, HUB, About

#: The Hub's names of licences, by the beginning of ours.
HUB_LICENCES = {'Apache-2.0': 'apache-2.0', 'MIT': 'mit', 'CC-BY-NC-SA-4.0': 'cc-by-nc-sa-4.0'}
NAMED = 30  # classes
EXAMPLE = 'OWNER/NAME'


@dataclass(frozen=True)
class SharedModel:
    """Facts of a model that is shared.

    Attributes:
        about: the content of its JSON file.
        info: the header of its adapter file.
        result: of its run, if that tested this very checkpoint.
        base_licence: of the backbone's weights; None: unknown.
        licence: of adapters and head, by the Hub's names; None takes that of the base.
        repository: its name on the Hub; None in a folder.
    """

    about: About
    info: AdapterInfo
    result: Result | None
    base_licence: str | None
    licence: str | None = None
    repository: str | None = None

    @property
    def hub_licence(self) -> str:
        """The licence by the Hub's names; 'unknown' where nobody says."""
        starts = HUB_LICENCES.items()
        of_base = (name for s, name in starts if (self.base_licence or '').startswith(s))
        return self.licence or next(of_base, 'unknown')

    @property
    def title(self) -> str:
        """The task and the method."""
        return f'{self.info.task or "a task"} by {self.info.method}'


def model_card(model: SharedModel) -> str:
    """Return the card: fields for the Hub, then Markdown for readers."""
    name = model.repository or EXAMPLE
    return f"""---
{_fields(model)}
---

# {model.title}

Adapters and a head for {model.info.classes} classes, trained by memba_vision over frozen weights \
of {_backbone(model)}.

{markdown_table([('', ''), *_facts(model)], numbers_from=2)}
## Use it

```python
import memba_vision

model = memba_vision.from_pretrained('{name}')
print(memba_vision.Inferencer(model)('photo.jpg'))
```

or `memba-vision predict photo.jpg --run {HUB}{name}`. The weights of the backbone are fetched \
from their own place, and compared with the fingerprint. `{ADAPTER}` and `{ABOUT}` hold no code.
"""


def _fields(model: SharedModel) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = None
    if model.info.accuracy is not None:
        names = dict(task_type='image-classification', metric_type='accuracy')
        data = dict(dataset_type=model.info.task, dataset_name=model.info.task)
        value = round(model.info.accuracy / 100, 6)
        results = [EvalResult(**names, **data, dataset_split='test', metric_value=value)]
    data = ModelCardData(
        library_name='memba_vision',
        license=model.hub_licence,
        pipeline_tag='image-classification',
        tags=['memba_vision', 'mamba', 'adapters', model.info.method],
        model_name=model.title,
        eval_results=results,
    )
    return data.to_yaml()


def _backbone(model: SharedModel) -> str:
    name = model.about.backbone
    return f'`{name}`' if name else 'a backbone of its own'


def _facts(model: SharedModel) -> list[tuple[str, str]]:
    info, about = model.info, model.about
    rows = [
        ('task', info.task or 'unknown'),
        ('method', info.method),
        ('accuracy', _accuracy(model)),
    ]
    if about.classes:
        more = ', …' if len(about.classes) > NAMED else ''
        rows.append(('classes', ', '.join(about.classes[:NAMED]) + more))
    if model.result:
        rows.append(('trained parameters', f'{model.result.trained_parameters:,}'))
    size = about.image_size
    sides = (size, size) if isinstance(size, int) else size
    rows += [
        ('image size', ' x '.join(map(str, sides))),
        ('backbone', _backbone(model)),
        ('fingerprint of its frozen weights', f'`{info.base}`'),
        ('licence of its weights', model.base_licence or 'unknown'),
        ('licence of adapters and head', model.hub_licence),
    ]
    return [(key, _one_cell(value)) for key, value in rows]


def _accuracy(model: SharedModel) -> str:
    if model.info.accuracy is None:
        return 'not measured'
    text = f'{model.info.accuracy:.1f} %'
    total = model.result.test_images if model.result else 0
    if not total:
        return text
    low, high = wilson_interval(round(model.info.accuracy * total / 100), total)
    return f'{text} of {total:,} test images (95 % interval {100 * low:.1f} to {100 * high:.1f} %)'


def _one_cell(text: str) -> str:
    return ' '.join(text.split()).replace('|', '\\|')
