"""A seeded sample of the fuzzing, and what it has found: each was a fault once."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from service.analysis.analyser import Analyser
from service.analysis.header_bounds import MOST_DEPTH, MOST_ELEMENTS, MOST_VALUE_BYTES
from service.analysis.pixels import MOST_INFLATED_BYTES
from service.journal.records import AnalysisOutcome, ImageState
from service.sections import AnalysisSettings
from tests.fuzz.__main__ import fuzz_files, fuzz_sessions
from tests.fuzz.files import hostile_file, seeds
from tests.fuzz.sessions import hostile_session
from tests.system.conftest import make_small_model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FILES, SESSIONS = 400, 600
PLAIN = str(ExplicitVRLittleEndian)


def test_a_sample_of_hostile_files_has_outcomes_alone(tmp_path: Path) -> None:
    findings = fuzz_files(FILES, 42, tmp_path, lambda: None)
    assert findings.bad == []
    assert sum(sum(each.values()) for each in findings.outcomes.values()) == FILES
    reasons = {name for each in findings.outcomes.values() for name in each}
    assert {"analysed", "not-dicom", "undecodable", "too-large"} <= reasons


def test_a_sample_of_hostile_sessions_leaves_ingest_as_it_was(tmp_path: Path) -> None:
    findings = fuzz_sessions(SESSIONS, 42, tmp_path, lambda: None)
    assert findings.bad == []


def test_the_same_seed_makes_the_same() -> None:
    assert hostile_file(7) == hostile_file(7)
    assert hostile_session(7) == hostile_session(7)
    assert len({hostile_file(number)[1] for number in range(200)}) > 150


@pytest.fixture(scope="module")
def analyser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Analyser]:
    model = make_small_model(tmp_path_factory.mktemp("model"))
    analyser = Analyser(AnalysisSettings(model=model, threads=1, decode_seconds=20))
    yield analyser
    analyser.close()


@pytest.fixture
def analysed(analyser: Analyser, tmp_path: Path) -> Callable[[bytes], AnalysisOutcome]:
    def analyse(content: bytes) -> AnalysisOutcome:
        path = tmp_path / "hostile.dcm"
        path.write_bytes(content)
        return analyser.analyse(path, revision=0, started_at=datetime.now(UTC)).outcome

    return analyse


def changed(**elements: object) -> bytes:
    data_set = dcmread(BytesIO(seeds()[PLAIN]))
    for keyword, value in elements.items():
        setattr(data_set, keyword, value)
    stream = BytesIO()
    data_set.save_as(stream)
    return stream.getvalue()


def test_the_seeds_are_good(analysed) -> None:
    assert analysed(seeds()[PLAIN]).state is ImageState.ANALYSED


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"NumberOfFrames": -1}, "undecodable"),
        ({"Rows": 65535, "Columns": 65535}, "too-large"),
        ({"SOPClassUID": "0.2.840.10008.5.1.4.1.1.6.1"}, "incomplete-header"),
        ({"SamplesPerPixel": 9}, "undecodable"),
    ],
)
def test_what_was_raised_once_is_a_reason_now(analysed, elements, reason: str) -> None:
    assert analysed(changed(**elements)).reason == reason


def test_a_deflated_data_set_is_inflated_within_bounds(analysed) -> None:
    seed = seeds()[str(DeflatedExplicitVRLittleEndian)]
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    piece = b"\0" * (1 << 20)
    packed = [packer.compress(piece) for _ in range((MOST_INFLATED_BYTES >> 20) + 2)]
    at = 144 + int.from_bytes(seed[140:144], "little")
    bomb = seed[:at] + b"".join(packed) + packer.flush()
    assert len(bomb) < 1 << 20
    assert analysed(bomb).reason == "too-large"


def test_a_transfer_syntax_that_is_none_is_not_quoted(analysed) -> None:
    at = seeds()[PLAIN].index(PLAIN.encode())
    name = b"1.2.840.10008.DOE^J"
    seed = seeds()[PLAIN]
    outcome = analysed(seed[:at] + name + seed[at + len(name) :])
    assert "DOE" not in (outcome.reason_text or "")


_ITEM, _ITEM_END, _END = (struct.pack("<HHL", 0xFFFE, each, 0) for each in (0xE000, 0xE00D, 0xE0DD))


def with_element(tag: int, value: bytes, length: int | None = None) -> bytes:
    """The implicit VR seed with one more element, in front of its Study Instance UID."""
    seed = seeds()[str(ImplicitVRLittleEndian)]
    at = seed.index(struct.pack("<HH", 0x0020, 0x000D))
    claimed = len(value) if length is None else length
    return seed[:at] + struct.pack("<HHL", tag >> 16, tag & 0xFFFF, claimed) + value + seed[at:]


def nested(depth: int) -> bytes:
    """Ultrasound regions within each other, all of undefined length."""
    regions = struct.pack("<HHL", 0x0018, 0x6011, 0xFFFFFFFF)
    opening = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    content = (opening + regions) * depth + _END + (_ITEM_END + _END) * depth
    return with_element(0x00186011, content, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (with_element(0x00186011, _ITEM * (MOST_ELEMENTS + 1)), "too-large"),
        (with_element(0x00181030, b"A\\" * MOST_VALUE_BYTES), "too-large"),
        (nested(MOST_DEPTH + 5), "too-large"),
        (nested(MOST_DEPTH - 5), None),
        (nested(10_000), "unreadable-header"),
        (with_element(0x00181030, b"A\\" * 1000), None),
    ],
    ids=["items", "values", "deep", "less deep", "abysmal", "some values"],
)
def test_what_the_worker_parses_of_a_header_is_bounded(analysed, content, reason) -> None:
    assert analysed(content).reason == reason


def with_plain_element(element: bytes) -> bytes:
    """The explicit VR seed with one more element, in front of its Study Instance UID."""
    seed = seeds()[PLAIN]
    at = seed.index(struct.pack("<HH", 0x0020, 0x000D))
    return seed[:at] + element + seed[at:]


def test_an_empty_element_of_no_known_vr_kills_no_decoder(analysed) -> None:
    element = struct.pack("<HH2sH", 0x0018, 0x1030, b"QQ", 0)
    assert analysed(with_plain_element(element)).state is ImageState.ANALYSED


def test_a_number_of_frames_of_no_known_vr_is_a_reason(analysed) -> None:
    content = changed(NumberOfFrames=1)
    at = content.index(struct.pack("<HH2s", 0x0028, 0x0008, b"IS")) + 4
    content = content[:at] + b"QQ" + content[at + 2 :]
    assert analysed(content).reason == "unreadable-header"


@pytest.mark.parametrize(("number", "region"), [(32, (0, 0, 71, 71)), (33, (0, 0, 96, 80))])
def test_so_many_regions_are_not_scored(analysed, number: int, region) -> None:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = 1, 1
    item.RegionLocationMinX0 = item.RegionLocationMinY0 = 0
    item.RegionLocationMaxX1 = item.RegionLocationMaxY1 = 70
    assert analysed(changed(SequenceOfUltrasoundRegions=[item] * number)).region == region


texts = st.text(max_size=80)
numbers = st.one_of(st.integers(-(2**31), 2**31 - 1), st.sampled_from((0, 1, 65535)))


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    values=st.dictionaries(
        st.sampled_from(
            (
                "PatientName",
                "PatientID",
                "StudyID",
                "ImageType",
                "Laterality",
                "StudyDate",
                "Modality",
            )
        ),
        texts,
        max_size=5,
    ),
    sizes=st.dictionaries(st.sampled_from(("Rows", "Columns", "BitsStored", "HighBit")), numbers),
    cut=st.integers(0, 4000),
)
def test_any_header_has_an_outcome(analysed, values, sizes, cut: int) -> None:
    data_set: Dataset = dcmread(BytesIO(seeds()[PLAIN]))
    for keyword, value in values.items():
        data_set.add_new(keyword, "LO", "")
        data_set[keyword]._value = value
    for keyword, number in sizes.items():
        setattr(data_set, keyword, number & 0xFFFF)
    stream = BytesIO()
    try:
        data_set.save_as(stream)
    except Exception:  # noqa: BLE001 what cannot be written is no input
        return
    content = stream.getvalue()
    outcome = analysed(content[: len(content) - cut])
    assert outcome.state in (ImageState.ANALYSED, ImageState.NOT_ANALYSABLE)
    assert (outcome.reason is None) == (outcome.state is ImageState.ANALYSED)
