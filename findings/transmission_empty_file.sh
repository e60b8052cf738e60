#!/usr/bin/env bash
# Transmission 3.00 (Debian 3.00-2.1+deb12u1) does not make the empty files of a torrent.
#
# Expected (BEP 3): a torrent lists its files with their lengths, and who has downloaded it has these files; so do
# aria2 1.36.0 (Debian 1.36.0-1) and libtorrent 2.1.1 (PyPI).
# Seen: the download is complete, and the file of length 0 is not there.
#
# Needs root, or user namespaces, for a network namespace of its own.
set -euo pipefail

if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    chmod 755 "$folder"
    trap 'rm -rf "$folder"' EXIT
    script=$(realpath "$0")
    cd "$folder"
    for package in {transmission-daemon,transmission-common}=3.00-2.1+deb12u1 {aria2,libaria2-0}=1.36.0-1; do
        apt-get download --quiet --quiet "$package" 2>/dev/null ||
            { echo "cannot be run here: $package is not to be had"; exit 2; }
    done
    # What Transmission is linked with.
    apt-get download --quiet --quiet libevent-2.1-7 libminiupnpc17 libnatpmp1 libb64-0d libdeflate0 2>/dev/null || true
    for package in *.deb; do dpkg-deb --extract "$package" root; done
    python3 -m venv python
    python/bin/pip install --quiet --disable-pip-version-check --only-binary :all: libtorrent==2.1.1 ||
        { echo "cannot be run here: libtorrent 2.1.1 is not to be had"; exit 2; }
    unshare --net --map-root-user "$script" inside
    exit
fi

ip link set lo up
cat >download.py <<'PYTHON'
import base64, hashlib, json, os, subprocess, sys, threading, time, urllib.error, urllib.request
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


seed = ThreadingHTTPServer(("127.0.0.1", 8000), WebSeed)
threading.Thread(target=seed.serve_forever, daemon=True).start()
url = b"http://127.0.0.1:8000/"
info = (b"d5:filesld6:lengthi16384e4:pathl1:aeed6:lengthi0e4:pathl5:emptyeee4:name1:n12:piece lengthi16384e"
        b"6:pieces20:" + hashlib.sha1(content).digest() + b"e")
with open("f.torrent", "wb") as file:
    file.write(b"d4:info" + info + b"8:url-list%d:%se" % (len(url), url))
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL,
         "env": {**os.environ, "LD_LIBRARY_PATH": sys.argv[1]}}


def wait(is_so):
    end = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > end:
            raise SystemExit("the download does not end")
        time.sleep(0.2)


def transmission():
    os.mkdir("config")
    with open("config/settings.json", "w") as file:
        json.dump({"rpc-port": 9999, "dht-enabled": False, "lpd-enabled": False, "pex-enabled": False,
                   "utp-enabled": False, "port-forwarding-enabled": False}, file)
    daemon = subprocess.Popen(["root/usr/bin/transmission-daemon", "--foreground", "--config-dir", "config",
                               "--download-dir", os.path.abspath("Transmission 3.00")], **quiet)

    def rpc(method, **arguments):
        body, session = json.dumps({"method": method, "arguments": arguments}).encode(), ""
        for _ in range(300):
            request = urllib.request.Request(
                "http://127.0.0.1:9999/transmission/rpc", body, {"X-Transmission-Session-Id": session})
            try:
                return json.load(urllib.request.urlopen(request))["arguments"]
            except urllib.error.HTTPError as error:
                session = error.headers["X-Transmission-Session-Id"]
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the daemon does not answer")

    try:
        with open("f.torrent", "rb") as file:
            rpc("torrent-add", metainfo=base64.b64encode(file.read()).decode())
        wait(lambda: [torrent["percentDone"] == 1 and torrent["status"] == 6 for torrent in
                      rpc("torrent-get", fields=["percentDone", "status"])["torrents"]] == [True])
        # A second look at what is there, by its own command, makes none either.
        rpc("torrent-verify")
        time.sleep(3)
    finally:
        daemon.terminate()
        daemon.wait()


def aria2():
    subprocess.run(["root/usr/bin/aria2c", "--no-conf", "--enable-dht=false", "--seed-time=0",
                    "--dir=aria2 1.36.0", "f.torrent"], timeout=60, check=True, **quiet)


def libtorrent():
    import libtorrent
    session = libtorrent.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False,
                                  "enable_upnp": False, "enable_natpmp": False})
    wanted = libtorrent.load_torrent_file("f.torrent")
    wanted.save_path = "libtorrent 2.1.1"
    torrent = session.add_torrent(wanted)
    wait(lambda: torrent.status().is_seeding)
    torrent.flush_cache()
    wait(lambda: os.path.exists("libtorrent 2.1.1/n/a"))
    time.sleep(1)


for client, name in ((aria2, "aria2 1.36.0"), (libtorrent, "libtorrent 2.1.1"), (transmission, "Transmission 3.00")):
    client()
    print(name + ":", *(f"{entry.name} ({entry.stat().st_size} bytes)"
                        for entry in sorted(os.scandir(name + "/n"), key=lambda entry: entry.name)))
PYTHON
library=$(find "$PWD/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -s -d :)
seen=$(python/bin/python download.py "$library")
echo "$seen"
[ "$seen" = "aria2 1.36.0: a (16384 bytes) empty (0 bytes)
libtorrent 2.1.1: a (16384 bytes) empty (0 bytes)
Transmission 3.00: a (16384 bytes)" ] ||
    { echo "this has changed: Transmission alone left the empty file out"; exit 1; }
