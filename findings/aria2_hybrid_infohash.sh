#!/usr/bin/env bash
# aria2 1.36.0 (Debian 1.36.0-1): a hybrid torrent (BEP 52) is announced by an infohash that is nobody else's.
#
# Expected (BEP 3): the infohash is the SHA-1 of the bytes of `info` as they stand in the file; so a client that knows
# no v2 takes part in the v1 swarm of a hybrid torrent.
# Seen: of a hybrid file that libtorrent 2.0.11 wrote it announces neither the v1 infohash nor the v2 one, cut to 20
# bytes, while it announces the right one for the same content as v1 alone. So it finds nobody.
set -euo pipefail

version=1.36.0-1
folder=$(mktemp -d)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for package in aria2 libaria2-0; do
    apt-get download --quiet --quiet "$package=$version" 2>/dev/null ||
        { echo "cannot be run here: $package $version is not to be had"; exit 2; }
    dpkg-deb --extract "$package"_*.deb root
done
library=$(dirname "$(find root -name 'libaria2.so.0')")
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check --only-binary :all: libtorrent==2.0.11 ||
    { echo "cannot be run here: libtorrent 2.0.11 is not to be had"; exit 2; }
cat >tracker.py <<'PYTHON'
import os, subprocess, sys, threading, urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer

import libtorrent

announced = []


class Tracker(BaseHTTPRequestHandler):
    def do_GET(self):
        query = dict(pair.split("=", 1) for pair in self.path.split("?")[1].split("&"))
        announced.append(urllib.parse.unquote_to_bytes(query["info_hash"]).hex())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"d8:intervali1800e5:peers0:e")

    def log_message(self, *_):
        pass


tracker = HTTPServer(("127.0.0.1", 0), Tracker)
tracker.timeout = 30
os.mkdir("content")
for name in ("a", "b"):
    with open(f"content/{name}", "wb") as file:
        file.write(os.urandom(100_000))
for kind, flags in (("v1", 64), ("hybrid", 0)):
    storage = libtorrent.file_storage()
    libtorrent.add_files(storage, "content")
    made = libtorrent.create_torrent(storage, flags=flags)
    made.add_tracker(f"http://127.0.0.1:{tracker.server_port}/announce")
    libtorrent.set_piece_hashes(made, ".")
    with open(f"{kind}.torrent", "wb") as file:
        file.write(libtorrent.bencode(made.generate()))
    hashes = libtorrent.torrent_info(f"{kind}.torrent").info_hashes()
    names = {str(hashes.v1): "the v1 infohash"}
    if hashes.has_v2():
        names[str(hashes.v2)[:40]] = "the v2 infohash"
    client = subprocess.Popen(
        [sys.argv[1], "--no-conf", "--enable-dht=false", f"--dir={kind}", "--quiet", f"{kind}.torrent"],
        env={**os.environ, "LD_LIBRARY_PATH": sys.argv[2]})
    announced.clear()
    tracker.handle_request()
    client.kill()
    client.wait()
    said = announced[0] if announced else "nothing"
    print(f"{kind}: announced {names.get(said, 'another infohash' if announced else 'nothing')}")
PYTHON
seen=$(python/bin/python tracker.py root/usr/bin/aria2c "$library")
echo "$seen"
[ "$seen" = "v1: announced the v1 infohash
hybrid: announced another infohash" ] || { echo "this has changed"; exit 1; }
