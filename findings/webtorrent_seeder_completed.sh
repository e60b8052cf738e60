#!/usr/bin/env bash
# WebTorrent 3.0.21 (npm, on Node): a seeder that starts says `completed`, and one that stops says it has the file not.
#
# Expected (BEP 3): `completed` is said once, when a download ends, and not by a client that had the file when it
# started, since trackers count downloads by it. `left` is what is missing, so 0 for a seeder until its end.
# Seen: beside `started` it says `completed`, both with left=0. Its `stopped` says left=16384, which is its guess for
# torrents that it does not know yet.
set -euo pipefail

folder=$(mktemp -d)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
# Without the binaries for WebRTC and uTP.
npm install --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error --silent webtorrent@3.0.21 ||
    { echo "cannot be run here: webtorrent 3.0.21 is not to be had"; exit 2; }
cat >seed.mjs <<'NODE'
import crypto from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'

// WebRTC is for browsers' trackers; there are none here.
import { register } from 'node:module'
register('data:text/javascript,' + encodeURIComponent(`
  export async function resolve (name, context, next) {
    if (name === 'webrtc-polyfill' || name === 'node-datachannel') {
      return { url: 'data:text/javascript,export default {}; export const RTCPeerConnection = undefined, ' +
        'RTCSessionDescription = undefined, RTCIceCandidate = undefined', shortCircuit: true }
    }
    return next(name, context)
  }`))
const { default: WebTorrent } = await import('webtorrent')

const content = Buffer.alloc(16384, 'x')
const info = Buffer.concat([Buffer.from('d6:lengthi16384e4:name1:f12:piece lengthi16384e6:pieces20:'),
  crypto.createHash('sha1').update(content).digest(), Buffer.from('e')])
fs.mkdirSync('seed')
fs.writeFileSync('seed/f', content)
const said = []
const tracker = http.createServer((request, response) => {
  const query = new URLSearchParams(request.url.split('?')[1])
  said.push(`${query.get('event')} left=${query.get('left')}`)
  response.end('d8:intervali1800e5:peers0:e')
}).listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${tracker.address().port}/announce`
  const file = Buffer.concat([Buffer.from(`d8:announce${url.length}:${url}4:info`), info, Buffer.from('e')])
  const client = new WebTorrent({ dht: false, lsd: false, natUpnp: false, natPmp: false, utp: false })
  client.add(file, { path: 'seed' })
  setTimeout(() => client.destroy(), 8000)
  setTimeout(() => {
    // The first two may come in either order.
    console.log([...said.slice(0, 2).sort(), ...said.slice(2)].join(', '))
    process.exit()
  }, 10000)
})
NODE
seen=$(node seed.mjs 2>error.log) || { cat error.log; exit 1; }
echo "$seen"
[ "$seen" = "completed left=0, started left=0, stopped left=16384" ] || { echo "this has changed"; exit 1; }
