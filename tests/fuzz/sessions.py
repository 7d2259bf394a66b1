"""Hostile network sessions: PDUs and DIMSE messages over a raw socket."""

from __future__ import annotations

import random
import socket
import struct
import time
from contextlib import suppress

VERIFICATION = "1.2.840.10008.1.1"
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
COMMITMENT = "1.2.840.10008.1.20.1"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
CONTEXTS = ((1, VERIFICATION, IMPLICIT), (3, ULTRASOUND, EXPLICIT), (5, COMMITMENT, IMPLICIT))

_PATIENCE = 20.0


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content) & 0xFFFF) + content


def pdu(kind: int, content: bytes, length: int | None = None) -> bytes:
    claimed = len(content) if length is None else length
    return struct.pack(">BBL", kind, 0, claimed & 0xFFFFFFFF) + content


def associate_request(contexts=CONTEXTS, user: bytes | None = None, version: int = 1) -> bytes:
    content = struct.pack(">HH", version, 0) + b"SECONDREAD".ljust(16) + b"FUZZER".ljust(16)
    content += b"\0" * 32 + item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, abstract, transfer in contexts:
        inner = item(0x30, abstract.encode()) + item(0x40, transfer.encode())
        content += item(0x20, struct.pack(">BBBB", number, 0, 0, 0) + inner)
    default = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3") + item(0x55, b"FUZZ")
    return pdu(1, content + item(0x50, default if user is None else user))


def element(group: int, number: int, value: bytes, length: int | None = None) -> bytes:
    claimed = len(value) if length is None else length
    return struct.pack("<HHL", group, number, claimed & 0xFFFFFFFF) + value


def _us(value: int) -> bytes:
    return struct.pack("<H", value & 0xFFFF)


def _ui(value: str) -> bytes:
    text = value.encode()
    return text + b"\0" * (len(text) % 2)


def command(field: int, sop_class: str, **different: bytes | None) -> bytes:
    """A command set in implicit VR; an element that is None is left out."""
    values: dict[str, bytes | None] = {
        "0002": _ui(sop_class),
        "0003": None,
        "0100": _us(field),
        "0110": _us(7),
        "0700": _us(0),
        "0800": _us(1 if field in (0x0001, 0x0130, 0x0100) else 0x0101),
        "1000": _ui("1.2.3.4"),
        **different,
    }
    if field == 0x0130:
        values |= {"0002": None, "0003": _ui(sop_class), "1000": None}
        values |= {"1001": _ui("1.2.840.10008.1.20.1.1"), "1008": _us(1)}
    if field == 0x0100:
        values["1002"] = _us(1)
    body = b"".join(
        element(0, int(number, 16), value)
        for number, value in sorted(values.items())
        if value is not None
    )
    return element(0, 0, struct.pack("<L", len(body))) + body


def fragment(content: bytes, context: int, flags: int, length: int | None = None) -> bytes:
    claimed = len(content) + 2 if length is None else length
    return struct.pack(">LBB", claimed & 0xFFFFFFFF, context & 0xFF, flags & 0xFF) + content


def data(*fragments: bytes) -> bytes:
    return pdu(4, b"".join(fragments))


_DATA_SET = (
    b"\x08\x00\x16\x00UI\x1c\x00" + _ui(ULTRASOUND) + b"\x08\x00\x18\x00UI\x08\x00" + _ui("1.2.3.4")
)
RELEASE, ABORT = pdu(5, b"\0\0\0\0"), pdu(7, b"\0\0\0\0")


def _store(chance: random.Random) -> list[bytes]:
    pieces = [_DATA_SET, chance.randbytes(chance.choice((0, 3, 900)))]
    return [
        data(fragment(command(1, ULTRASOUND), 3, 3)),
        data(fragment(pieces[0], 3, 0)),
        data(fragment(pieces[1], 3, 2)),
    ]


def _echo(chance: random.Random) -> list[bytes]:
    return [data(fragment(command(0x30, VERIFICATION), 1, 3))]


def _commitment(chance: random.Random) -> list[bytes]:
    field = chance.choice((0x0130, 0x0100))
    body = chance.choice(
        (
            element(8, 0x1195, _ui("1.2.9")),
            element(8, 0x1195, _ui("DOE^JANE")) + element(8, 0x1199, b""),
            element(8, 0x1195, _ui("1.2.9"))
            + element(8, 0x1199, b"\xfe\xff\x00\xe0\xff\xff\xff\xff", 0xFFFFFFFF),
            chance.randbytes(60),
            b"",
        )
    )
    return [data(fragment(command(field, COMMITMENT), 5, 3)), data(fragment(body, 5, 2))]


def _unexpected(chance: random.Random) -> list[bytes]:
    """C-FIND, C-MOVE, C-CANCEL, responses, N-CREATE … where nobody asked for them."""
    field = chance.choice(
        (0x20, 0x21, 0x10, 0x0FFF, 0x8001, 0x8030, 0x0140, 0x0150, 0x0110, 0xFFFF)
    )
    context = chance.choice((1, 3, 5, 7, 0, 255))
    return [data(fragment(command(field, chance.choice((VERIFICATION, ULTRASOUND))), context, 3))]


