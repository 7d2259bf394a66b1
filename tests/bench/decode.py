"""A frame of baseline JPEG: our way to libjpeg-turbo beside pydicom's plugins."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGBaseline8Bit

from service.analysis.pixels import decode_frame
from tests.bench.figure import Figure, Peer
from tests.bench.scans import Scans

_ROUNDS, _QUICK_ROUNDS = 100, 5
_PLUGINS = ("pillow", "gdcm")


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """CPU time of one frame of 1024×768, medians of rounds in which each takes its turn."""
    load = os.getloadavg()[0]
    data_set = _jpeg(scratch)
    decoder = get_decoder(JPEGBaseline8Bit)
    ways: dict[str, Callable[[], object]] = {"ours": partial(decode_frame, data_set, 1)}
    for plugin in _PLUGINS:
        ways[plugin] = partial(decoder.as_array, data_set, index=0, decoding_plugin=plugin)
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_QUICK_ROUNDS if quick else _ROUNDS):
        for name, decode in ways.items():
            began = time.thread_time()
            decode()
            spent[name].append(1000 * (time.thread_time() - began))
    median = {name: statistics.median(each) for name, each in spent.items()}
    apart = max(_apart(ways["ours"], ways[plugin]) for plugin in _PLUGINS)
    return [
        Figure(
            "baseline JPEG, 1024×768, one frame",
            median["ours"],
            "ms CPU",
            peer=Peer(f"pydicom with {plugin}", median[plugin]),
            load=load,
            detail=f"pixels differ by at most {apart} grey levels",
        )
        for plugin in _PLUGINS
    ]


def _apart(ours: Callable[[], object], theirs: Callable[[], object]) -> int:
    mine = np.asarray(ours(), dtype=np.int16)
    pixels = theirs()
    other = np.asarray(pixels[0] if isinstance(pixels, tuple) else pixels, dtype=np.int16)
    return int(np.abs(mine - other).max())


def _jpeg(scratch: Path) -> Dataset:
    (path,) = Scans().study(scratch, 1)
    data_set = pydicom.dcmread(path)
    stream = BytesIO()
    picture = Image.frombytes("RGB", (data_set.Columns, data_set.Rows), data_set.PixelData)
    picture.save(stream, "JPEG", quality=90)
    data_set.PixelData = encapsulate([stream.getvalue()])
    data_set["PixelData"].is_undefined_length = True
    data_set.PhotometricInterpretation = "YBR_FULL_422"
    data_set.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return data_set
