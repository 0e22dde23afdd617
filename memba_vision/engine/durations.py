"""Times for readers."""


def duration(seconds: float | None) -> str:
    """Return a time in units for reading: '50 s', '12 min', '3 h 05 min', '2 d 4 h'."""
    if seconds is None:
        return ''
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 99:
        return f'{seconds:.0f} s'
    if minutes < 90:
        return f'{minutes} min'
    if hours < 48:
        return f'{minutes // 60} h {minutes % 60:02} min'
    return f'{hours // 24} d {hours % 24} h'
