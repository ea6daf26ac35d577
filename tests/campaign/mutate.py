"""Damaged files: by chance from intact ones, in the bytes, in the text, and inside packed and checksummed forms."""

from __future__ import annotations

import gzip
import io
import random
import re
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence

NUMBERS = (
    *(b"0", b"-1", b"1e999", b"-1e999", b"NaN", b"1e-320", b"9223372036854775808", b"4294967296", b"-2147483649"),
    *(b"1" * 40, b"9" * 5000, b"0x10", b"1_000", "٣".encode(), "²".encode(), b"00", b"1.5.2", b"+-1", b"true", b"null"),
)
"""What a number in a text is replaced by."""

WORDS = (
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x1b[31m",
        b"\r",
        b"\n\n",
        b'"',
        b"'",
        b",",
        b"[",
        b"{",
        b"}",
        b"]",
        b":",
    ),
    *(
        b"..",
        b"../../x",
        b"/dev/zero",
        b"/",
        b"\\u0000",
        b"\\ud800",
        "\u202e".encode(),
        b"%s",
        b"{0}",
        b"&a",
        b"*a",
        b"|",
    ),
)
"""What is put between words."""

INTEGERS = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -(2**31))
"""What four or eight bytes are replaced by."""

Change = Callable[[bytes, random.Random], bytes]


def damaged(data: bytes, name: str, chance: random.Random) -> bytes:
    """A damaged version of a file.

    Args:
        data: its content.
        name: its name; the ending says what is inside.
        chance: source of all decisions.
    """
    inside, changed = _inside(name), data
    for _ in range(5):  # some changes, such as that of an empty part, leave it as it is
        if inside is not None and chance.random() < 0.6:
            changed = inside(data, chance)
        else:
            changed = _several(data, chance, textual=_is_text(data))
        if changed != data:
            break
    return changed


def _several(data: bytes, chance: random.Random, *, textual: bool) -> bytes:
    changes = TEXT_CHANGES if textual and chance.random() < 0.7 else BYTE_CHANGES
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        data = chance.choice(changes)(data, chance)
    return data


def _is_text(data: bytes) -> bool:
    return b"\x00" not in data[:4000] and bool(re.search(rb"[\w ]{3}", data[:4000]))


