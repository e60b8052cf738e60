-- What looks like cheating: written by the tracker where a threshold was set, judged by people.

CREATE TABLE suspicions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('rate', 'upload_alone', 'same_counters', 'networks')),
    user_id bigint NOT NULL CHECK (user_id BETWEEN 0 AND 4294967295),
    torrent_id bigint CHECK (torrent_id BETWEEN 0 AND 4294967295),
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    times bigint NOT NULL,
    worst bigint NOT NULL,
    client text NOT NULL
);
CREATE UNIQUE INDEX suspicions_what_idx ON suspicions (kind, user_id, (coalesce(torrent_id, -1)));
CREATE INDEX suspicions_user_idx ON suspicions (user_id);

COMMENT ON TABLE suspicions IS
    'Announces that went beyond a threshold of the tracker''s options suspect-*: a row for each rule, user and torrent. Nothing follows from a row; each rule can hit an honest user. The site reads them, and deletes what is settled: it comes again when it happens again.';
COMMENT ON COLUMN suspicions.id IS 'Counts up; gaps are possible.';
COMMENT ON COLUMN suspicions.kind IS
    'Which rule: rate = faster than suspect-rate; upload_alone = uploaded suspect-upload-alone or more while nobody else had anything to download; same_counters = the same upload on suspect-same-counters torrents within an hour; networks = clients in more than suspect-networks networks (/24 or /48) within an hour.';
COMMENT ON COLUMN suspicions.user_id IS 'Whose client. What it reported was credited by the usual rules.';
COMMENT ON COLUMN suspicions.torrent_id IS 'On which torrent; NULL for networks, which is about all the user''s clients.';
COMMENT ON COLUMN suspicions.first_at IS 'When it was noticed first.';
COMMENT ON COLUMN suspicions.last_at IS 'When it was noticed last.';
COMMENT ON COLUMN suspicions.times IS 'How many announces.';
COMMENT ON COLUMN suspicions.worst IS
    'The largest figure of them: bytes a second (rate), bytes (upload_alone), torrents (same_counters), networks (networks).';
COMMENT ON COLUMN suspicions.client IS 'The program of the last of them; like peers.client.';
