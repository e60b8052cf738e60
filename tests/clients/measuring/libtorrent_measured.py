"""A session of libtorrent with one torrent: `libtorrent_measured.py ADDRESSES SOURCE FOLDER ORDERS`.

SOURCE is the path of a `.torrent`, or a magnet link. ORDERS is a file; each line that is added to it is done:
`reannounce`, `reannounce-ignoring`, `remove`, `port N`. On SIGTERM the session ends as that of a program that just
returns. All settings are libtorrent's own, but that there is no way to peers beside the tracker.
"""

import pathlib
import signal
import sys
import time

import libtorrent

addresses, source, folder, orders = sys.argv[1:]
# A plain list: a handler that runs in the middle of `Event.wait` would wait for itself in `Event.set`.
ended = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: ended.append(True))
kinds = libtorrent.alert.category_t
session = libtorrent.session(
    {
        "listen_interfaces": addresses,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "alert_mask": kinds.status_notification | kinds.tracker_notification | kinds.error_notification,
    }
)
print("libtorrent", libtorrent.version, flush=True)
is_link = source.startswith("magnet:")
wanted = (libtorrent.parse_magnet_uri if is_link else libtorrent.load_torrent_file)(source)
wanted.save_path = folder
torrent = session.add_torrent(wanted)


def obey(order):
    """Does one line."""
    word, *rest = order.split()
    if word == "reannounce":
        torrent.force_reannounce()
    elif word == "reannounce-ignoring":
        torrent.force_reannounce(0, -1, libtorrent.reannounce_flags_t.ignore_min_interval)
    elif word == "remove":
        session.remove_torrent(torrent)
    elif word == "port":
        host = addresses.rsplit(":", 1)[0]
        session.apply_settings({"listen_interfaces": f"{host}:{rest[0]}"})
    print("order", order, flush=True)


done = 0
orders = pathlib.Path(orders)
while not ended:
    time.sleep(0.1)
    for alert in session.pop_alerts():
        print(alert.what(), alert.message(), flush=True)
    lines = orders.read_text().splitlines() if orders.exists() else []
    for line in lines[done:]:
        obey(line)
    done = len(lines)