# bytes


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 10))):
        if changed:
            changed[_place(changed, chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _place(data: bytes | bytearray, chance: random.Random) -> int:
    """A place in data, often near the beginning or the end, where headers are."""
    near = min(len(data), 64)
    kind = chance.random()
    if kind < 0.35:
        return chance.randrange(near)
    if kind < 0.5:
        return len(data) - 1 - chance.randrange(near)
    return chance.randrange(len(data))


def _set_integer(data: bytes, chance: random.Random) -> bytes:
    form = chance.choice(("<i", ">i", "<q", ">q", "<h", ">h", "b"))
    size = struct.calcsize(form)
    if len(data) < size:
        return data
    bits = 8 * size
    value = (chance.choice(INTEGERS) + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
    start = min(_place(data, chance), len(data) - size)
    return data[:start] + struct.pack(form, value) + data[start + size :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: _place(data, chance)] if data else data


def _remove(data: bytes, chance: random.Random) -> bytes:
    start, length = _range(data, chance)
    return data[:start] + data[start + length :]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    start, length = _range(data, chance)
    return data[: start + length] + data[start : start + length] * chance.choice((1, 1, 2, 20)) + data[start + length :]


def _insert(data: bytes, chance: random.Random) -> bytes:
    start = _place(data, chance) if data else 0
    return data[:start] + chance.randbytes(chance.choice((1, 4, 16, 300))) + data[start:]


def _zero(data: bytes, chance: random.Random) -> bytes:
    start, length = _range(data, chance)
    return data[:start] + chance.choice((b"\x00", b"\xff", b" ")) * length + data[start + length :]


def _swap(data: bytes, chance: random.Random) -> bytes:
    start, length = _range(data, chance)
    other, more = _range(data, chance)
    if start + length > other:
        return data
    return (
        data[:start]
        + data[other : other + more]
        + data[start + length : other]
        + data[start : start + length]
        + (data[other + more :])
    )


def _nothing(data: bytes, chance: random.Random) -> bytes:
    return chance.choice(
        (b"", b"\n", b"\x00", data[:1], chance.randbytes(64), data + data, data + chance.randbytes(16))
    )


def _range(data: bytes, chance: random.Random) -> tuple[int, int]:
    start = _place(data, chance) if data else 0
    return start, chance.choice((1, 2, 4, 8, 30, 200, max(len(data) // 3, 1)))


BYTE_CHANGES: Sequence[Change] = (
    *(_flip, _flip, _flip, _set_integer, _set_integer, _cut, _cut, _remove, _repeat, _insert, _zero, _swap, _nothing),
)


# text


def _change_number(data: bytes, chance: random.Random) -> bytes:
    return _change_match(rb"-?\d+(\.\d+)?", data, chance, NUMBERS)


def _change_word(data: bytes, chance: random.Random) -> bytes:
    return _change_match(rb"[A-Za-z_]\w*", data, chance, (*WORDS, *NUMBERS, b"", b"x" * 300, b"x" * 100_000))


def _change_mark(data: bytes, chance: random.Random) -> bytes:
    return _change_match(rb"[^\w\s]", data, chance, (*WORDS, b""))


def _change_match(pattern: bytes, data: bytes, chance: random.Random, by: Sequence[bytes]) -> bytes:
    found = list(re.finditer(pattern, data[:200_000]))
    if not found:
        return _insert(data, chance)
    match = chance.choice(found)
    return data[: match.start()] + chance.choice(by) + data[match.end() :]


def _change_lines(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    place = chance.randrange(len(lines))
    kind = chance.randrange(6)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, lines[chance.randrange(len(lines))])
    elif kind == 2:
        other = chance.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    elif kind == 3:
        lines[place] = lines[place].rstrip(b"\r\n") + b" " + lines[chance.randrange(len(lines))]
    elif kind == 4:
        lines = lines[: place + 1]
    else:
        lines.insert(place, chance.choice((b"\n", b"#\n", b",,,,\n", b"\t\t\n", b"x" * 5000 + b"\n")))
    return b"".join(lines)


def _nest(data: bytes, chance: random.Random) -> bytes:
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")"), (b"[[", b"]")))
    depth = chance.choice((20, 600, 5000, 100_000))
    start = _place(data, chance) if data else 0
    return data[:start] + opening * depth + b"1" + closing * depth + data[start:]


TEXT_CHANGES: Sequence[Change] = (
    *(_change_number, _change_number, _change_word, _change_word, _change_mark, _change_mark, _change_lines),
    *(_change_lines, _cut, _flip, _repeat, _nothing, _nest),
)


# inside packed and checksummed forms


def _inside(name: str) -> Change | None:
    low = name.lower()
    if low.endswith((".tar", ".tar.gz", ".tgz")):
        return _in_tar
    if low.endswith((".gz", "-ubyte.gz")):
        return _in_gzip
    if low.endswith((".npz", ".zip", ".xlsx")):
        return _in_zip
    return _in_png if low.endswith(".png") else None


def _in_gzip(data: bytes, chance: random.Random) -> bytes:
    plain = gzip.decompress(data)
    return gzip.compress(_several(plain, chance, textual=_is_text(plain)), 1, mtime=0)


def _in_zip(data: bytes, chance: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(item.filename, archive.read(item)) for item in archive.infolist()]
    victim, kind = chance.randrange(len(members)), chance.randrange(5)
    name, content = members[victim]
    if kind == 0:
        name = chance.choice(("../" + name, name + ".npy", "", "x" * 300, members[0][0]))
    elif kind == 1:
        head = content[:128]  # NumPy's header
        content = chance.choice(TEXT_CHANGES)(head, chance) + content[128:]
    else:
        content = _several(content, chance, textual=_is_text(content))
    members[victim] = (name, content)
    target = io.BytesIO()
    packing = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", packing) as archive:
        warnings.simplefilter("ignore")  # two members of one name are meant
        for each, inside in members:
            archive.writestr(zipfile.ZipInfo(each), inside)
    return target.getvalue()


def _in_png(data: bytes, chance: random.Random) -> bytes:
    """Change one chunk, and make its checksum right."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    victim = chance.randrange(len(chunks))
    kind, content = chunks[victim]
    content = (
        zlib.compress(chance.choice(BYTE_CHANGES)(zlib.decompress(content), chance))
        if (kind == b"IDAT" and chance.random() < 0.5)
        else chance.choice(BYTE_CHANGES)(content, chance)
    )
    chunks[victim] = (kind, content)
    if chance.random() < 0.2:
        chunks.insert(chance.randrange(len(chunks)), chunks[chance.randrange(len(chunks))])
    return data[:8] + b"".join(
        struct.pack(">I", len(inside)) + name + inside + struct.pack(">I", zlib.crc32(name + inside))
        for name, inside in chunks
    )


def _in_tar(data: bytes, chance: random.Random) -> bytes:
    """An archive of the same members, one of which is another thing or leads elsewhere."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [(item, archive.extractfile(item).read() if item.isfile() else b"") for item in archive]  # type: ignore[union-attr]
    victim, content = members[chance.randrange(len(members))]
    kind = chance.randrange(6)
    if kind == 0:
        victim.name = chance.choice(
            ("../" * 3 + "planted", "/tmp/planted", "a/../../planted", "", ".", "x" * 5000, "a\x00b")
        )
    elif kind == 1:
        victim.type = chance.choice(
            (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)
        )
        victim.linkname = chance.choice(("/etc", "..", "../..", members[0][0].name, ""))
        victim.size = 0
    elif kind == 2:
        link = tarfile.TarInfo("inside")
        link.type, link.linkname = tarfile.SYMTYPE, chance.choice(("..", "/tmp", "."))
        members.insert(0, (link, b""))
        victim.name = "inside/planted"
    elif kind == 3:
        members.append((victim, content))
    else:
        content = _several(content, chance, textual=_is_text(content))
        victim.size = len(content)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for item, inside in members:
            archive.addfile(item, io.BytesIO(content if item is victim else inside))
    return gzip.compress(target.getvalue(), 1, mtime=0)
