-- What the tracker and the site have in common. Sites read and join these tables, and may write those that
-- say so. Names are not qualified: the schema is the first of the search path.

CREATE TABLE users (
    id bigint PRIMARY KEY CHECK (id BETWEEN 0 AND 4294967295),
    passkey text COLLATE "C" NOT NULL CHECK (passkey ~ '^[0-9A-Za-z]{32}$'),
    can_leech boolean NOT NULL DEFAULT true,
    hidden boolean NOT NULL DEFAULT false,
    enabled boolean NOT NULL DEFAULT true,
    uploaded bigint NOT NULL DEFAULT 0 CHECK (uploaded >= 0),
    downloaded bigint NOT NULL DEFAULT 0 CHECK (downloaded >= 0),
    -- Looked at when a statement ends, so that one statement can exchange two passkeys.
    CONSTRAINT users_passkey_key UNIQUE (passkey) DEFERRABLE INITIALLY IMMEDIATE
) WITH (fillfactor = 80);

COMMENT ON TABLE users IS
    'Who may announce, and what each has been credited. The site may insert, update and delete rows; the tracker is told at once.';
COMMENT ON COLUMN users.id IS 'The number of the user at the site, below 2^32.';
COMMENT ON COLUMN users.passkey IS
    'The secret of the announce URL: 32 ASCII letters and digits. No two users have the same one.';
COMMENT ON COLUMN users.can_leech IS
    'May download. A user who may not is still credited for uploads, and is told no peers while something is left to download.';
COMMENT ON COLUMN users.hidden IS
    'Addresses of this user are written to no table. Peers are still told them, or nobody could connect.';
COMMENT ON COLUMN users.enabled IS 'May announce at all. When false, the passkey is refused as unknown.';
COMMENT ON COLUMN users.uploaded IS
    'Bytes of upload credited, by the rules of the torrents. The tracker adds to it; the site may add or subtract (SET uploaded = uploaded + ...).';
COMMENT ON COLUMN users.downloaded IS 'Bytes of download credited; like uploaded.';

CREATE TABLE torrents (
    id bigint PRIMARY KEY CHECK (id BETWEEN 0 AND 4294967295),
    info_hash bytea NOT NULL CHECK (octet_length(info_hash) = 20),
    freeleech text NOT NULL DEFAULT 'none' CHECK (freeleech IN ('none', 'free', 'neutral')),
    upload_percent integer NOT NULL DEFAULT 100 CHECK (upload_percent BETWEEN 0 AND 65535),
    seeders bigint NOT NULL DEFAULT 0 CHECK (seeders BETWEEN 0 AND 4294967295),
    leechers bigint NOT NULL DEFAULT 0 CHECK (leechers BETWEEN 0 AND 4294967295),
    snatches bigint NOT NULL DEFAULT 0 CHECK (snatches BETWEEN 0 AND 4294967295),
    balance bigint NOT NULL DEFAULT 0,
    last_active_at timestamptz,
    CONSTRAINT torrents_info_hash_key UNIQUE (info_hash) DEFERRABLE INITIALLY IMMEDIATE
) WITH (fillfactor = 80);

COMMENT ON TABLE torrents IS
    'The registered torrents, their rules and figures. The site may insert, update and delete rows; the tracker is told at once. A deleted torrent is refused; with a row in deletion_reasons, its clients are told why.';
COMMENT ON COLUMN torrents.id IS 'The number of the torrent at the site, below 2^32.';
COMMENT ON COLUMN torrents.info_hash IS
    'The infohash, 20 bytes: SHA-1 of the info dictionary, or the first 20 bytes of its SHA-256. As hexadecimal digits: encode(info_hash, ''hex'').';
COMMENT ON COLUMN torrents.freeleech IS
    'Which transfers count: none = uploads and downloads do, free = uploads only, neutral = neither.';
COMMENT ON COLUMN torrents.upload_percent IS
    'What uploads count for, in percent: 100 as they are, 200 double. Rounded down once for each announce.';
COMMENT ON COLUMN torrents.seeders IS 'Clients with everything, after the last announce that was written.';
COMMENT ON COLUMN torrents.leechers IS 'Clients without everything, after the last announce that was written.';
COMMENT ON COLUMN torrents.snatches IS 'Completed downloads since the torrent was registered, one for each client.';
COMMENT ON COLUMN torrents.balance IS
    'Bytes uploaded less bytes downloaded and corrupt, as clients reported them, since the torrent was registered. Far from zero: somebody reports what did not happen.';
COMMENT ON COLUMN torrents.last_active_at IS 'The last announce after which there was a seeder; NULL when there was none yet.';

