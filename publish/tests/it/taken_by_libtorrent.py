"""What libtorrent makes of torrents, one line each of the standard input: FILE, a tab, FOLDER of its content or nothing.

Prints for each what it calls the files and their sizes; with a folder, whether it takes the content there for whole.
"""

import sys
import time
import warnings

import libtorrent

# How long the checking of one torrent may take, in seconds.
PATIENCE = 300

warnings.simplefilter("ignore", DeprecationWarning)
session = libtorrent.session(
    {
        "listen_interfaces": "",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "active_checking": 8,
    }
)
for line in sys.stdin:
    path, _, folder = line.rstrip("\n").partition("\t")
    info = libtorrent.torrent_info(path)
    files = info.files()
    sizes = "|".join(f"{files.file_path(at)}={files.file_size(at)}" for at in range(files.num_files()))
    state = ""
    if folder:
        handle = session.add_torrent(
            {"ti": info, "save_path": folder, "flags": libtorrent.torrent_flags.upload_mode}
        )
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            status = handle.status()
            if status.is_seeding or status.errc.value() or (status.state == status.states.downloading):
                break
            time.sleep(0.005)
        state = "whole" if status.is_seeding else f"{status.state} {status.progress} {status.errc.message()}"
        session.remove_torrent(handle)
    print(info.info_hash(), info.num_pieces(), state, sizes, sep="\t", flush=True)
