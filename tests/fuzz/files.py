"""Hostile DICOM files: seeds in every accepted transfer syntax, and what can be done to them."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from service.sop_classes import TRANSFER_SYNTAXES
from service.still_image import wrap_pixels

HEIGHT, WIDTH = 80, 96
_NATIVE = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD", b"OL", b"UC", b"UR")


def _part_10(data_set: Dataset, syntax: str) -> bytes:
    data_set.file_meta.TransferSyntaxUID = UID(syntax)
    stream = BytesIO()
    big = syntax == ExplicitVRBigEndian
    data_set.save_as(
        stream,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=not big,
        enforce_file_format=True,
    )
    return stream.getvalue()


@cache
def seeds() -> dict[str, bytes]:
    """A valid image by transfer syntax; those without an encoder here carry a JPEG's bytes."""
    grey = np.random.default_rng(1).integers(1, 250, (HEIGHT, WIDTH), dtype=np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=2)
    made = {}
    for syntax in TRANSFER_SYNTAXES:
        data_set = wrap_pixels(pixels, "fuzz")
        data_set.PatientName = "DOE^JANE"
        data_set.PatientID = "FUZZ-1"
        if syntax == RLELossless:
            data_set.compress(RLELossless)
        elif syntax not in _NATIVE:
            stream = BytesIO()
            kind = "JPEG2000" if syntax in (JPEG2000, JPEG2000Lossless) else "JPEG"
            Image.fromarray(pixels).save(stream, kind)
            data_set.PixelData = encapsulate([stream.getvalue()])
            data_set["PixelData"].is_undefined_length = True
            data_set["PixelData"].VR = "OB"
            if syntax == JPEGBaseline8Bit:
                data_set.PhotometricInterpretation = "YBR_FULL_422"
        made[syntax] = _part_10(data_set, syntax)
    return made


def _data_set_at(content: bytes) -> int:
    """Where the data set begins: behind a file meta information with a group length."""
    (length,) = struct.unpack("<L", content[140:144])
    return min(144 + length, len(content))


def _changed(content: bytes, change: Callable[[Dataset], None], syntax: str) -> bytes:
    from pydicom import dcmread

    data_set = dcmread(BytesIO(content))
    change(data_set)
    try:
        return _part_10(data_set, syntax)
    except Exception:  # noqa: BLE001 what cannot be written is no input
        return content


# Mutations: bytes of a seed, its transfer syntax and chance to the bytes of a file.


