"""
Small generated media files: their colour or duration shows whether and where a browser displays
them.
"""

from __future__ import annotations

import math
import struct
import zlib

__all__ = ["COLOUR", "pdf", "png", "png_pixel", "video", "wav"]

#: The colour of what is displayed: red, green, blue.
COLOUR = (200, 30, 60)


def png(width: int = 40, height: int = 30) -> bytes:
    """:return: a picture of one colour."""
    rows = (b"\0" + bytes(COLOUR) * width) * height

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def png_pixel(data: bytes, x: float, y: float) -> tuple[int, ...]:
    """
    :param data: a PNG of 8 bits per channel, not interlaced.
    :param x: from 0, left, to 1, right; *y* likewise from top to bottom.
    :return: the colour there.
    """
    width, height, _, kind = struct.unpack(">IIBB", data[16:26])
    size, packed, at = {2: 3, 6: 4}[kind], b"", 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        at += 12 + length
    raw, stride = zlib.decompress(packed), width * size
    before = bytes(stride)
    for row in range(int(y * (height - 1)) + 1):
        start = row * (stride + 1)
        before = _unfilter(raw[start], raw[start + 1 : start + 1 + stride], before, size)
    column = int(x * (width - 1)) * size
    return tuple(before[column : column + 3])


def _unfilter(kind: int, line: bytes, above: bytes, size: int) -> bytes:
    out = bytearray()
    for i, value in enumerate(line):
        left = out[i - size] if i >= size else 0
        corner = above[i - size] if i >= size else 0
        up = above[i]
        guess = left + up - corner
        paeth = min((left, up, corner), key=lambda each: abs(guess - each))
        out.append((value + (0, left, up, (left + up) // 2, paeth)[kind]) & 0xFF)
    return bytes(out)


def pdf(action: bytes = b"") -> bytes:
    """
    :param action: what happens when the page is opened.  Then a black field named ``cover`` is on
        the page, which the action may hide.
    :return: a page that is filled with one colour.
    """
    red, green, blue = (channel / 255 for channel in COLOUR)
    drawing = b"%.4f %.4f %.4f rg 0 0 600 800 re f" % (red, green, blue)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(drawing), drawing),
    ]
    if action:
        objects[0] = (
            b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [5 0 R] >> /OpenAction %b >>"
        )
        objects[0] %= action
        objects[2] = objects[2].replace(b" >>", b" /Annots [5 0 R] >>")
        black = b"0 0 0 rg 0 0 600 800 re f"
        objects += [
            b"<< /Type /Annot /Subtype /Widget /FT /Btn /Ff 65536 /F 4 /T (cover) /P 3 0 R "
            b"/Rect [0 0 600 800] /AP << /N 6 0 R >> >>",
            b"<< /Type /XObject /Subtype /Form /BBox [0 0 600 800] /Length %d >>\n"
            b"stream\n%b\nendstream" % (len(black), black),
        ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    end = b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R >>\n"
    end %= (size, table, size)
    return out + end + b"startxref\n%d\n%%%%EOF\n" % len(out)


def wav(seconds: int, rate: int = 44100) -> bytes:
    """:return: a tone, 16 bits, two channels: 176 kB for each second."""
    wave = [int(8000 * math.sin(2 * math.pi * 441 * n / rate)) for n in range(rate // 441)]
    tone = b"".join(struct.pack("<hh", value, value) for value in wave) * 441 * seconds
    form = struct.pack("<HHIIHH", 1, 2, rate, rate * 4, 4, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(tone)) + b"WAVEfmt \x10\0\0\0" + form
        + b"data" + struct.pack("<I", len(tone)) + tone
    )  # fmt: skip


# -- video: H.264 without any compression (I_PCM macroblocks), in an MP4 whose index comes first


class _Bits:
    def __init__(self) -> None:
        self._bits = ""

    def u(self, value: int, count: int = 1) -> _Bits:
        """Write an unsigned number of *count* bits."""
        self._bits += format(value, f"0{count}b")
        return self

    def ue(self, *values: int) -> _Bits:
        """Write numbers as Exp-Golomb codes (H.264, 9.1)."""
        for value in values:
            digits = format(value + 1, "b")
            self._bits += "0" * (len(digits) - 1) + digits
        return self

    def align(self, stop: str = "") -> bytes:
        """:return: all of it, with zeros up to the next byte."""
        bits = self._bits + stop
        bits += "0" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")


#: Macroblocks of a frame in each direction, and frames per second.
_BLOCKS, _RATE = 4, 10
_LUMA, _CHROMA = b"\x50" * 256, b"\x60" * 64 + b"\xb0" * 64


def _frame(number: int) -> bytes:
    head = _Bits().ue(0, 7, 0).u(0, 4).ue(number % 2).u(0, 2).ue(0).ue(25).align()
    block = _LUMA + _CHROMA
    rest = _Bits().ue(25).align() + block
    return b"\x65" + head + block + rest * (_BLOCKS * _BLOCKS - 1) + b"\x80"


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def _full(kind: bytes, fmt: str, *values: object, version_flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I" + fmt, version_flags, *values))


_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def video(seconds: int) -> bytes:
    """:return: an MP4 of 64 by 64 pixels, every frame a key frame: 62 kB for each second."""
    samples = [struct.pack(">I", len(each)) + each for each in map(_frame, range(seconds * _RATE))]
    kind = _box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41")
    index = _index(len(samples), len(samples[0]), 0)
    index = _index(len(samples), len(samples[0]), len(kind) + len(index) + 8)
    return kind + index + _box(b"mdat", *samples)


def _index(count: int, size: int, offset: int) -> bytes:
    pixels = _BLOCKS * 16
    sps = b"\x67\x42\xc0\x0a" + (
        _Bits().ue(0, 0, 2, 0).u(0).ue(_BLOCKS - 1, _BLOCKS - 1).u(0b1100, 4).align("1")
    )
    pps = b"\x68" + _Bits().ue(0, 0).u(0, 2).ue(0, 0, 0).u(0, 3).ue(0, 0, 0).u(0, 3).align("1")
    avcc = _box(
        b"avcC",
        b"\1\x42\xc0\x0a\xff\xe1", struct.pack(">H", len(sps)), sps,
        b"\1", struct.pack(">H", len(pps)), pps,
    )  # fmt: skip
    entry = struct.pack(">6xH16xHHIIIH32xHh", 1, pixels, pixels, 72 << 16, 72 << 16, 0, 1, 24, -1)
    table = _box(
        b"stbl",
        _box(b"stsd", struct.pack(">II", 0, 1), _box(b"avc1", entry, avcc)),
        _full(b"stts", "III", 1, count, 1),
        _full(b"stsc", "IIII", 1, 1, count, 1),
        _full(b"stsz", "II", size, count),
        _full(b"stco", "II", 1, offset),
    )
    media = _box(
        b"minf",
        _full(b"vmhd", "8x", version_flags=1),
        _box(b"dinf", _box(b"dref", struct.pack(">II", 0, 1), _full(b"url ", "", version_flags=1))),
        table,
    )
    track = _box(
        b"trak",
        _box(
            b"tkhd", struct.pack(">6I16x", 3, 0, 0, 1, 0, count), _MATRIX,
            struct.pack(">II", pixels << 16, pixels << 16),
        ),
        _box(
            b"mdia",
            _full(b"mdhd", "IIIIHH", 0, 0, _RATE, count, 0x55C4, 0),
            _full(b"hdlr", "I4s13x", 0, b"vide"),
            media,
        ),
    )  # fmt: skip
    head = _box(
        b"mvhd", struct.pack(">IIIIIIH10x", 0, 0, 0, _RATE, count, 0x10000, 0x100), _MATRIX,
        struct.pack(">24xI", 2),
    )  # fmt: skip
    return _box(b"moov", head, track)
