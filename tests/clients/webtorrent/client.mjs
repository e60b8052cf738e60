// A client of one torrent, made with WebTorrent: `node client.mjs PORT SOURCE FOLDER`.
//
// Opens the torrent file or magnet link SOURCE, and downloads into the folder or seeds what is there. On SIGTERM it
// says what it told its tracker last that it has moved (of what came after it tells 0 in the end), removes the torrent, which tells the tracker `stopped`, and ends a little later.

import process from 'node:process'
import WebTorrent from 'webtorrent'

// Time for the `stopped` to leave; nothing reports its answer.
const LEAVE_MS = 1000

const [port, source, folder] = process.argv.slice(2)
let figures = { uploaded: 0, downloaded: 0 }
const client = new WebTorrent({
  tracker: { getAnnounceOpts: told },
  torrentPort: Number(port),
  dht: false,
  lsd: false,
  utPex: false,
  natUpnp: false,
  natPmp: false,
  utp: false
})
const torrent = client.add(source, { path: folder })

client.on('error', fail)
torrent.on('error', fail)
for (const event of ['metadata', 'ready', 'done', 'warning', 'noPeers', 'trackerAnnounce']) {
  torrent.on(event, (what) => console.log(event, what?.message ?? what ?? ''))
}
torrent.on('wire', (_, address) => console.log('wire', address))

process.on('SIGTERM', () => {
  console.log('figures', figures.uploaded, figures.downloaded)
  client.remove(torrent)
  setTimeout(() => process.exit(0), LEAVE_MS)
})

function told () {
  figures = { uploaded: torrent.uploaded, downloaded: torrent.downloaded }
}

function fail (error) {
  console.log(error)
  process.exit(1)
}
