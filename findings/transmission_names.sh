#!/usr/bin/env bash
# Transmission 3.00 (Debian 3.00-2.1+deb12u1) writes some files under other names than the torrent's.
#
# Expected (BEP 3): `path` has the names of folders and file, and a file system of Linux can hold all that are here.
# Seen: spaces in front, spaces and dots at the end are taken away, and a colon becomes `_`.
#
# Needs root, or user namespaces, for a network namespace of its own.
set -euo pipefail

if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    chmod 755 "$folder"
    trap 'rm -rf "$folder"' EXIT
    script=$(realpath "$0")
    cd "$folder"
    for package in {transmission-daemon,transmission-common}=3.00-2.1+deb12u1; do
        apt-get download --quiet --quiet "$package" 2>/dev/null ||
            { echo "cannot be run here: $package is not to be had"; exit 2; }
    done
    # What Transmission is linked with.
    apt-get download --quiet --quiet libevent-2.1-7 libminiupnpc17 libnatpmp1 libb64-0d libdeflate0 2>/dev/null || true
    for package in *.deb; do dpkg-deb --extract "$package" root; done
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
names = ["plain", " before", "behind ", "dot.", "folder ./f", "a:b"]
files = b"".join(
    b"d6:lengthi16384e4:pathl" + b"".join(b"%d:%s" % (len(part), part.encode()) for part in name.split("/")) + b"ee"
    for name in names)
info = (b"d5:filesl" + files + b"e4:name1:n12:piece lengthi16384e6:pieces%d:" % (20 * len(names))
        + hashlib.sha1(content).digest() * len(names) + b"e")
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
    finally:
        daemon.terminate()
        daemon.wait()


transmission()
for at, folders, found in sorted(os.walk("Transmission 3.00/n")):
    for name in sorted(found):
        print(repr(os.path.relpath(os.path.join(at, name), "Transmission 3.00/n")))
PYTHON
library=$(find "$PWD/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -s -d :)
seen=$(python3 download.py "$library")
echo "$seen"
[ "$seen" = "'a_b'
'before'
'behind'
'dot'
'plain'
'folder/f'" ] || { echo "this has changed: ends of names were cut off, and the colon was another character"; exit 1; }
