#!/usr/bin/env bash
# lftp 4.9.2 (Debian 4.9.2-2+b1): an error of a UDP tracker brings the next announce at once, and so on for ever.
#
# Expected (BEP 15): an error says why there are no peers. A client shows it, and comes again later or not at all, as
# this one does after a `failure reason` over HTTP.
# Seen: the same announce again as soon as the error is there, with the same connection id and a new transaction id.
# Here the tracker answers a hundred times, and then no more; all hundred and the next one come.
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
import hashlib, os, socket, struct, subprocess, sys

ERRORS = 100
content = b"x" * 16384
info = b"d6:lengthi16384e4:name1:f12:piece lengthi16384e6:pieces20:" + hashlib.sha1(content).digest() + b"e"
tracker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tracker.bind(("127.0.0.1", 0))
# An announce that comes later than that is one that the client has waited with.
tracker.settimeout(10)
url = b"udp://127.0.0.1:%d/announce" % tracker.getsockname()[1]
with open("f.torrent", "wb") as file:
    file.write(b"d8:announce%d:%s4:info%se" % (len(url), url, info))
home = os.path.join(os.getcwd(), "home")
os.mkdir(home)
client = subprocess.Popen(
    [sys.argv[1], "-c", f"set torrent:use-dht no; torrent -O {home} f.torrent"],
    env={**os.environ, "HOME": home}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL)
seen = {"connects": 0, "announces": 0}
try:
    while seen["announces"] <= ERRORS:
        datagram, sender = tracker.recvfrom(2048)
        action, transaction = datagram[8:12], datagram[12:16]
        if action == struct.pack(">I", 0):
            seen["connects"] += 1
            tracker.sendto(action + transaction + b"12345678", sender)
        else:
            seen["announces"] += 1
            if seen["announces"] <= ERRORS:
                tracker.sendto(struct.pack(">I", 3) + transaction + b"torrent is not registered", sender)
except TimeoutError:
    pass
finally:
    client.kill()
    client.wait()
print("{connects} connect, {announces} announces".format(**seen))
PYTHON
seen=$(python3 tracker.py root/usr/bin/lftp)
echo "$seen"
[ "$seen" = "1 connect, 101 announces" ] ||
    { echo "this has changed: it announced again at once after each of a hundred errors"; exit 1; }
