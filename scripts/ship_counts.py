"""What a counting program leaves behind, for `scripts/ship`.

Only the llvm-profdata of rustc's own LLVM, which rustup offers and Debian does not, can read it. The text form can be read by all. The
layout is that of LLVM's compiler-rt/include/profile/InstrProfData.inc (LLVM 22): a header, a record per function, their counters,
their names.
"""
import hashlib
import struct
import sys
import zlib

MAGIC, VERSION = 0xFF6C70726F667281, 1 << 56 | 10  # counts of the compiler's intermediate form, by counters of 64 bits
HEADER, RECORD = struct.Struct("<16Q"), struct.Struct("<6QI")
RECORD_BYTES = 64  # with the numbers of value sites and of bitmap bytes, which are of no use here


def variable_length(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def names_by_hash(data):
    """The names of functions, by the hash that their records have."""
    names, at = {}, 0
    while at < len(data):
        if data[at] == 0:  # padding between what the linker joined
            at += 1
            continue
        plain, at = variable_length(data, at)
        packed, at = variable_length(data, at)
        chunk = zlib.decompress(data[at : at + packed]) if packed else data[at : at + plain]
        at += packed or plain
        for name in chunk.split(b"\1"):
            names[int.from_bytes(hashlib.md5(name).digest()[:8], "little")] = name
    return names


def counts(data):
    """(name, hash of the function's shape) and its counters, of one file."""
    if len(data) < HEADER.size or HEADER.unpack_from(data)[0] != MAGIC:
        sys.exit("scripts/ship: what was counted is damaged: it does not begin as LLVM's raw profiles do")
    header = HEADER.unpack_from(data)
    _, version, ids, functions, before, counters, after, bitmap, after_bitmap, names = header[:10]
    if version != VERSION:
        sys.exit(f"scripts/ship: what was counted is of version {version:#x}, not {VERSION:#x} (LLVM 19 to 22): this script does not know the compiler's form")
    records = HEADER.size + ids
    values = records + functions * RECORD_BYTES + before
    named = values + counters * 8 + after + bitmap + after_bitmap
    known = names_by_hash(data[named : named + names])
    for number in range(functions):
        name, shape, place, *_, many = RECORD.unpack_from(data, records + number * RECORD_BYTES)
        # A place is told as the distance from its own record, the first one's in the header.
        at = values + (place - header[10] + number * RECORD_BYTES) % 2**64
        yield (known[name], shape), struct.unpack_from(f"<{many}Q", data, at)


def readable(file):
    """What one file counts; ends in words where its parts do not fit together."""
    try:
        yield from counts(file.read_bytes())
    except (struct.error, zlib.error, KeyError, IndexError) as error:
        sys.exit(f"scripts/ship: what was counted is damaged: {file.name} is not whole ({error!r})")


def as_text(files):
    """The sum of what the files count, in llvm-profdata's text form; and how many functions ran."""
    total = {}
    for file in files:
        for function, counted in readable(file):
            known = total.get(function)
            total[function] = counted if known is None else tuple(map(sum, zip(known, counted)))
    lines = [b":ir"]
    for (name, shape), counted in total.items():
        lines += [name, b"%d" % shape, b"%d" % len(counted), *(b"%d" % count for count in counted), b""]
    return b"\n".join(lines) + b"\n", sum(any(counted) for counted in total.values())
