import dataclasses

import numpy as np
import pytest

from plica.errors import DataError
from plica.show.plots import plot_impostor, plot_kinds


def test_plot_kinds_has_a_line_per_kind(data, empty_data):
    result = data.models[0].kinds[1]
    axes = plot_kinds(result).axes[0]
    labels = [t.get_text() for t in axes.get_legend().get_texts()]
    assert [label.split(":")[0] for label in labels] == ["unbounded", "compact", "singleton"]
    total = sum(line.get_ydata().sum() for line in axes.lines if len(line.get_ydata()) > 2)
    assert total == len(result.kinds)
    assert "certified, complete" in axes.get_title()
    assert plot_kinds(empty_data.models[0].kinds[0]).axes[0].get_legend() is None


def test_plot_impostor_draws_three_pictures(data):
    pair = data.models[0].impostors[0]
    figure = plot_impostor(pair)
    assert [a.images[0].get_array().shape for a in figure.axes] == [(8, 8)] * 3
    assert "3.1e-15" in figure.get_supxlabel()
    odd = dataclasses.replace(pair, x=np.zeros(7), towards=np.zeros(7), impostor=np.zeros(7))
    with pytest.raises(DataError, match="no images"):
        plot_impostor(odd)
