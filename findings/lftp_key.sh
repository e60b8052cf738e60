#!/usr/bin/env bash
# lftp 4.9.2 (Debian 4.9.2-2+b1): the key of an announce is the same in every process.
#
# Expected (BEP 7, BEP 15): `key` is chosen at random when a client starts, so that a tracker knows a client by it when
# its address changes, and nobody else can say the same.
# Seen: three processes, each with a home of its own, say the same key, as the random numbers it is made of are never
# seeded. This script wants the very key that was seen where it was written. The peer ids differ.
set -euo pipefail

version=4.9.2-2+b1
folder=$(mktemp -d)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download --quiet --quiet "lftp=$version" 2>/dev/null ||
    { echo "cannot be run here: lftp $version is not to be had"; exit 2; }
dpkg-deb --extract lftp_*.deb root
cat >tracker.py <<'PYTHON'
import hashlib, os, re, socket, subprocess, sys

content = b"x" * 16384
info = b"d6:lengthi16384e4:name1:f12:piece lengthi16384e6:pieces20:" + hashlib.sha1(content).digest() + b"e"
tracker = socket.create_server(("127.0.0.1", 0))
tracker.settimeout(30)
url = b"http://127.0.0.1:%d/announce" % tracker.getsockname()[1]
with open("f.torrent", "wb") as file:
    file.write(b"d8:announce%d:%s4:info%se" % (len(url), url, info))
answer = b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\nConnection: close\r\n\r\nd8:intervali1800e5:peers0:e"
said = {"key": [], "peer_id": []}
for number in range(3):
    home = os.path.join(os.getcwd(), f"home{number}")
    os.mkdir(home)
    client = subprocess.Popen(
        [sys.argv[1], "-c", f"set torrent:use-dht no; torrent -O {home} f.torrent"],
        env={**os.environ, "HOME": home}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    try:
        connection, _ = tracker.accept()
        connection.settimeout(30)
        request = connection.recv(4096).decode()
        for name, values in said.items():
            values += re.findall(rf"[?&]{name}=([^&\s]*)", request)
        connection.sendall(answer)
        connection.close()
    finally:
        client.kill()
        client.wait()
print(len(set(said["peer_id"])), "peer ids;", "key", *sorted(set(said["key"])))
PYTHON
seen=$(python3 tracker.py root/usr/bin/lftp)
echo "$seen"
[ "$seen" = "3 peer ids; key 4371566b9076b64dc85e" ] || { echo "this has changed: three processes had one key, and three peer ids"; exit 1; }
