#!/usr/bin/env bash
# opentracker (Debian 0.0~git20210823.110868e-3): whoever announces is told of himself.
#
# Expected: the peers of an answer are others, with whom the one who asks can exchange pieces.
# Seen: the first announce of the first peer is answered with its own address, over HTTP and over UDP.
set -euo pipefail

version=0.0~git20210823.110868e-3
folder=$(mktemp -d)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download --quiet --quiet "opentracker=$version" 2>/dev/null ||
    { echo "cannot be run here: opentracker $version is not to be had"; exit 2; }
# What it is linked with.
apt-get download --quiet --quiet libowfat0 2>/dev/null || true
for package in *.deb; do dpkg-deb --extract "$package" root; done
library=$(find "$PWD/root" -name 'libowfat.so.0*' -printf '%h\n' | sort -u)
cat >ask.py <<'PYTHON'
import os, socket, struct, subprocess, sys, time, urllib.request

port = 0
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
over_http, over_udp = b"h" * 20, b"u" * 20
# It is built for listed torrents alone, and reads the list from the folder that it shuts itself up in.
with open("list", "w") as file:
    file.write(f"{over_http.hex()}\n{over_udp.hex()}\n")
tracker = subprocess.Popen(
    [sys.argv[1], "-i", "127.0.0.1", "-p", str(port), "-P", str(port), "-w", "list", "-d", os.getcwd(), "-u", "nobody"],
    env={**os.environ, "LD_LIBRARY_PATH": sys.argv[2]}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
me = socket.inet_aton("127.0.0.1") + struct.pack(">H", 51413)


def whose(peers):
    return [{me: "itself"}.get(peers[at:at + 6], "another") for at in range(0, len(peers), 6)]


answer = None
try:
    url = (f"http://127.0.0.1:{port}/announce?info_hash={over_http.decode()}&peer_id=-XX0001-000000000000&port=51413"
           "&uploaded=0&downloaded=0&left=16384&compact=1&event=started")
    for _ in range(100):
        try:
            answer = urllib.request.urlopen(url, timeout=10).read()
            # It refuses until it has read the list.
            if b"failure reason" not in answer:
                break
        except OSError:
            pass
        time.sleep(0.1)
    else:
        raise SystemExit(f"it has no answer but {answer}")
    behind = answer.split(b"5:peers", 1)[1]
    length, _, behind = behind.partition(b":")
    print("HTTP:", *whose(behind[:int(length)]))
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    client.send(struct.pack(">QII", 0x41727101980, 0, 1))
    connection = client.recv(2048)[8:16]
    client.send(connection + struct.pack(">II20s20sQQQIIIiH", 1, 2, over_udp, b"-XX0001-000000000000", 0, 16384, 0,
                                         2, 0, 7, -1, 51413))
    print("UDP:", *whose(client.recv(2048)[20:]))
finally:
    tracker.kill()
    tracker.wait()
PYTHON
seen=$(python3 ask.py "$PWD/root/usr/bin/opentracker" "$library")
echo "$seen"
[ "$seen" = "HTTP: itself
UDP: itself" ] || { echo "this has changed: each first announce was answered with the peer itself"; exit 1; }