def _mutated(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if not changed:
            break
        at = chance.randrange(len(changed))
        match chance.randrange(5):
            case 0:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                changed[at : at + 4] = chance.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
            case 2:
                del changed[at : at + chance.randrange(1, 20)]
            case 3:
                changed[at:at] = chance.randbytes(chance.randrange(1, 40))
            case _:
                changed[at] = chance.randrange(256)
    return bytes(changed)


def hostile_session(seed: int) -> tuple[str, list[bytes]]:
    """A kind, and what is sent, in pieces: the same for the same seed."""
    chance = random.Random(seed)
    messages = chance.choice((_store, _store, _echo, _commitment, _unexpected))(chance)
    kind = chance.choice(
        (
            *("garbage", "request", "request", "lengths", "users", "contexts", "protocols"),
            *("messages", "messages", "messages", "fragments", "commands", "order", "ends"),
            "valid",
        )
    )
    pieces = [associate_request(), *messages, RELEASE]
    match kind:
        case "garbage":
            pieces = [chance.randbytes(chance.choice((1, 6, 100, 5000)))]
        case "request":
            pieces[0] = _mutated(pieces[0], chance)
        case "lengths":
            body = associate_request()[6:]
            pieces[0] = pdu(1, body, chance.choice((0, 1, 68, 0xFFFF, 0xFFFFFFFF, len(body) - 9)))
        case "users":
            user = b"".join(
                item(
                    chance.choice((0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x99)),
                    chance.randbytes(chance.choice((0, 1, 4, 40))),
                )
                for _ in range(chance.choice((0, 1, 5, 200)))
            )
            pieces[0] = associate_request(user=user)
        case "contexts":
            number = chance.choice((0, 1, 2, 128, 300))
            pieces[0] = associate_request(
                [
                    (
                        chance.choice((1, 1, 2, 255, each % 256)),
                        chance.choice((VERIFICATION, ULTRASOUND, "", "1" * 70, "DOE^JANE")),
                        chance.choice((IMPLICIT, EXPLICIT, "", "x" * 300)),
                    )
                    for each in range(number)
                ]
            )
        case "protocols":
            pieces = [
                chance.choice(
                    (
                        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(200),
                        b"SSH-2.0-OpenSSH_9.2\r\n",
                        b"\0" * 10_000,
                        associate_request(version=chance.choice((0, 2, 0xFFFF))),
                    )
                )
            ]
        case "messages":
            at = chance.randrange(1, len(pieces))
            pieces[at] = _mutated(pieces[at], chance)
        case "fragments":
            content = command(0x30, VERIFICATION)
            pieces[1] = data(
                *(
                    fragment(
                        content[:20],
                        chance.choice((0, 1, 2, 99)),
                        chance.randrange(256),
                        chance.choice((None, 0, 1, 2, 0xFFFFFFFF)),
                    )
                    for _ in range(chance.choice((1, 3, 50)))
                )
            )
        case "commands":
            broken = {
                chance.choice(
                    ("0000", "0002", "0100", "0110", "0700", "0800", "1000")
                ): chance.choice((None, b"", b"\0", b"\xff" * 70, _ui("DOE^JANE")))
                for _ in range(chance.choice((1, 2, 4)))
            }
            field, uid, context = chance.choice(
                ((1, ULTRASOUND, 3), (0x30, VERIFICATION, 1), (0x130, COMMITMENT, 5))
            )
            pieces[1] = data(fragment(command(field, uid, **broken), context, 3))
        case "order":
            pieces += [
                associate_request(),
                ABORT,
                pdu(2, b"\0" * 68),
                pdu(6, b"\0\0\0\0"),
                pdu(3, b"\0" * 4),
            ]
            chance.shuffle(pieces)
            if chance.random() < 0.5:
                pieces.insert(0, associate_request())
        case "ends":
            pieces = pieces[: chance.randrange(1, len(pieces))]
            pieces.append(chance.choice((b"", ABORT, RELEASE + RELEASE, RELEASE[:5], ABORT[:3])))
    return kind, pieces


def play(port: int, pieces: list[bytes], chance: random.Random) -> float:
    """Send the pieces, read what comes, and be gone; returns the seconds until the peer let go.

    Raises TimeoutError if it has not within ``_PATIENCE`` seconds.
    """
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
        connection.settimeout(_PATIENCE)
        try:
            for piece in pieces:
                connection.sendall(piece)
                if chance.random() < 0.3:
                    connection.settimeout(0.02)
                    with suppress(TimeoutError):
                        connection.recv(4096)
                    connection.settimeout(_PATIENCE)
            if chance.random() < 0.5:
                return time.monotonic() - started
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
        except (ConnectionError, BrokenPipeError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
    return time.monotonic() - started
