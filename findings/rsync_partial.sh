#!/usr/bin/env bash
# rsync 3.5.0 (Debian 3.5.0+ds1-0+deb12u1): with `--partial`, an upload that is stopped has the final name.
#
# Expected: whoever waits for a name in the folder gets a whole file, as without the option.
# Seen: on SIGTERM the part that has come is renamed to the final name. By itself nothing tells it from a whole file;
# with `-t` (or `-a`) it has the time 0, where a whole one has its source's. Without the option nothing is left, and
# with `--partial-dir` the part is in that folder.
set -euo pipefail

version=3.5.0+ds1-0+deb12u1
folder=$(mktemp -d)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download --quiet --quiet "rsync=$version" 2>/dev/null ||
    { echo "cannot be run here: rsync $version is not to be had"; exit 2; }
dpkg-deb --extract rsync_*.deb root
mkdir from
head -c 20000000 /dev/urandom >from/file
cat >upload.py <<'PYTHON'
import os, signal, subprocess, sys, time

rsync = os.path.abspath("root/usr/bin/rsync")
print(subprocess.run([rsync, "--version"], capture_output=True, text=True).stdout.split("  ")[1])
for options in ([], ["--partial-dir=.rsync-partial"], ["--partial"], ["--partial", "-t"]):
    to = " ".join(["to", *options])
    os.mkdir(to)
    # The other end of a local copy is the same program, and a new process group takes both.
    upload = subprocess.Popen([rsync, *options, "--bwlimit=2000", "from/file", to + "/"],
                              stderr=subprocess.DEVNULL, start_new_session=True)

    def come():
        return sum(entry.stat().st_size for entry in os.scandir(to) if entry.name.startswith(".file."))

    until = time.monotonic() + 60
    while come() < 1_000_000 and time.monotonic() < until:
        time.sleep(0.05)
    upload.send_signal(signal.SIGTERM)
    upload.wait()
    # Its other processes clean up after it.
    while time.monotonic() < until:
        try:
            os.killpg(upload.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    there = [os.path.relpath(os.path.join(at, name), to) for at, _, names in os.walk(to) for name in names]
    said = []
    for name in there:
        status = os.stat(os.path.join(to, name))
        part = "a part" if 0 < status.st_size < 20_000_000 else f"{status.st_size} bytes"
        said.append(f"{name}, {part}, of {'1970' if int(status.st_mtime) == 0 else 'now'}")
    print(" ".join(["rsync", *options]) + ":", "; ".join(said) or "nothing")
PYTHON
seen=$(python3 upload.py)
echo "$seen"
[ "$seen" = "version 3.5.0
rsync: nothing
rsync --partial-dir=.rsync-partial: .rsync-partial/file, a part, of now
rsync --partial: file, a part, of now
rsync --partial -t: file, a part, of 1970" ] ||
    { echo "this has changed: --partial alone used the final name"; exit 1; }
