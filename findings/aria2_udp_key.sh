#!/usr/bin/env bash
# aria2 1.36.0 (Debian 1.36.0-1): the key of a UDP announce is another one in every announce.
#
# Expected (BEP 15, BEP 7): `key` stays the same as long as the client runs, as it is what a tracker can know a client
# by when its address changes, and what ties its IPv4 and IPv6 announces together. Over HTTP the same client's key does
# stay.
# Seen: three announces of one session over UDP have three keys.
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
cat >tracker.py <<'PYTHON'
import hashlib, os, socket, struct, subprocess, sys

content = b"x" * 16384
info = b"d6:lengthi16384e4:name1:f12:piece lengthi16384e6:pieces20:" + hashlib.sha1(content).digest() + b"e"
tracker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tracker.bind(("127.0.0.1", 0))
tracker.settimeout(40)
url = b"udp://127.0.0.1:%d/announce" % tracker.getsockname()[1]
with open("f.torrent", "wb") as file:
    file.write(b"d8:announce%d:%s4:info%se" % (len(url), url, info))
os.mkdir("seed")
with open("seed/f", "wb") as file:
    file.write(content)
client = subprocess.Popen(
    # Its UDP trackers want its DHT, which finds nobody here.
    [sys.argv[1], "--no-conf", "--dht-entry-point=127.0.0.1:1", "--dht-file-path=dht.dat", "--dir=seed",
     "--check-integrity=true", "--seed-ratio=0.0", "--seed-time=5", "--quiet", "f.torrent"],
    env={**os.environ, "LD_LIBRARY_PATH": sys.argv[2]},
)
keys = []
try:
    while len(keys) < 3:
        datagram, sender = tracker.recvfrom(2048)
        action, transaction = datagram[8:12], datagram[12:16]
        if action == b"\0\0\0\0":
            tracker.sendto(b"\0\0\0\0" + transaction + b"12345678", sender)
        elif action == b"\0\0\0\1":
            keys.append(datagram[88:92].hex())
            tracker.sendto(action + transaction + struct.pack("!III", 5, 0, 1), sender)
    print(f"{len(set(keys))} keys in {len(keys)} announces")
    print("for example:", *keys, file=sys.stderr)
except TimeoutError:
    print(f"only {len(keys)} announces")
finally:
    client.kill()
    client.wait()
PYTHON
seen=$(python3 tracker.py root/usr/bin/aria2c "$library")
echo "$seen"
[ "$seen" = "3 keys in 3 announces" ] || { echo "this has changed: it was another key in each of three announces"; exit 1; }
