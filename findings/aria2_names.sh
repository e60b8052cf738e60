#!/usr/bin/env bash
# aria2 1.36.0 (Debian 1.36.0-1) writes a file with a control character in its name under another name.
#
# Expected (BEP 3): `path` has the name of the file, in UTF-8, and a file system of Linux can hold it.
# Seen: the character is written as `%` and two digits, and a `%` that was there stays as it is.
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
cat >download.py <<'PYTHON'
import hashlib, os, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

content = b"x" * 16384


class WebSeed(BaseHTTPRequestHandler):
    """Any name is 16384 times x."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        begin, end = 0, len(content) - 1
        if asked := self.headers["Range"]:
            begin, last = asked.removeprefix("bytes=").split("-")
            begin, end = int(begin), int(last or end)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(content)}")
        else:
            self.send_response(200)
        body = content[begin:end + 1]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


seed = ThreadingHTTPServer(("127.0.0.1", 0), WebSeed)
threading.Thread(target=seed.serve_forever, daemon=True).start()
url = b"http://127.0.0.1:%d/" % seed.server_port
names = [b"plain", b"a\x01b", b"c\x7fd", b"e%f"]
files = b"".join(b"d6:lengthi16384e4:pathl%d:%see" % (len(name), name) for name in names)
info = (b"d5:filesl" + files + b"e4:name1:n12:piece lengthi16384e6:pieces%d:" % (20 * len(names))
        + hashlib.sha1(content).digest() * len(names) + b"e")
with open("f.torrent", "wb") as file:
    file.write(b"d4:info" + info + b"8:url-list%d:%se" % (len(url), url))
subprocess.run([sys.argv[1], "--no-conf", "--enable-dht=false", "--seed-time=0", "--dir=down", "f.torrent"],
               env={**os.environ, "LD_LIBRARY_PATH": sys.argv[2]}, timeout=60, check=True,
               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(*map(repr, sorted(os.listdir("down/n"))))
PYTHON
seen=$(python3 download.py root/usr/bin/aria2c "$library")
echo "$seen"
[ "$seen" = "'a%01b' 'c%7Fd' 'e%f' 'plain'" ] ||
    { echo "this has changed: control characters were written as % and two digits"; exit 1; }
