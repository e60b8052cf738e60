#!/usr/bin/env bash
# Transmission 3.00 (Debian 3.00-2.1+deb12u1): IPv6 peers in a UDP tracker's answer are read as IPv4 ones.
#
# Expected (BEP 15, "IPv6"): a tracker that is asked over IPv6 answers with peers of 18 bytes, 16 of address and 2 of
# port, and the client connects to them.
# Seen: the 18 bytes are read as three IPv4 peers of 6 bytes. Told of [2001:db8::a00:1]:51413 alone, the client
# connects to 10.0.0.1:51413, which is the last third of it, and never to the peer.
#
# Needs root, or user namespaces, for a network namespace of its own.
set -euo pipefail

version=3.00-2.1+deb12u1
if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    chmod 755 "$folder"
    trap 'rm -rf "$folder"' EXIT
    script=$(realpath "$0")
    cd "$folder"
    for package in transmission-daemon transmission-common; do
        apt-get download --quiet --quiet "$package=$version" 2>/dev/null ||
            { echo "cannot be run here: $package $version is not to be had"; exit 2; }
        dpkg-deb --extract "$package"_*.deb root
    done
    # What it is linked with.
    apt-get download --quiet --quiet libevent-2.1-7 libminiupnpc17 libnatpmp1 libb64-0d libdeflate0 2>/dev/null || true
    for package in lib*.deb; do dpkg-deb --extract "$package" root; done
    unshare --net --mount --map-root-user "$script" inside
    exit
fi

# Of a literal address in the URL it asks nothing.
printf '127.0.0.1 localhost\n2001:db8::2 tracker.test\n' >hosts
mount --bind hosts /etc/hosts
ip link set lo up
ip -6 address add 2001:db8::2/64 dev lo nodad
ip -6 address add 2001:db8::a00:1/64 dev lo nodad
ip address add 10.0.0.1/32 dev lo
ip route add default dev lo
ip -6 route add default dev lo
cat >tracker.py <<'PYTHON'
import base64, hashlib, json, os, select, socket, struct, subprocess, sys, time

PORT = 51413
content = b"x" * 16384
info = b"d6:lengthi16384e4:name1:f12:piece lengthi16384e6:pieces20:" + hashlib.sha1(content).digest() + b"e"
tracker = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
tracker.bind(("2001:db8::2", 0))
url = b"udp://tracker.test:%d/announce" % tracker.getsockname()[1]
with open("f.torrent", "wb") as file:
    file.write(b"d8:announce%d:%s4:info%se" % (len(url), url, info))


def listen(family, address):
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, PORT))
    listener.listen()
    return listener


peers = {
    listen(socket.AF_INET6, "2001:db8::a00:1"): "the peer",
    listen(socket.AF_INET, "10.0.0.1"): "10.0.0.1, a third of its bytes",
}
os.mkdir("config")
with open("config/settings.json", "w") as file:
    json.dump({"peer-port": 6999, "rpc-port": 9999, "dht-enabled": False, "lpd-enabled": False, "pex-enabled": False,
               "utp-enabled": False, "port-forwarding-enabled": False}, file)
daemon = subprocess.Popen(
    [sys.argv[1], "--foreground", "--config-dir", "config", "--download-dir", os.getcwd() + "/down"],
    env={**os.environ, "LD_LIBRARY_PATH": sys.argv[2]}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def rpc(method, arguments):
    import urllib.error, urllib.request
    body, session = json.dumps({"method": method, "arguments": arguments}).encode(), ""
    for _ in range(100):
        request = urllib.request.Request("http://127.0.0.1:9999/transmission/rpc", body, {"X-Transmission-Session-Id": session})
        try:
            return json.load(urllib.request.urlopen(request))
        except urllib.error.HTTPError as error:
            session = error.headers["X-Transmission-Session-Id"]
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the daemon does not answer")


try:
    metainfo = base64.b64encode(open("f.torrent", "rb").read()).decode()
    print("added:", rpc("torrent-add", {"metainfo": metainfo})["result"])
    until = time.monotonic() + int(sys.argv[3])
    while time.monotonic() < until:
        ready, _, _ = select.select([tracker, *peers], [], [], 1)
        for socket_ in ready:
            if socket_ is tracker:
                datagram, sender = tracker.recvfrom(2048)
                action, transaction = datagram[8:12], datagram[12:16]
                if action == b"\0\0\0\0":
                    tracker.sendto(b"\0\0\0\0" + transaction + b"12345678", sender)
                elif action == b"\0\0\0\1":
                    print("announced over IPv6")
                    peer = socket.inet_pton(socket.AF_INET6, "2001:db8::a00:1") + struct.pack("!H", PORT)
                    tracker.sendto(action + transaction + struct.pack("!III", 1800, 0, 1) + peer, sender)
            else:
                print("connected to:", peers[socket_])
                raise SystemExit
    print("connected to: nobody")
finally:
    daemon.kill()
PYTHON
library=$(dirname "$(find "$PWD/root" -name 'libevent-2.1.so*' | head -n 1)" 2>/dev/null || true)
seen=$(python3 tracker.py "$PWD/root/usr/bin/transmission-daemon" "$library" 60)
echo "$seen"
[[ $seen = *"connected to: 10.0.0.1, a third of its bytes"* ]] ||
    { echo "this has changed: the peer was expected to be misread"; exit 1; }
