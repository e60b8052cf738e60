#!/usr/bin/env bash
# libtorrent 2.1.1 (PyPI) refuses a torrent with a file that lies 100 folders deep; 2.0.11 takes it.
#
# Expected (BEP 3): `path` is a list of one name or more, and nothing says how long it is. The path here has some 200
# characters, which a file system can hold.
# Seen: 2.1.1 refuses it, as "directory structure in torrent file exceeds depth limit", from 101 names on. 2.0.8 of
# Debian (python3-libtorrent 2.0.8-1+b1) takes it too.
set -euo pipefail

folder=$(mktemp -d)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >read.py <<'PYTHON'
import hashlib

import libtorrent

for parts in (100, 101):
    path = b"1:d" * (parts - 1) + b"1:f"
    info = (b"d5:filesld6:lengthi16384e4:pathl" + path + b"eee4:name1:n12:piece lengthi16384e6:pieces20:"
            + hashlib.sha1(b"x" * 16384).digest() + b"e")
    with open("f.torrent", "wb") as file:
        file.write(b"d4:info" + info + b"e")
    try:
        libtorrent.torrent_info("f.torrent")
        print(parts, "names: taken")
    except RuntimeError:
        print(parts, "names: refused")
PYTHON
ask() { # VERSION
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "libtorrent==$1" ||
        { echo "cannot be run here: libtorrent $1 is not to be had"; exit 2; }
    "$1/bin/python" read.py
}
check() { # VERSION EXPECTED
    seen=$(ask "$1" | paste -s -d ,)
    echo "libtorrent $1: $seen"
    [ "$seen" = "$2" ] || { echo "changed; it was: $2"; exit 1; }
}
check 2.0.11 "100 names: taken,101 names: taken"
check 2.1.1 "100 names: taken,101 names: refused"
