-- What a restore, a fail-over and a second writer must not harm: which database this is, how far each
-- journal got and in which of its lives, what is missing for good, who said what last.

-- Which database this is ---------------------------------------------------------------------------

CREATE TABLE identity (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    made_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO identity DEFAULT VALUES;

COMMENT ON TABLE identity IS
    'Which database this is, one row: a tracker''s data folder remembers it, so that a wrong URL is noticed. Backups and replicas have the same one. Only the tracker writes it.';
COMMENT ON COLUMN identity.one IS 'Always true: there is one row.';
COMMENT ON COLUMN identity.id IS 'Made up when the schema was made.';
COMMENT ON COLUMN identity.made_at IS 'When that was.';

ALTER TABLE migrations ADD COLUMN version text;
COMMENT ON COLUMN migrations.version IS 'The program version that applied it; a program that knows it is needed from then on. NULL for those before 0.2.';

-- How far each journal got -------------------------------------------------------------------------

ALTER TABLE ledger ADD COLUMN life text;
ALTER TABLE ledger ADD COLUMN written_until bigint;
ALTER TABLE ledger ADD COLUMN written_off timestamptz;
ALTER TABLE ledger ADD COLUMN measured_from bigint;
ALTER TABLE ledger ADD COLUMN measured_since timestamptz;

COMMENT ON COLUMN ledger.life IS 'The life of the journal (one for each start of the tracker) that the last record written was of. A journal that does not know this life, or ended it earlier, is an older copy. NULL before 0.2.';
COMMENT ON COLUMN ledger.written_until IS 'When the last record written was made, in milliseconds since 1970. No record of this journal made before is missing.';
COMMENT ON COLUMN ledger.written_off IS 'When it was given up: what it still brings goes to the table rejected. NULL for one that is not.';
COMMENT ON COLUMN ledger.measured_from IS 'From this record on the journal does not know where clients were before, because it was restored or lost: what they moved is measured from their rows in peers. NULL when it knows.';
COMMENT ON COLUMN ledger.measured_since IS 'When that began; it ends when no client can be left that has not announced since.';

CREATE TABLE gaps (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    journal text NOT NULL,
    node text NOT NULL,
    reason text NOT NULL CHECK (reason IN ('database_restored', 'journal_restored', 'journal_lost', 'database_emptied')),
    first bigint NOT NULL,
    behind bigint NOT NULL,
    from_at timestamptz,
    to_at timestamptz,
    noticed_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE gaps IS
    'Records that this database will never get, a row for each run of them. Credit that was in them is lost. Staff reads the rows and deletes those that are settled.';
COMMENT ON COLUMN gaps.id IS 'Counts up; gaps are possible.';
COMMENT ON COLUMN gaps.journal IS 'The journal; see ledger.journal.';
COMMENT ON COLUMN gaps.node IS 'The name of the tracker.';
COMMENT ON COLUMN gaps.reason IS
    'database_restored = the database went back to a moment older than what the journal keeps; journal_restored = the data folder went back to an older copy, and what was changed through the tracker since is gone; journal_lost = segments of the journal are gone; database_emptied = the tables were empty and were filled again.';
COMMENT ON COLUMN gaps.first IS 'The number of the first record that is missing.';
COMMENT ON COLUMN gaps.behind IS 'The number behind the last one that is missing: behind - first records.';
COMMENT ON COLUMN gaps.from_at IS 'When the last record before them was made, as far as it is known.';
COMMENT ON COLUMN gaps.to_at IS 'When the first record after them was made, as far as it is known.';
COMMENT ON COLUMN gaps.noticed_at IS 'When it was noticed.';

-- Whose credit nobody took -------------------------------------------------------------------------

ALTER TABLE rejected ADD COLUMN user_id bigint;
ALTER TABLE rejected ADD COLUMN torrent_id bigint;
ALTER TABLE rejected ADD COLUMN uploaded bigint;
ALTER TABLE rejected ADD COLUMN downloaded bigint;
CREATE INDEX rejected_user_id_idx ON rejected (user_id) WHERE user_id IS NOT NULL;

COMMENT ON COLUMN rejected.user_id IS 'Whose client it was; NULL where it was of no user. He need not be in users.';
COMMENT ON COLUMN rejected.torrent_id IS 'On which torrent; NULL where it was of none, or of several.';
COMMENT ON COLUMN rejected.uploaded IS 'Bytes of upload that were not credited; NULL where it was not about credit.';
COMMENT ON COLUMN rejected.downloaded IS 'Bytes of download that were not credited; like uploaded.';

-- Where clients are --------------------------------------------------------------------------------

ALTER TABLE peers ADD COLUMN port_v6 integer CHECK (port_v6 BETWEEN 0 AND 65535);
ALTER TABLE peers ADD COLUMN stamp bigint;
ALTER TABLE peers ADD COLUMN memory bytea;

COMMENT ON COLUMN peers.port IS 'Its port over IPv4, and over IPv6 where port_v6 is NULL; NULL for hidden users.';
COMMENT ON COLUMN peers.port_v6 IS 'Its port over IPv6; NULL when unknown, and for hidden users.';
COMMENT ON COLUMN peers.stamp IS 'When it announced last, in milliseconds since 1970; NULL before 0.2.';
COMMENT ON COLUMN peers.memory IS 'What several trackers of one site remember of a client; NULL for nearly all.';

-- Who said what last -------------------------------------------------------------------------------

-- What the site says by SQL and what it says through the tracker may cross: the latter is written a little
-- later. So each row remembers when SQL said each of its columns, and the tracker does not write over what
-- was said after it.
ALTER TABLE users ADD COLUMN said_at timestamptz[];
ALTER TABLE torrents ADD COLUMN said_at timestamptz[];

COMMENT ON COLUMN users.said_at IS
    'When SQL named a column of this row in an UPDATE the last time: passkey, can_leech, hidden, enabled, group_id, in this order. Kept by triggers; NULL for most.';
COMMENT ON COLUMN torrents.said_at IS
    'When SQL named a column of this row in an UPDATE the last time: freeleech, upload_percent, in this order. Kept by triggers; NULL for most.';

CREATE FUNCTION said() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.said_at[TG_ARGV[0]::integer] := clock_timestamp();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION said IS 'Notes when SQL said a column.';

CREATE TRIGGER users_said_1 BEFORE UPDATE OF passkey ON users FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION said(1);
CREATE TRIGGER users_said_2 BEFORE UPDATE OF can_leech ON users FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION said(2);
CREATE TRIGGER users_said_3 BEFORE UPDATE OF hidden ON users FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION said(3);
CREATE TRIGGER users_said_4 BEFORE UPDATE OF enabled ON users FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION said(4);
CREATE TRIGGER users_said_5 BEFORE UPDATE OF group_id ON users FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION said(5);
CREATE TRIGGER torrents_said_1 BEFORE UPDATE OF freeleech ON torrents FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION said(1);
CREATE TRIGGER torrents_said_2 BEFORE UPDATE OF upload_percent ON torrents FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION said(2);
