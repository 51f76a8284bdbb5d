"""One finding of the first screen: a sentence with a number."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from plica.core.result import Completeness, Standing

WARNING = 10.0


@dataclass(frozen=True)
class Finding:
    """One sentence with a number.

    Attributes
    ----------
    number, unit : str
        The number and what it counts.
    sentence, meaning : str
        The finding, and one line of what it means.
    graphic : Markup
        A small picture of the number.
    standing, completeness
        How sure it is, and how much of the question it covers.
    link, link_text : str
        Section that says more.
    rank : float
        Worse is larger; at least `WARNING` is a warning.
    """

    number: str
    unit: str
    sentence: str
    meaning: str
    graphic: Markup
    standing: Standing
    completeness: Completeness
    link: str
    link_text: str
    rank: float

    @property
    def is_warning(self) -> bool:
        """Whether the other findings may be void."""
        return self.rank >= WARNING
