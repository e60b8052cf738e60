#!/usr/bin/python3
"""A client of one torrent, made with libtorrent: `libtorrent_client.py ADDRESS:PORT,… SOURCE FOLDER`.

Opens the torrent file or magnet link SOURCE, and downloads into the folder or seeds what is there. On SIGTERM it
says what it has moved, removes the torrent, which tells the tracker `stopped`, and ends a little later.
"""

import math
import signal
import sys
import threading
import time

import libtorrent

# Time for the `stopped` to leave; nothing reports its answer.
LEAVE_SECONDS = 3

addresses, source, folder = sys.argv[1:]
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())

session = libtorrent.session(
    {
        "listen_interfaces": addresses,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "alert_mask": libtorrent.alert.category_t.status_notification
        | libtorrent.alert.category_t.tracker_notification
        | libtorrent.alert.category_t.error_notification
        | libtorrent.alert.category_t.connect_notification,
    }
)


def log_for(seconds, until=threading.Event()):
    """Prints what the session reports, until so many seconds have passed or the event has come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until.wait(0.1):
        for alert in session.pop_alerts():
            print(alert.what(), alert.message(), flush=True)


is_link = source.startswith("magnet:")
parameters = (libtorrent.parse_magnet_uri if is_link else libtorrent.load_torrent_file)(source)
parameters.save_path = folder
torrent = session.add_torrent(parameters)
log_for(math.inf, ended)
status = torrent.status()
print("figures", status.total_payload_upload, status.total_payload_download, flush=True)
session.remove_torrent(torrent)
log_for(LEAVE_SECONDS)
