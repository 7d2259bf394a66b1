"""The colours of a colour presentation state are sRGB."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from dicom_sr.icc_profile import srgb_profile


def test_littlecms_takes_it_for_srgb() -> None:
    ours = ImageCms.ImageCmsProfile(BytesIO(srgb_profile()))
    colours = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    same = ImageCms.profileToProfile(
        Image.fromarray(colours), ours, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert same is not None
    assert np.abs(np.asarray(same).astype(int) - colours).max() <= 1


def test_it_belongs_to_an_input_device() -> None:
    profile = ImageCms.ImageCmsProfile(BytesIO(srgb_profile())).profile
    assert profile.device_class == "scnr"
    assert (profile.xcolor_space, profile.connection_space) == ("RGB ", "XYZ ")
    assert len(srgb_profile()) < 1000
