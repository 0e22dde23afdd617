"""Self-contained HTML page with all figures in it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from memba_vision.visualization.trace import ImageTrace

#: Heading and explanation of each figure, for readers who have never seen one.
CAPTIONS = {
    'potential': (
        'The membrane on the image',
        'Every patch of the image charges the membranes of a layer: <b>bright</b> patches left '
        'them at a high potential, <b>dark</b> ones at a low one. The model reads the image twice, '
        'forward from the top left and backward from the bottom right. Each reading is cut into '
        'chunks (lines; the numbers say in which order they are read), and a patch adds to what '
        'the patch at the same place in the chunk before left behind. A value is the mean over '
        'all neurons; it is mostly below zero, since neurons that get too high are reset. The '
        'class token, which has no place on the image, is left out.',
    ),
    'chunks': (
        'Chunk by chunk',
        'The same numbers as the membrane computes them. Each row is one chunk; a column is a '
        'membrane that lives from row to row: it keeps a part of the row above (the leak), adds '
        'what its patch brings, and falls to zero where that passes the threshold. <b>start</b> '
        'is what the layer before handed on, <b>mean</b> what this layer hands on. Grey cells are '
        'the class token, and places beyond the end of the image.',
    ),
    'depth': (
        'Through the depth of the model',
        'Each row is a layer, the first at the bottom; each column is a patch, in the order in '
        'which one reads the image. Lines are the borders of the chunks. Columns that keep '
        'their colour upwards are patches that all layers agree on.',
    ),
    'reset': (
        'Where neurons were reset',
        'A neuron whose potential passes the threshold fires, and starts again from zero. Bright '
        'patches made more of the neurons do so: what is strongest there is taken out of the gate.',
    ),
    'reset_depth': (
        'Resets, layer by layer',
        'The same share over the whole sequence, the class token included. Where it is zero, the '
        'membrane only remembers and never resets.',
    ),
    'gate': (
        'The gate, before and after',
        'The gate decides how much of a patch goes on to the next layer: bright is open, dark is '
        'closed. <b>Before</b> is the gate with the membrane left out, <b>after</b> the one that '
        'the model uses, one for each direction. In a Memba that was not trained, on '
        "LoRA's hidden activations, both are the same: training starts from the pre-trained model.",
    ),
}

STYLE = """
:root { color-scheme: light dark; --surface: #ffffff; --page: #f4f6f8; --ink: #1f2328;
        --soft: #57606a; --line: #d9dee4; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --surface: #171b21; --page: #0e1116; --ink: #e6e9ed; --soft: #9aa4b0; --line: #303742;
          --accent: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; margin: 0 0 .5rem; }
h2 { font-size: 1.4rem; margin: 3rem 0 1rem; padding-top: 1.5rem;
     border-top: 1px solid var(--line); }
h3 { font-size: 1.1rem; margin: 0 0 .35rem; }
p { margin: 0 0 1rem; max-width: 72ch; }
figure { background: var(--surface); border: 1px solid var(--line); border-radius: 12px;
         margin: 0 0 1.5rem; padding: 1.25rem; }
figure img { display: block; max-width: 100%; height: auto; margin-top: .5rem; }
figcaption p { color: var(--soft); font-size: .95rem; margin-bottom: .5rem; }
table { border-collapse: collapse; font-size: .92rem; margin: 0 0 1rem; }
th, td { text-align: left; padding: .3rem 1.5rem .3rem 0; border-bottom: 1px solid var(--line);
         font-weight: 400; }
th { color: var(--soft); }
.scroll { overflow-x: auto; }
.note { border-left: 4px solid var(--accent); padding: .2rem 0 .2rem 1rem; }
"""


@dataclass(frozen=True)
class Picture:
    """Figure as PNG, for light and for dark pages."""

    light: bytes
    dark: bytes


@dataclass(frozen=True)
class Section:
    """Section of the page on one image.

    Attributes:
        title: the name of the image.
        traces: the trace of each model.
        pictures: its figures, by the keys of ``CAPTIONS``.
    """

    title: str
    traces: tuple[ImageTrace, ...]
    pictures: dict[str, Picture]


def make_page(sections: Sequence[Section], models: Sequence[dict[str, str]]) -> str:
    """Return the page's HTML.

    Args:
        sections: the images.
        models: facts on each model, by name.
    """
    body = ''.join(_section(section) for section in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Memba's membrane</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body><main>
<h1>Memba's membrane</h1>
<p>Memba puts a <b>membrane</b> on the gate of a vision Mamba: a potential that charges while the
model reads the image, leaks, and is reset where it gets too high. These pictures show that
potential.</p>
{_models(models)}
{body}
</main></body>
</html>
"""


def _models(models: Sequence[dict[str, str]]) -> str:
    rows = ''.join(
        f'<tr><th>{escape(key)}</th>{"".join(f"<td>{escape(m[key])}</td>" for m in models)}</tr>'
        for key in models[0]
    )
    return f'<div class="scroll"><table>{rows}</table></div>'


def _section(section: Section) -> str:
    figures = ''.join(figure_html(key, picture) for key, picture in section.pictures.items())
    classes = ''.join(_classes(trace, len(section.traces) > 1) for trace in section.traces)
    return f'<section><h2>{escape(section.title)}</h2>{classes}{figures}</section>'


def _classes(trace: ImageTrace, with_title: bool) -> str:
    """Return a paragraph on the model's prediction."""
    name = f'{escape(trace.title)} ' if with_title else 'The model '
    if not trace.classes:
        return (
            f'<p class="note">{name}is not trained yet: its backbone is, but its adapter and its '
            'classes are not.</p>'
        )
    guesses = ', '.join(f'<b>{escape(c)}</b> ({100 * p:.1f} %)' for c, p in trace.classes)
    return f'<p>{name}takes it for class {guesses}.</p>'


def figure_html(key: str, picture: Picture) -> str:
    """Return the HTML of a figure with its caption, by a key of ``CAPTIONS``."""
    heading, text = CAPTIONS[key]
    light, dark = (_inline(content) for content in (picture.light, picture.dark))
    return f"""
<figure class="{key}">
<figcaption><h3>{heading}</h3><p>{text}</p></figcaption>
<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}"
><img src="{light}" alt="{heading}"></picture>
</figure>"""


def _inline(content: bytes) -> str:
    return f'data:image/png;base64,{base64.b64encode(content).decode()}'
