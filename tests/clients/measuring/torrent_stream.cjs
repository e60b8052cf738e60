// A client of one torrent, made with torrent-stream: `node torrent_stream.cjs PORT SOURCE FOLDER`.
//
// Opens the torrent file or magnet link SOURCE, and downloads all of it into the folder or seeds what is there. On
// SIGTERM it destroys the engine, which tells the tracker `stopped`, and ends a little later.

const fs = require('fs')
const torrentStream = require('torrent-stream')

// Time for the `stopped` to leave; nothing reports its answer.
const LEAVE_MS = 1000

const [port, source, folder] = process.argv.slice(2)
const opened = source.startsWith('magnet:') ? source : fs.readFileSync(source)
const engine = torrentStream(opened, { dht: false, path: folder, tmp: folder })

for (const event of ['ready', 'torrent', 'peer', 'idle', 'verify', 'error', 'warning']) {
  engine.on(event, (what) => console.log(event, what?.message ?? what?.name ?? what ?? ''))
}
engine.on('ready', () => engine.files.forEach((file) => file.select()))
engine.listen(Number(port))

process.on('SIGTERM', () => {
  engine.destroy()
  setTimeout(() => process.exit(0), LEAVE_MS)
})
