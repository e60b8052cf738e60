-- A key tells clients apart only where it lasts; of all other clients the peer id alone does, and their key is 0.
-- Of several rows of such a client the newest stays.

DELETE FROM peers AS older USING peers AS newer
    WHERE older.user_id = newer.user_id AND older.torrent_id = newer.torrent_id AND older.peer_id = newer.peer_id
        AND (older.updated_at, older.key) < (newer.updated_at, newer.key)
        AND substring(older.peer_id FROM 1 FOR 3) NOT IN ('-LT', '-lt', '-qB', '-DE', '-TR');
UPDATE peers SET key = 0
    WHERE key <> 0 AND substring(peer_id FROM 1 FOR 3) NOT IN ('-LT', '-lt', '-qB', '-DE', '-TR');

COMMENT ON COLUMN peers.key IS
    'The key of the client where it is known to keep it over all of its addresses and protocols (libtorrent, qBittorrent, Deluge, Transmission, rTorrent); 0 of all others.';
