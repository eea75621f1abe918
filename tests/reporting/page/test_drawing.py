"""What the report page is drawn with: scales and marks of its charts, and the GIFs of its pictures."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from benchmark.reporting.page.pictures import SIDE, gif, palette, thinned
from benchmark.reporting.page.svg import (
    PAD,
    STRIP,
    Axis,
    Marks,
    Point,
    Series,
    curves,
    scatter,
    span,
    strips,
)

# ------------------------------------------------------------------------------------------- charts


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (267, 300, [270, 280, 290, 300]),
        (-3.2, 4.1, [-2, 0, 2, 4]),
        (0.86, 1.01, [0.9, 0.95, 1]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round_and_within(low: float, high: float, ticks: list[float]) -> None:
    assert Axis(low, high, 0, 100).ticks == pytest.approx(ticks)


def test_logarithmic_ticks_are_decades_and_where_these_are_few_equal_steps() -> None:
    assert Axis(0.4, 30, 0, 100, log=True).ticks == pytest.approx([0.5, 1, 2, 5, 10, 20])
    assert Axis(2.1, 5.2, 0, 100, log=True).ticks == [3, 4, 5]


def test_an_axis_places_values_and_keeps_them_inside() -> None:
    axis = Axis(10, 20, 100, 0)
    assert [axis.at(value) for value in (10, 15, 20, 99)] == [100, 50, 0, 0]
    assert Axis(1, 100, 0, 10, log=True).at(10) == pytest.approx(5)
    assert Axis(3, 3, 0, 10).at(3) == 5


def test_a_span_has_a_margin_also_around_one_value() -> None:
    assert span([10, 20], 0.1) == (9, 21)
    low, high = span([0.0])
    assert low < 0 < high


def test_a_strip_has_its_marks_where_they_belong() -> None:
    axis, strip = strips([Marks(50, (25, 75), (0, 100), 100)], low_high=(0, 100))
    width = STRIP - 2 * PAD
    assert f'<path class="mean" d="M{PAD + width // 2} 6V20"/>' in strip
    assert f'<path class="interval" d="M{PAD + width // 4} 13L{PAD + 3 * width // 4} 13"/>' in strip
    assert re.findall(r'<circle cx="(\d+)"', strip) == [str(PAD), str(STRIP - PAD)]
    assert f'<path class="paper" d="M{STRIP - PAD} 0V26"/>' in strip
    assert re.findall(r">(\d+)<", axis) == ["0", "20", "40", "60", "80", "100"]
    assert "paper" not in strips([Marks(50)], low_high=(0, 100))[1]


def test_all_strips_of_a_table_share_a_scale() -> None:
    _, first, second = strips([Marks(0), Marks(100)])
    places = [float(re.findall(r'class="mean" d="M([\d.]+)', item)[0]) for item in (first, second)]
    assert places[0] < STRIP / 4 < 3 * STRIP / 4 < places[1]
    assert strips([]) == strips([], low_high=(0.0, 1.0))


def test_names_in_charts_are_escaped_and_don_t_cover_each_other() -> None:
    points = [Point("a<b>&", 1.0, 10.0, link='#"x'), Point("b", 1.0, 10.0), Point("c", 1.02, 10.0)]
    chart = scatter(points, 'label "quoted"', "ms")
    assert "a&lt;b&gt;&amp;" in chart
    assert "<b>" not in chart
    assert 'href="#&#34;x"' in chart
    names = re.findall(r'<text class="name" x="([\d.]+)" y="([\d.]+)"', chart)
    assert len(set(names)) == 3


def test_curves_mark_the_epoch_and_every_point() -> None:
    line = Series([(1, 10.0), (2, 20.0), (3, 15.0)], dotted=True)
    chart = curves([line], "name", "epochs", marked=2)
    assert chart.count("<circle") == 3
    assert chart.count('class="paper"') == 1
    assert 'role="img" aria-label="name"' in chart
    assert curves([Series([(1, 5.0)])], "one epoch", "epochs").count("<circle") == 1


# ----------------------------------------------------------------------------------------- pictures


def seen(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=int)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (64, 64), (90, 96)])
@pytest.mark.parametrize("colours", [1, 2, 5, 300])
def test_pillow_reads_what_was_written(shape: tuple[int, int], colours: int) -> None:
    rng = np.random.default_rng(colours)
    few = rng.integers(0, 256, (colours, 3))
    pixels = few[rng.integers(0, colours, shape)].astype(np.uint8)
    shades, indices = palette(pixels)
    assert len(shades) <= 256
    assert (seen(gif(pixels)) == shades[indices].reshape(*shape, 3)).all()


def test_colours_are_rounded_to_eights_where_that_is_enough() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    assert np.abs(seen(gif(ramp)) - ramp.astype(int)).max() <= 4
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert np.abs(seen(gif(noise)) - noise.astype(int)).max() <= 32


def test_the_same_picture_is_the_same_bytes() -> None:
    pixels = np.array([[[200, 10, 10], [10, 200, 10]], [[10, 10, 200], [200, 10, 10]]], dtype=np.uint8)
    content = gif(pixels)
    assert content == gif(pixels)
    assert content.startswith(b"GIF87a\x02\x00\x02\x00")
    assert seen(content).tolist() == [[[200, 8, 8], [8, 200, 8]], [[8, 8, 200], [200, 8, 8]]]


def test_large_pictures_are_thinned() -> None:
    assert thinned(np.zeros((64, 64, 3), dtype=np.uint8)).shape == (64, 64, 3)
    assert thinned(np.zeros((300, 100, 3), dtype=np.uint8)).shape == (75, 25, 3)
    assert max(thinned(np.zeros((SIDE + 1, 5, 3), dtype=np.uint8)).shape) <= SIDE