CREATE TABLE tokens (
    user_id bigint NOT NULL CHECK (user_id BETWEEN 0 AND 4294967295),
    torrent_id bigint NOT NULL CHECK (torrent_id BETWEEN 0 AND 4294967295),
    downloaded bigint NOT NULL DEFAULT 0 CHECK (downloaded >= 0),
    granted_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    spent_at timestamptz,
    PRIMARY KEY (user_id, torrent_id)
) WITH (fillfactor = 80);
CREATE INDEX tokens_torrent_id_idx ON tokens (torrent_id);

COMMENT ON TABLE tokens IS
    'What a user downloads of a torrent is free until the download is complete. The site may insert, update and delete rows; the tracker is told at once.';
COMMENT ON COLUMN tokens.user_id IS 'Whose token; see users.id.';
COMMENT ON COLUMN tokens.torrent_id IS 'For which torrent; see torrents.id.';
COMMENT ON COLUMN tokens.downloaded IS 'Bytes downloaded that were not counted because of the token.';
COMMENT ON COLUMN tokens.granted_at IS 'When it was given.';
COMMENT ON COLUMN tokens.expires_at IS 'When it ends by itself; NULL for never.';
COMMENT ON COLUMN tokens.spent_at IS
    'When the download was complete, and the token over with it; NULL while it can be used. The row stays for the site to read.';

CREATE TABLE snatches (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL,
    torrent_id bigint NOT NULL,
    at timestamptz NOT NULL,
    address inet
);
CREATE INDEX snatches_user_id_idx ON snatches (user_id);
CREATE INDEX snatches_torrent_id_idx ON snatches (torrent_id);

COMMENT ON TABLE snatches IS
    'Completed downloads, one row each. Only the tracker writes it; rows of deleted users and torrents stay until the site removes them.';
COMMENT ON COLUMN snatches.id IS 'Counts up; gaps are possible.';
COMMENT ON COLUMN snatches.user_id IS 'Who; see users.id.';
COMMENT ON COLUMN snatches.torrent_id IS 'What; see torrents.id.';
COMMENT ON COLUMN snatches.at IS 'When the client said so.';
COMMENT ON COLUMN snatches.address IS 'From where, IPv4 if it has both; NULL for a hidden user.';

CREATE TABLE peers (
    user_id bigint NOT NULL,
    torrent_id bigint NOT NULL,
    peer_id bytea NOT NULL CHECK (octet_length(peer_id) = 20),
    address_v4 inet CHECK (family(address_v4) = 4),
    address_v6 inet CHECK (family(address_v6) = 6),
    port integer CHECK (port BETWEEN 0 AND 65535),
    uploaded bigint NOT NULL CHECK (uploaded >= 0),
    downloaded bigint NOT NULL CHECK (downloaded >= 0),
    remaining bigint CHECK (remaining >= 0),
    corrupt bigint NOT NULL CHECK (corrupt >= 0),
    upload_rate bigint NOT NULL CHECK (upload_rate >= 0),
    download_rate bigint NOT NULL CHECK (download_rate >= 0),
    seconds bigint NOT NULL CHECK (seconds >= 0),
    announces bigint NOT NULL CHECK (announces >= 0),
    client text NOT NULL,
    active boolean NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, torrent_id, peer_id)
    -- Half of each page is room for the next version of its rows: rows change with every announce, and no
    -- index has to be told when the new version is on the same page. For the same reason, no index is on a
    -- column that changes.
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX peers_torrent_id_idx ON peers (torrent_id);

COMMENT ON TABLE peers IS
    'The last announce of each client in each torrent. Only the tracker writes it. A client that vanishes without a word stays with its last updated_at; the tracker removes rows that are older than it is told to keep. An index on a column that changes would make each announce dearer.';
COMMENT ON COLUMN peers.user_id IS 'Whose client; see users.id.';
COMMENT ON COLUMN peers.torrent_id IS 'In which torrent; see torrents.id.';
COMMENT ON COLUMN peers.peer_id IS 'What the client calls itself, 20 bytes (BEP 3, BEP 20).';
COMMENT ON COLUMN peers.address_v4 IS 'Its IPv4 address; NULL when unknown, and for hidden users.';
COMMENT ON COLUMN peers.address_v6 IS 'Its IPv6 address; NULL when unknown, and for hidden users.';
COMMENT ON COLUMN peers.port IS 'Its port, for both addresses; NULL for hidden users.';
COMMENT ON COLUMN peers.uploaded IS
    'Bytes sent, as the client reports them since it started; not what was credited. 9223372036854775807 stands for that and more.';
