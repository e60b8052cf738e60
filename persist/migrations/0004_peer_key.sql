-- A client is told from others by its key as well (BEP 3, 7): with two clients of one peer id, each row was
-- the other's. Rows from before do not say whose they are; the next announce of each client makes its own.

ALTER TABLE peers ADD COLUMN key bigint NOT NULL DEFAULT 0 CHECK (key BETWEEN 0 AND 4294967295);
UPDATE peers SET active = false WHERE active;
ALTER TABLE peers DROP CONSTRAINT peers_pkey;
ALTER TABLE peers ADD PRIMARY KEY (user_id, torrent_id, peer_id, key);

COMMENT ON TABLE peers IS
    'The last announce of each client in each torrent. Only the tracker writes it; it removes rows that are older than it is told to keep. An index on a column that changes would make each announce dearer.';
COMMENT ON COLUMN peers.key IS 'The key of the client, which it keeps over all of its addresses (BEP 3, BEP 7); 0 when it has none.';
COMMENT ON COLUMN peers.active IS 'False when it said that it stopped, and when it was silent for too long.';
COMMENT ON COLUMN torrents.seeders IS 'Clients with everything, after the last announce that was written, and without those that have been silent for too long.';
COMMENT ON COLUMN torrents.leechers IS 'Clients without everything; like seeders.';
