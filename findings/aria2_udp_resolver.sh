#!/usr/bin/env bash
# aria2 1.36.0 (Debian 1.36.0-1) with `--async-dns=false`: a UDP tracker whose name has an IPv6 address is never asked.
#
# Expected: UDP trackers are asked over IPv4, the one family that this client has for them, whichever resolver looks
# the name up; so it is with its own resolver, the default.
# Seen: with the system's resolver and a name that has an address of each family, nothing is sent to the tracker, over
# neither family, while a name with the IPv4 address alone is asked.
#
# Needs root, or user namespaces, for a network namespace of its own.
set -euo pipefail

version=1.36.0-1
if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    chmod 755 "$folder"
    trap 'rm -rf "$folder"' EXIT
    script=$(realpath "$0")
    cd "$folder"
    for package in aria2 libaria2-0; do
        apt-get download --quiet --quiet "$package=$version" 2>/dev/null ||
            { echo "cannot be run here: $package $version is not to be had"; exit 2; }
        dpkg-deb --extract "$package"_*.deb root
    done
    unshare --net --mount --map-root-user "$script" inside
    exit
fi

printf '127.0.0.1 localhost\n198.51.100.2 both.test four.test\n2001:db8::2 both.test\n' >hosts
mount --bind hosts /etc/hosts
printf 'nameserver 127.0.0.1\n' >resolv.conf
mount --bind resolv.conf /etc/resolv.conf
ip link set lo up
ip address add 198.51.100.2/24 dev lo
ip -6 address add 2001:db8::2/64 dev lo nodad
ip route add default dev lo
ip -6 route add default dev lo
cat >tracker.py <<'PYTHON'
import hashlib, os, select, socket, subprocess, sys

name, option = sys.argv[3:]
content = b"x" * 16384
info = b"d6:lengthi16384e4:name1:f12:piece lengthi16384e6:pieces20:" + hashlib.sha1(content).digest() + b"e"
sockets = {}
for family, address in ((socket.AF_INET, "198.51.100.2"), (socket.AF_INET6, "2001:db8::2")):
    tracker = socket.socket(family, socket.SOCK_DGRAM)
    tracker.bind((address, 6969))
    sockets[tracker] = "IPv4" if family == socket.AF_INET else "IPv6"
url = b"udp://%s:6969/announce" % name.encode()
with open("f.torrent", "wb") as file:
    file.write(b"d8:announce%d:%s4:info%se" % (len(url), url, info))
client = subprocess.Popen(
    # Its UDP trackers want its DHT, which finds nobody here.
    [sys.argv[1], "--no-conf", option, "--dht-entry-point=127.0.0.1:1", "--dht-file-path=dht.dat", "--dir=down",
     "--quiet", "f.torrent"],
    env={**os.environ, "LD_LIBRARY_PATH": sys.argv[2]},
)
ready, _, _ = select.select(list(sockets), [], [], 25)
print("asked over " + sockets[ready[0]] if ready else "not asked")
client.kill()
client.wait()
PYTHON
library=$(dirname "$(find "$PWD/root" -name 'libaria2.so.0')")
check() { # EXPECTED NAME OPTION
    seen=$(python3 tracker.py root/usr/bin/aria2c "$library" "$2" "$3")
    echo "$2, $3: $seen"
    [ "$seen" = "$1" ] || { echo "changed; it was: $1"; exit 1; }
}
check "asked over IPv4" both.test --async-dns=true
check "asked over IPv4" four.test --async-dns=false
check "not asked" both.test --async-dns=false
