"""One colour and one marker per method, which are the same in all figures."""

from collections.abc import Sequence

#: Colours by Okabe and Ito (2008), which colour-blind readers can tell apart, on white and black.
COLOURS = ('#0b7bc1', '#e08a00', '#109e76', '#cc6fa0', '#4fa9dc', '#d5602b', '#8b72c9', '#8a8a8a')
MARKERS = 'osD^vPX*'

Style = tuple[str, str]


def styles(methods: Sequence[str]) -> dict[str, Style]:
    """Return colour and marker by method. Colours repeat after eight methods, pairs after 64."""
    return {
        method: (COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)])
        for i, method in enumerate(methods)
    }
