#!/usr/bin/env bash
# lftp 4.9.2 (Debian 4.9.2-2+b1): over IPv6 it does not announce to a UDP tracker, but sends something of its own.
#
# Expected (BEP 15, "IPv6"): over IPv6 the announce is the same 98 bytes as over IPv4, with action 1 and an address of
# 32 bits; the answer has peers of 18 bytes.
# Seen: the connect is as it should be. What follows has action 4 and an address of 128 bits, 110 bytes in all.
# A tracker does not know that action. Of a name with both families the client tries IPv6 first, and where it gets no
# answer goes on with IPv4 a minute later.
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

content = b"x" * 16384
info = b"d6:lengthi16384e4:name1:f12:piece lengthi16384e6:pieces20:" + hashlib.sha1(content).digest() + b"e"
for family, host, shown in ((socket.AF_INET, "127.0.0.1", "127.0.0.1"), (socket.AF_INET6, "::1", "[::1]")):
    tracker = socket.socket(family, socket.SOCK_DGRAM)
    tracker.bind((host, 0))
    tracker.settimeout(30)
    url = b"udp://%s:%d/announce" % (shown.encode(), tracker.getsockname()[1])
    with open("f.torrent", "wb") as file:
        file.write(b"d8:announce%d:%s4:info%se" % (len(url), url, info))
    home = os.path.join(os.getcwd(), f"home{family}")
    os.mkdir(home)
    client = subprocess.Popen(
        [sys.argv[1], "-c", f"set torrent:use-dht no; torrent -O {home} f.torrent"],
        env={**os.environ, "HOME": home}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    try:
        datagram, sender = tracker.recvfrom(2048)
        tracker.sendto(datagram[8:12] + datagram[12:16] + b"12345678", sender)
        datagram, sender = tracker.recvfrom(2048)
        (action,) = struct.unpack(">I", datagram[8:12])
        print(f"after the connect over {shown}: action {action}, {len(datagram)} bytes")
    except TimeoutError:
        print(f"nothing came over {shown}")
    finally:
        client.kill()
        client.wait()
PYTHON
seen=$(python3 tracker.py root/usr/bin/lftp)
echo "$seen"
[ "$seen" = "after the connect over 127.0.0.1: action 1, 98 bytes
after the connect over [::1]: action 4, 110 bytes" ] ||
    { echo "this has changed: it was action 1 over IPv4, and action 4 with 110 bytes over IPv6"; exit 1; }
