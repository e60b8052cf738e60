"""The clients: how each is started with one torrent and no way to peers but its tracker.

DHT, local peer discovery, peer exchange and port mapping are off everywhere. Most clients have their
first and only announce to find peers: the tracker's interval is the default of half an hour.
"""

from clients.aria2 import Aria2
from clients.lftp import Lftp
from clients.libtorrent import Libtorrent, NewLibtorrent
from clients.rqbit import Rqbit
from clients.rtorrent import RTorrent
from clients.transmission import Transmission
from clients.webtorrent import WebTorrent

CLIENTS = {
    client.name: client
    for client in (Aria2, Lftp, Libtorrent, NewLibtorrent, RTorrent, Rqbit, Transmission, WebTorrent)
}
