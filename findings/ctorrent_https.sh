#!/usr/bin/env bash
# ctorrent dnh3.3.2 (Debian 1.3.4.dnh3.3.2-5+b1): an `https://` announce is sent in the clear.
#
# Expected: of `https://tracker/passkey/announce` the client makes a TLS connection, or says that it cannot.
# Seen: it connects to the port of that URL and sends the request there as plain HTTP, passkey, infohash and all.
set -euo pipefail

version=1.3.4.dnh3.3.2-5+b1
folder=$(mktemp -d)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download --quiet --quiet "ctorrent=$version" 2>/dev/null ||
    { echo "cannot be run here: ctorrent $version is not to be had"; exit 2; }
dpkg-deb --extract ctorrent_*.deb root
cat >tracker.py <<'PYTHON'
import hashlib, socket, subprocess, sys

content = b"x" * 16384
info = b"d6:lengthi16384e4:name1:f12:piece lengthi16384e6:pieces20:" + hashlib.sha1(content).digest() + b"e"
tracker = socket.create_server(("127.0.0.1", 0))
tracker.settimeout(30)
url = b"https://127.0.0.1:%d/passkey/announce" % tracker.getsockname()[1]
with open("f.torrent", "wb") as file:
    file.write(b"d8:announce%d:%s4:info%se" % (len(url), url, info))
client = subprocess.Popen([sys.argv[1], "f.torrent"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)
try:
    connection, _ = tracker.accept()
    connection.settimeout(30)
    # A TLS client would begin with byte 22.
    print("sent to the port of an https URL:", connection.recv(2048).split(b"?")[0])
except TimeoutError:
    print("nothing was sent")
finally:
    client.kill()
    client.wait()
PYTHON
seen=$(python3 tracker.py "$PWD/root/usr/bin/ctorrent")
echo "$seen"
[[ $seen = *"b'GET /passkey/announce'" ]] || { echo "this has changed: the request was sent in the clear"; exit 1; }
