#!/usr/bin/env bash
# aria2 1.36.0 (Debian 1.36.0-1): the path of a UDP announce URL is not sent.
#
# Expected (BEP 41): of `udp://tracker/some/path` the client sends `/some/path` as URLData behind the 98 bytes of an
# announce, so that a tracker can tell users by it. The same client sends the path over HTTP, of course.
# Seen: behind the 98 bytes are two zeros, which are ends of options, and nothing of the path; a UDP tracker is not
# told which URL was meant. And with `--enable-dht=false`, which says nothing of trackers, UDP trackers are not asked
# at all, without a word.
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
import hashlib, os, socket, subprocess, sys

content = b"x" * 16384
pieces = hashlib.sha1(content).digest()
info = b"d6:lengthi16384e4:name1:f12:piece lengthi16384e6:pieces20:" + pieces + b"e"
tracker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tracker.bind(("127.0.0.1", 0))
tracker.settimeout(int(sys.argv[3]))
url = b"udp://127.0.0.1:%d/secret/announce" % tracker.getsockname()[1]
with open("f.torrent", "wb") as file:
    file.write(b"d8:announce%d:%s4:info%se" % (len(url), url, info))
client = subprocess.Popen(
    [sys.argv[1], sys.argv[4], "--dht-file-path=dht.dat", "--bt-stop-timeout=15", "--dir=down", "--quiet", "f.torrent"],
    env={**os.environ, "LD_LIBRARY_PATH": sys.argv[2]},
)
try:
    while True:
        datagram, sender = tracker.recvfrom(2048)
        action, transaction = datagram[8:12], datagram[12:16]
        if action == b"\0\0\0\0":
            tracker.sendto(b"\0\0\0\0" + transaction + b"12345678", sender)
        else:
            print(f"announce of {len(datagram)} bytes, options {datagram[98:]!r}")
            break
except TimeoutError:
    print("nothing was sent")
finally:
    client.kill()
    client.wait()
PYTHON
ask() { python3 tracker.py root/usr/bin/aria2c "$library" "$@"; }
check() { # WHAT EXPECTED FOUND
    echo "$1: $3"
    [ "$3" = "$2" ] || { echo "changed; it was: $2"; exit 1; }
}
check "with DHT" "announce of 100 bytes, options b'\\x00\\x00'" "$(ask 20 --enable-dht=true)"
check "without DHT" "nothing was sent" "$(ask 10 --enable-dht=false)"
echo "as found: the path is not sent, and without DHT no UDP tracker is asked"
