#!/usr/bin/env bash
# qBittorrent 4.5.2 (Debian 4.5.2-3+deb12u1): a feed with the `lastBuildDate` of the last look is not read.
#
# Expected (RSS 2.0): `lastBuildDate` is the time of the last change, to the second, and an item is known by its guid.
# Two changes in a second have the same date, so a new item is a new one whatever the date is.
# Seen: the second of two documents with the same date is fetched, and its new item is not there; with no date, or with
# another one, it is.
#
# Needs the Debian package qbittorrent-nox in that version, and root, or user namespaces, for a network namespace.
set -euo pipefail

version=4.5.2-3+deb12u1
if [ "${1:-}" != inside ]; then
    [ "$(dpkg-query --show --showformat '${Version}' qbittorrent-nox 2>/dev/null || true)" = "$version" ] ||
        { echo "cannot be run here: needs the Debian package qbittorrent-nox $version"; exit 2; }
    folder=$(mktemp -d)
    chmod 755 "$folder"
    trap 'rm -rf "$folder"' EXIT
    script=$(realpath "$0")
    cd "$folder"
    unshare --net --map-root-user "$script" inside
    exit
fi

ip link set lo up
cat >feed.py <<'PYTHON'
import json, os, subprocess, sys, threading, time, urllib.parse, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIRST, SECOND = "Sat, 28 Nov 2026 10:00:00 GMT", "Sat, 28 Nov 2026 10:00:01 GMT"
document, fetched = b"", 0


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        global fetched
        body = document
        self.send_response(200)
        self.send_header("Content-Type", "application/rss+xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        fetched += 1

    def log_message(self, *_):
        pass


site = ThreadingHTTPServer(("127.0.0.1", 8000), Site)
# It goes away from a fetch when it is told to fetch again.
site.handle_error = lambda *_: None
threading.Thread(target=site.serve_forever, daemon=True).start()


def publish(names, date):
    global document
    items = "".join(
        f'<item><title>{name}</title><guid isPermaLink="false">{name}</guid>'
        f'<enclosure url="http://127.0.0.1:8000/{name}.torrent" type="application/x-bittorrent" length="1"/></item>'
        for name in names)
    date = f"<lastBuildDate>{date}</lastBuildDate>" if date else ""
    document = (f'<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel><title>t</title>'
                f"<link>http://127.0.0.1:8000/</link><description>d</description>{date}{items}</channel></rss>"
                ).encode()


def call(method, **form):
    body = urllib.parse.urlencode(form).encode()
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:8080/api/v2/{method}", body, timeout=30) as answer:
                return answer.read().decode()
        except OSError:
            time.sleep(0.2)
    raise SystemExit("qBittorrent does not answer")


def items():
    """What it has, once that is all, or it has fetched the document three times more and had time to read it."""
    begun, end = fetched, time.monotonic() + 60
    while time.monotonic() < end:
        before, until = fetched, time.monotonic() + 10
        call("rss/refreshItem", itemPath="feed")
        while fetched == before and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(2)
        feed = json.loads(call("rss/items", withData="true"))["feed"]
        there = sorted(article["title"] for article in feed["articles"])
        if feed["hasError"]:
            raise SystemExit("it takes the feed for broken")
        if fetched >= begun + 3 or fetched > begun and len(there) == document.count(b"<item>"):
            return " ".join(there)
    raise SystemExit("it does not fetch the feed")


os.makedirs("profile/qBittorrent/config")
with open("profile/qBittorrent/config/qBittorrent.conf", "w") as file:
    file.write("[BitTorrent]\nSession\\DHTEnabled=false\nSession\\LSDEnabled=false\n[LegalNotice]\nAccepted=true\n"
               "[Network]\nPortForwardingEnabled=false\n[Preferences]\nConnection\\ResolvePeerCountries=false\n"
               "WebUI\\Address=127.0.0.1\nWebUI\\CSRFProtection=false\nWebUI\\HostHeaderValidation=false\n"
               "WebUI\\LocalHostAuth=false\nWebUI\\UseUPnP=false\n[RSS]\nSession\\EnableProcessing=true\n")
client = subprocess.Popen(
    ["qbittorrent-nox", "--profile=" + os.path.abspath("profile"), "--webui-port=8080"],
    env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "HOME": os.getcwd()},
    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    print("qBittorrent", call("app/version"))
    publish(["a"], FIRST)
    call("rss/addFeed", url="http://127.0.0.1:8000/feed.xml", path="feed")
    print("a:", items())
    publish(["a", "b"], FIRST)
    print("a b, the same date:", items())
    publish(["a", "b"], None)
    print("a b, no date:", items())
    publish(["a", "b", "c"], None)
    print("a b c, no date:", items())
    publish(["a", "b", "c", "d"], SECOND)
    print("a b c d, another date:", items())
    publish(["a", "b", "c", "d", "e"], SECOND)
    print("a b c d e, the same date:", items())
finally:
    client.kill()
    client.wait()
PYTHON
seen=$(python3 feed.py)
echo "$seen"
[ "$seen" = "qBittorrent v4.5.2
a: a
a b, the same date: a
a b, no date: a b
a b c, no date: a b c
a b c d, another date: a b c d
a b c d e, the same date: a b c d" ] || { echo "this has changed: items came with another date, or with none"; exit 1; }