def flip_bits(content: bytes, syntax: str, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 2, 8, 64))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def flip_header_bits(content: bytes, syntax: str, chance: random.Random) -> bytes:
    changed = bytearray(content)
    end = min(len(changed), _data_set_at(content) + 900)
    for _ in range(chance.choice((1, 2, 4, 16))):
        changed[chance.randrange(128, end)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncate(content: bytes, syntax: str, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def splice(content: bytes, syntax: str, chance: random.Random) -> bytes:
    other = seeds()[chance.choice(list(seeds()))]
    return content[: chance.randrange(len(content))] + other[chance.randrange(len(other)) :]


def repeat_a_piece(content: bytes, syntax: str, chance: random.Random) -> bytes:
    begin = chance.randrange(len(content))
    piece = content[begin : begin + chance.randrange(1, 400)]
    return content[:begin] + piece * chance.choice((2, 10, 300)) + content[begin:]


def lie_about_a_length(content: bytes, syntax: str, chance: random.Random) -> bytes:
    """One 16 or 32 bit number of the header becomes an extreme one."""
    changed = bytearray(content)
    at = chance.randrange(132, min(len(changed) - 4, _data_set_at(content) + 900))
    value = chance.choice((0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF, 0x10000))
    form = "<H" if chance.random() < 0.3 else "<L"
    changed[at : at + struct.calcsize(form)] = struct.pack(
        form, value & (0xFFFF if form == "<H" else 0xFFFFFFFF)
    )
    return bytes(changed)


def wrong_syntax(content: bytes, syntax: str, chance: random.Random) -> bytes:
    """The file meta information names another transfer syntax than the data set has."""
    other = chance.choice((*TRANSFER_SYNTAXES, "1.2.840.10008.1.2.4.110", "1.2.3", "DOE^JANE"))
    old = syntax.encode() + b"\0" * (len(syntax) % 2)
    new = other.encode() + b"\0" * (len(other) % 2)
    at = content.find(old)
    if at < 2:
        return content
    changed = content[: at - 2] + struct.pack("<H", len(new)) + new + content[at + len(old) :]
    (length,) = struct.unpack("<L", content[140:144])
    return changed[:140] + struct.pack("<L", length + len(new) - len(old)) + changed[144:]


def odd_geometry(content: bytes, syntax: str, chance: random.Random) -> bytes:
    def change(data_set: Dataset) -> None:
        for keyword, values in (
            ("Rows", (0, 1, 65535, HEIGHT + 1)),
            ("Columns", (0, 1, 65535, WIDTH - 1)),
            ("NumberOfFrames", (0, -1, 2, 2**31 - 1, "9999999999")),
            ("SamplesPerPixel", (0, 1, 2, 4, 65535)),
            ("BitsAllocated", (0, 1, 7, 12, 16, 32, 64)),
            ("BitsStored", (0, 1, 9, 16, 65535)),
            ("HighBit", (0, 31, 65535)),
            ("PixelRepresentation", (1, 2)),
            ("PlanarConfiguration", (1, 7)),
            (
                "PhotometricInterpretation",
                ("MONOCHROME1", "PALETTE COLOR", "YBR_FULL", "YBR_ICT", "HSV", "", "X" * 300),
            ),
        ):
            if chance.random() < 0.3:
                setattr(data_set, keyword, chance.choice(values))

    return _changed(content, change, syntax)


def hostile_texts(content: bytes, syntax: str, chance: random.Random) -> bytes:
    texts = (
        "",
        "\\" * 400,
        "\0" * 33,
        "A" * 70_000,
        "=^=^=",
        "\x1b$B\x1b(B",
        "\n\r\t",
        "..",
        "1" * 65,
    )
    keywords = ("PatientName", "PatientID", "StudyID", "AccessionNumber", "StudyDescription")
    keywords += ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    keywords += ("SpecificCharacterSet", "ImageType", "Modality", "Laterality", "StudyDate")
    keywords += ("InstanceNumber", "TimezoneOffsetFromUTC", "PatientBirthDate", "PatientSex")

    def change(data_set: Dataset) -> None:
        for keyword in keywords:
            if chance.random() < 0.25:
                data_set.add_new(keyword, "LO", "")
                data_set[keyword]._value = chance.choice(texts)
        if chance.random() < 0.5:
            data_set.SpecificCharacterSet = chance.choice(
                (
                    "ISO_IR 192",
                    "ISO 2022 IR 87",
                    "GB18030",
                    "NONSENSE",
                    "ISO_IR 100",
                    "\\ISO 2022 IR 58",
                )
            )

    return _changed(content, change, syntax)


def without_an_element(content: bytes, syntax: str, chance: random.Random) -> bytes:
    def change(data_set: Dataset) -> None:
        for tag in chance.sample(list(data_set.keys()), min(4, len(data_set))):
            del data_set[tag]

    return _changed(content, change, syntax)


def odd_regions(content: bytes, syntax: str, chance: random.Random) -> bytes:
    def change(data_set: Dataset) -> None:
        regions = []
        for _ in range(chance.choice((1, 2, 50))):
            region = Dataset()
            for keyword in (
                *("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1"),
                "RegionLocationMaxY1",
            ):
                setattr(region, keyword, chance.choice((0, 1, WIDTH, 2**31, 2**32 - 1)))
            region.RegionSpatialFormat = chance.choice((0, 1, 3, 65535))
            region.RegionDataType = chance.choice((1, 2, 65535))
            region.RegionFlags = chance.choice((0, 1, 2**32 - 1))
            regions.append(region)
        data_set.SequenceOfUltrasoundRegions = regions

    return _changed(content, change, syntax)


def deep_nesting(content: bytes, syntax: str, chance: random.Random) -> bytes:
    """Sequences of undefined length, each in the one before, never or always closed."""
    depth = chance.choice((10, 900, 3000, 10_000))
    explicit = syntax != ImplicitVRLittleEndian
    head = b"\x08\x00\x15\x11" + (b"SQ\0\0" if explicit else b"") + b"\xff\xff\xff\xff"
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    ends = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    nest = (head + item) * depth + (ends * depth if chance.random() < 0.5 else b"")
    at = _data_set_at(content)
    if syntax == DeflatedExplicitVRLittleEndian:
        plain = zlib.decompress(content[at:], -zlib.MAX_WBITS)
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return content[:at] + packer.compress(nest + plain) + packer.flush()
    return content[:at] + nest + content[at:]


def deflate_bomb(content: bytes, syntax: str, chance: random.Random) -> bytes:
    """A little file that becomes up to a gigabyte."""
    seed = seeds()[DeflatedExplicitVRLittleEndian]
    at = _data_set_at(seed)
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    megabytes = chance.choice((1, 64, 600, 1000))
    element = b"\x09\x00\x01\x10OB\0\0" + struct.pack("<L", megabytes << 20)
    packed = [packer.compress(zlib.decompress(seed[at:], -zlib.MAX_WBITS)[:200] + element)]
    packed += [packer.compress(b"\0" * (1 << 20)) for _ in range(megabytes)]
    return seed[:at] + b"".join(packed) + packer.flush()


def pixel_bomb(content: bytes, syntax: str, chance: random.Random) -> bytes:
    """A huge frame of a few bytes: runs of RLE, a JPEG that says it is huge, or none at all."""

    def change(data_set: Dataset) -> None:
        data_set.Rows = chance.choice((8000, 20000, 65535))
        data_set.Columns = chance.choice((8000, 20000, 65535))
        if chance.random() < 0.5:
            data_set.SamplesPerPixel = 1
            data_set.PhotometricInterpretation = "MONOCHROME2"
        if syntax == RLELossless:
            segments = struct.pack("<16L", 1, 64, *([0] * 14)) + b"\x81\0" * 5000
            data_set.PixelData = encapsulate([segments])

    return _changed(content, change, syntax)


def broken_fragments(content: bytes, syntax: str, chance: random.Random) -> bytes:
    if syntax in _NATIVE:
        return flip_bits(content, syntax, chance)
    at = content.rfind(b"\xfe\xff\x00\xe0")
    changed = bytearray(content)
    choice = chance.randrange(5)
    if choice == 0:
        changed[at + 4 : at + 8] = struct.pack("<L", chance.choice((0, 1, 0xFFFFFFFF, 1 << 30)))
    elif choice == 1:
        del changed[at + 8 : at + 8 + chance.randrange(1, 400)]
    elif choice == 2:
        changed = bytearray(content[: at + chance.randrange(8, 300)])
    elif choice == 3:
        changed[at:at] = b"\xfe\xff\x00\xe0\0\0\0\0" * chance.choice((1, 1000))
    else:
        for _ in range(20):
            changed[chance.randrange(at, len(changed))] = chance.randrange(256)
    return bytes(changed)


def no_dicom(content: bytes, syntax: str, chance: random.Random) -> bytes:
    return chance.choice(
        (
            b"",
            b"\0",
            b"\0" * 132,
            b"\0" * 128 + b"DICM",
            b"\x89PNG\r\n\x1a\n" + chance.randbytes(200),
            chance.randbytes(chance.randrange(1, 4000)),
            b"\0" * 128 + b"DICM" + chance.randbytes(400),
            content[132:],
        )
    )


def random_elements(content: bytes, syntax: str, chance: random.Random) -> bytes:
    """Elements of random tags, VRs, lengths and values where the data set begins."""
    at = _data_set_at(content)
    made = b""
    for _ in range(chance.choice((1, 5, 200))):
        tag = struct.pack(
            "<HH", chance.choice((8, 9, 16, 32, 40, 0x7FE0, 0xFFFE)), chance.randrange(65536)
        )
        vr = chance.choice(
            (b"UI", b"PN", b"DS", b"IS", b"US", b"FD", b"AT", b"ZZ", b"\0\0", *_LONG)
        )
        value = chance.randbytes(chance.choice((0, 1, 2, 8, 300)))
        claimed = chance.choice((len(value), len(value), 0, 0xFFFF, 0xFFFFFFFF))
        if vr in _LONG:
            made += tag + vr + b"\0\0" + struct.pack("<L", claimed & 0xFFFFFFFF) + value
        else:
            made += tag + vr + struct.pack("<H", claimed & 0xFFFF) + value
    return content[:at] + made + content[at:]


def many_elements(content: bytes, syntax: str, chance: random.Random) -> bytes:
    def change(data_set: Dataset) -> None:
        for number in range(chance.choice((100, 5000))):
            data_set.add_new((0x0009, 0x1000 + number), "LO", "DOE^JANE")

    return _changed(content, change, syntax)


def untouched(content: bytes, syntax: str, chance: random.Random) -> bytes:
    return content


MUTATIONS = {
    mutation.__name__: mutation
    for mutation in (
        flip_bits,
        flip_header_bits,
        truncate,
        splice,
        repeat_a_piece,
        lie_about_a_length,
        wrong_syntax,
        odd_geometry,
        hostile_texts,
        without_an_element,
        odd_regions,
        deep_nesting,
        deflate_bomb,
        pixel_bomb,
        broken_fragments,
        no_dicom,
        random_elements,
        many_elements,
        untouched,
    )
}
_RARE = {"deflate_bomb": 0.004, "many_elements": 0.1, "deep_nesting": 0.3, "untouched": 0.2}


def hostile_file(seed: int) -> tuple[str, bytes]:
    """The name of a mutation, and the file that it made: the same for the same seed."""
    chance = random.Random(seed)
    names = list(MUTATIONS)
    (name,) = chance.choices(names, [_RARE.get(each, 1.0) for each in names])
    syntax = chance.choice(list(seeds()))
    content = seeds()[syntax]
    content = MUTATIONS[name](content, syntax, chance)
    if name != "deflate_bomb" and chance.random() < 0.15:
        content = flip_header_bits(content, syntax, chance) if len(content) > 400 else content
    return name, content
