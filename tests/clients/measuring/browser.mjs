// WebTorrent on a page in Chromium: `node browser.mjs SOURCE`. The page and the library come from loopback.

import fs from 'node:fs'
import http from 'node:http'
import process from 'node:process'
import { chromium } from 'playwright-core'

const library = new URL('node_modules/webtorrent/dist/webtorrent.min.js', import.meta.url)
const source = process.argv[2]
const files = {
  '/': ['text/html', () => '<!doctype html><title>page</title>'],
  '/webtorrent.js': ['text/javascript', () => fs.readFileSync(library)],
  '/source.torrent': ['application/x-bittorrent', () => fs.readFileSync(source)]
}
http.createServer((request, response) => {
  const [kind, content] = files[request.url] ?? ['text/plain', () => '']
  response.setHeader('Content-Type', kind)
  response.end(content())
}).listen(8000, '127.0.0.1')

const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] })
const page = await browser.newPage()
page.on('console', (message) => console.log('console', message.text()))
await page.goto('http://127.0.0.1:8000/')
await page.evaluate(async (source) => {
  const { default: WebTorrent } = await import('/webtorrent.js')
  const client = new WebTorrent()
  client.on('error', (error) => console.log('error', error.message))
  const torrent = source.startsWith('magnet:')
    ? source
    : new Uint8Array(await (await fetch('/source.torrent')).arrayBuffer())
  client.add(torrent).on('warning', (warning) => console.log('warning', warning.message ?? warning))
}, source)
