"""The overlay adds, and hides nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.overlay import OUTLINE, draw_overlay

HEIGHT, WIDTH = 240, 320
REGION = Box(40, 30, 280, 210)

MakeFinding = Callable[..., Finding]


@pytest.fixture(scope="module")
def frame() -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def outline_mask(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((picture[:HEIGHT] == OUTLINE).all(axis=2))


def activation(finding: Finding) -> NDArray[np.float32]:
    """The CAM in the whole frame."""
    whole = np.zeros((HEIGHT, WIDTH), np.float32)
    box = finding.region
    whole[box.top : box.bottom, box.left : box.right] = finding.cam
    return whole


def test_strip_stands_below_the_whole_frame(
    frame: NDArray[np.uint8], model: ModelIdentity, make_finding: MakeFinding
) -> None:
    picture = draw_overlay(frame, make_finding(REGION), model)
    assert picture.dtype == np.uint8
    assert picture.shape[0] > HEIGHT
    assert picture.shape[1:] == (WIDTH, 3)


def test_pixels_without_activation_are_untouched(
    frame: NDArray[np.uint8], model: ModelIdentity, make_finding: MakeFinding
) -> None:
    finding = make_finding(REGION)
    picture = draw_overlay(frame, finding, model)
    silent = (activation(finding) == 0) & ~outline_mask(picture)
    assert silent.sum() > HEIGHT * WIDTH / 2
    assert (picture[:HEIGHT][silent] == frame[silent]).all()


def test_heatmap_grows_with_activation_and_lets_the_tissue_through(
    frame: NDArray[np.uint8], model: ModelIdentity, make_finding: MakeFinding
) -> None:
    finding = make_finding(REGION)
    cam = activation(finding)
    dark = draw_overlay(np.zeros_like(frame), finding, model)[:HEIGHT].astype(int)
    bright = draw_overlay(np.full_like(frame, 200), finding, model)[:HEIGHT].astype(int)
    through = (bright - dark).mean(axis=2) / 200
    assert through[cam > 0.99].min() > 0.4
    assert through[(cam > 0.45) & (cam < 0.55)].mean() > through[cam > 0.95].mean() + 0.2


def test_box_is_outlined_outside_what_the_network_saw(
    frame: NDArray[np.uint8], model: ModelIdentity, make_finding: MakeFinding
) -> None:
    outlined = outline_mask(draw_overlay(frame, make_finding(REGION), model))
    expected = np.zeros_like(outlined)
    expected[29:211, 39:281] = True
    expected[30:210, 40:280] = False
    assert (outlined == expected).all()


def test_outline_of_the_whole_frame_stays_in_the_frame(
    frame: NDArray[np.uint8], model: ModelIdentity, make_finding: MakeFinding
) -> None:
    picture = draw_overlay(frame, make_finding(Box(0, 0, WIDTH, HEIGHT)), model)
    outlined = outline_mask(picture)
    for edge in (outlined[0], outlined[-1], outlined[:, 0], outlined[:, -1]):
        assert edge.all()
    assert not outlined[1:-1, 1:-1].any()


def test_no_activation_leaves_the_frame_alone_and_says_so(
    frame: NDArray[np.uint8], model: ModelIdentity, make_finding: MakeFinding
) -> None:
    silent = make_finding(REGION, cam=np.zeros((REGION.height, REGION.width), np.float32))
    picture = draw_overlay(frame, silent, model)
    untouched = ~outline_mask(picture)
    assert (picture[:HEIGHT][untouched] == frame[untouched]).all()
    with_bar = draw_overlay(frame, make_finding(REGION), model)[HEIGHT:]
    assert colourfulness(with_bar).max() > 200
    strip = picture[HEIGHT:]
    assert colourfulness(strip).max() < 200, "a colour bar without a heatmap"


def colourfulness(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.asarray(np.ptp(pixels.astype(np.int64), axis=2))


@pytest.mark.parametrize("width", [200, 240, 320, 1024, 2000])
def test_caption_stays_inside_the_strip(
    model: ModelIdentity, make_finding: MakeFinding, width: int
) -> None:
    box = Box(0, 0, width, 64)
    picture = draw_overlay(np.zeros((64, width, 3), np.uint8), make_finding(box), model)
    strip = picture[64:].astype(int)
    background = strip[0, 0]
    for edge in (strip[0], strip[-1], strip[:, 0], strip[:, -1]):
        assert (edge == background).all(), "text or bar touches the edge"
    assert (strip != background).any()


def test_a_long_model_name_is_wrapped_and_never_cut(
    frame: NDArray[np.uint8], model: ModelIdentity, make_finding: MakeFinding
) -> None:
    long_name = ModelIdentity("x" * 300, "1.2.0", model.sha256)
    picture = draw_overlay(frame, make_finding(REGION), long_name)
    assert picture.shape[0] > draw_overlay(frame, make_finding(REGION), model).shape[0]
    strip = picture[HEIGHT:]
    assert (strip[:, -1] == strip[0, 0]).all()


def test_caption_changes_with_what_it_tells(
    frame: NDArray[np.uint8], model: ModelIdentity, make_finding: MakeFinding
) -> None:
    strips = {
        draw_overlay(frame, finding, identity)[HEIGHT:].tobytes()
        for finding, identity in (
            (make_finding(REGION), model),
            (make_finding(REGION, probability_malignant=0.8), model),
            (make_finding(REGION, probability_malignant=0.2), model),
            (make_finding(REGION, threshold=0.5), model),
            (make_finding(REGION, frame=3, frames_scored=9), model),
            (make_finding(REGION), ModelIdentity("Other", "1.2.0", model.sha256)),
            (make_finding(REGION), ModelIdentity(model.name, "9", model.sha256)),
        )
    }
    assert len(strips) == 7
