"""The parts of the benchmark, each a function ``sections(setting)`` that yields its tables."""

from benchmarking.parts import growth, membrane, mixer, model, scan

#: What can be measured, by name, in this order.
PARTS = {
    'scan': scan.sections,
    'mixer': mixer.sections,
    'model': model.sections,
    'membrane': membrane.sections,
    'growth': growth.sections,
}
