"""
A picture and a document for the demo, made without a library.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

__all__ = ["chart", "document"]

#: Pixels of a chart: its height, and the width of one value.
HEIGHT, STEP = 160, 4
#: What a chart consists of: background, area.  Red, green, blue.
_PALETTE = bytes([0xF6, 0xF8, 0xFA, 0x2F, 0x6F, 0xB0])
_FONT_SIZE, _LINE, _PAGE, _MARGIN = 14, 22, (420, 300), 40


def chart(values: Sequence[float]) -> bytes:
    """
    :param values: not all equal.
    :return: a PNG, with the area below their curve in another colour.
    """
    low, high = min(values), max(values)
    heights = [int((value - low) / (high - low) * (HEIGHT - 1)) for value in values]
    rows = (
        b"\0" + b"".join(bytes([y <= height]) * STEP for height in heights)
        for y in range(HEIGHT - 1, -1, -1)
    )
    head = struct.pack(">IIBBBBB", len(values) * STEP, HEIGHT, 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", head),
        (b"PLTE", _PALETTE),
        (b"IDAT", zlib.compress(b"".join(rows))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def document(lines: Sequence[str]) -> bytes:
    """
    :param lines: of ASCII, without brackets and backslashes.
    :return: a PDF of one page with these lines.
    """
    width, height = _PAGE
    shown = " ".join(f"({line}) Tj T*" for line in lines)
    top = height - _MARGIN - _FONT_SIZE
    drawing = f"BT /F1 {_FONT_SIZE} Tf {_LINE} TL {_MARGIN} {top} Td {shown} ET"
    objects = (
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 4 0 R"
        " /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    text, entries = "%PDF-1.4\n", "0000000000 65535 f \n"
    for number, content in enumerate(objects, 1):
        entries += f"{len(text):010d} 00000 n \n"
        text += f"{number} 0 obj\n{content}\nendobj\n"
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(text)}\n%%EOF\n"
    return f"{text}xref\n0 {size}\n{entries}{trailer}".encode("ascii")