COMMENT ON COLUMN peers.downloaded IS 'Bytes received, like uploaded.';
COMMENT ON COLUMN peers.remaining IS 'Bytes left to download: 0 for a seeder, NULL when the client did not say.';
COMMENT ON COLUMN peers.corrupt IS 'Bytes received and thrown away, where the client says so.';
COMMENT ON COLUMN peers.upload_rate IS 'Bytes a second sent between the last two announces; 0 after one.';
COMMENT ON COLUMN peers.download_rate IS 'Bytes a second received between the last two announces; 0 after one.';
COMMENT ON COLUMN peers.seconds IS 'From its first to its last announce.';
COMMENT ON COLUMN peers.announces IS 'How many announces that was.';
COMMENT ON COLUMN peers.client IS 'The program and its version as the peer id tells them, such as qBittorrent 4.5.2.';
COMMENT ON COLUMN peers.active IS 'False when it said that it stopped.';
COMMENT ON COLUMN peers.updated_at IS 'When it announced last.';

CREATE TABLE client_rules (
    prefix bytea PRIMARY KEY CHECK (octet_length(prefix) BETWEEN 1 AND 20),
    allow boolean NOT NULL
);

COMMENT ON TABLE client_rules IS
    'Which client programs may announce. The longest prefix decides; where any prefix is allowed, clients without a rule are refused. The site may insert, update and delete rows; the tracker is told at once.';
COMMENT ON COLUMN client_rules.prefix IS 'The first bytes of peer ids, 1 to 20, such as ''-qB4''.';
COMMENT ON COLUMN client_rules.allow IS 'Allowed or refused.';

CREATE TABLE deletion_reasons (
    info_hash bytea PRIMARY KEY CHECK (octet_length(info_hash) = 20),
    torrent_id bigint NOT NULL CHECK (torrent_id BETWEEN 0 AND 4294967295),
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX deletion_reasons_at_idx ON deletion_reasons (at);

COMMENT ON TABLE deletion_reasons IS
    'Why torrents were deleted: what their clients are told for a day. A site that deletes a torrent by SQL inserts the reason before, in the same transaction.';
COMMENT ON COLUMN deletion_reasons.info_hash IS 'The infohash of the torrent, 20 bytes.';
COMMENT ON COLUMN deletion_reasons.torrent_id IS 'The number that it had.';
COMMENT ON COLUMN deletion_reasons.reason IS 'What clients are told; they are only told that it is not registered when empty.';
COMMENT ON COLUMN deletion_reasons.at IS 'When it was deleted.';

CREATE TABLE ledger (
    journal text PRIMARY KEY,
    node text NOT NULL,
    next bigint NOT NULL CHECK (next >= 0),
    updated_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE ledger IS
    'How far each tracker has written its journal into this database, moved by the same transaction that writes. Only the tracker writes it: whoever changes a row makes it lose statistics, or count them twice.';
COMMENT ON COLUMN ledger.journal IS 'Which journal: a name that was made up when it began. A tracker that lost its data begins another one.';
COMMENT ON COLUMN ledger.node IS 'The name of the tracker.';
COMMENT ON COLUMN ledger.next IS 'All records before this number are written.';
COMMENT ON COLUMN ledger.updated_at IS 'When that was.';

CREATE TABLE rejected (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node text NOT NULL,
    journal text NOT NULL,
    position bigint NOT NULL,
    part text NOT NULL,
    sqlstate text NOT NULL,
    error text NOT NULL,
    record jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE rejected IS
    'Records of the journal, or parts of them, that this database did not take: of each, nothing of that part is written anywhere else. The site reads them, sees to the cause, does by hand what they say, and deletes the rows.';
COMMENT ON COLUMN rejected.id IS 'Counts up; gaps are possible.';
COMMENT ON COLUMN rejected.node IS 'The name of the tracker.';
COMMENT ON COLUMN rejected.journal IS 'The journal; see ledger.journal.';
COMMENT ON COLUMN rejected.position IS 'The number of the record in the journal.';
COMMENT ON COLUMN rejected.part IS
    'What was not taken: credit (users), figures (torrents), token (tokens), snatch (snatches), peer (peers), or change (all of what the site did).';
COMMENT ON COLUMN rejected.sqlstate IS 'The code of the error (PostgreSQL, "Error Codes").';
COMMENT ON COLUMN rejected.error IS 'The text of the error.';
COMMENT ON COLUMN rejected.record IS 'The record in whole.';
COMMENT ON COLUMN rejected.at IS 'When it was refused.';
