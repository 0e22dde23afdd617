"""Config whose text is formatted once."""

from typing import Any

from mmengine.config import Config


class RunConfig(Config):
    """Config of a run, whose text a run asks for at its start, at its end and in each checkpoint.

    mmengine formats it anew each time, 0.04 seconds for a demo; here, when the config has changed.
    """

    @classmethod
    def of(cls, config: Config) -> 'RunConfig':
        """Return a config with the content of another one, which the two share."""
        made = cls.__new__(cls)
        vars(made).update(vars(config), _formatted=('', ''))
        return made

    @property
    def pretty_text(self) -> str:
        """The config as Python."""
        content, text = vars(self)['_formatted']
        now = repr(self.to_dict())
        if now != content:
            text = super().pretty_text
            vars(self)['_formatted'] = now, text
        return text

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        vars(self)['_formatted'] = '', ''
