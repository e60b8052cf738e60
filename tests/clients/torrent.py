"""A torrent of random bytes, and enough bencode to write it and to read the answers of a tracker."""

import dataclasses
import hashlib
import pathlib
import random
import urllib.parse

FILE_BYTES = 3 * 1024 * 1024 + 4321
PIECE_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Torrent:
    """What a `.torrent` describes: one file."""

    name: str
    info: bytes
    sha256: str

    @property
    def info_hash(self):
        return hashlib.sha1(self.info).digest()

    def write(self, path, *tiers):
        """The `.torrent` for a client that is to announce there."""
        tiers = [tier.encode() for tier in tiers]
        more = b"13:announce-list" + encode([[tier] for tier in tiers]) if len(tiers) > 1 else b""
        path.write_bytes(b"d8:announce" + encode(tiers[0]) + more + b"4:info" + self.info + b"e")

    def magnet(self, announce):
        """The magnet link for a client that is to announce there (BEP 9)."""
        tracker = urllib.parse.quote(announce, safe="")
        return f"magnet:?xt=urn:btih:{self.info_hash.hex()}&dn={self.name}&tr={tracker}"

    def of_another_site(self):
        """Another torrent of the same file: its description says where it is from."""
        return dataclasses.replace(self, info=encode({**decode(self.info), b"source": b"another"}))

    def damage(self, folder):
        """Overwrites a part of the file in `folder`."""
        with open(pathlib.Path(folder) / self.name, "r+b") as file:
            file.seek(FILE_BYTES // 3)
            file.write(bytes(4 * PIECE_BYTES))

    def is_complete_in(self, folder):
        """Whether `folder` holds the file, byte for byte."""
        try:
            content = (pathlib.Path(folder) / self.name).read_bytes()
        except FileNotFoundError:
            return False
        return hashlib.sha256(content).hexdigest() == self.sha256


def make(folder, seed, private=True):
    """Writes a file of random bytes to `folder/content`, and describes it.

    Of a private torrent (BEP 27) a client may look for peers at its tracker and nowhere else; and it gives its
    description to nobody, so that there are no magnet links of it.
    """
    content = random.Random(seed).randbytes(FILE_BYTES)
    name = f"file-{seed}.bin"
    home = folder / "content"
    home.mkdir(parents=True)
    (home / name).write_bytes(content)
    pieces = b"".join(
        hashlib.sha1(content[at : at + PIECE_BYTES]).digest()
        for at in range(0, len(content), PIECE_BYTES)
    )
    info = {
        b"length": len(content),
        b"name": name.encode(),
        b"piece length": PIECE_BYTES,
        b"pieces": pieces,
        **({b"private": 1} if private else {}),
    }
    return Torrent(name, encode(info), hashlib.sha256(content).hexdigest())


def encode(value):
    """Bencode (BEP 3)."""
    match value:
        case int():
            return b"i%de" % value
        case bytes():
            return b"%d:%s" % (len(value), value)
        case list():
            return b"l" + b"".join(map(encode, value)) + b"e"
        case dict():
            pairs = sorted(value.items())
            return b"d" + b"".join(encode(key) + encode(of) for key, of in pairs) + b"e"
    raise TypeError(f"bencode has no {type(value)}")


def decode(data):
    """The value of a bencoded byte string, which has to end where the value ends."""
    value, rest = _decode(data)
    if rest:
        raise ValueError(f"{len(rest)} bytes after the end")
    return value


def _decode(data):
    kind = data[:1]
    if kind == b"i":
        number, _, rest = data[1:].partition(b"e")
        return int(number), rest
    if kind == b"l":
        items, rest = [], data[1:]
        while rest[:1] != b"e":
            item, rest = _decode(rest)
            items.append(item)
        return items, rest[1:]
    if kind == b"d":
        pairs, rest = {}, data[1:]
        while rest[:1] != b"e":
            key, rest = _decode(rest)
            pairs[key], rest = _decode(rest)
        return pairs, rest[1:]
    length, _, rest = data.partition(b":")
    length = int(length)
    if length > len(rest):
        raise ValueError("a string is cut short")
    return rest[:length], rest[length:]
