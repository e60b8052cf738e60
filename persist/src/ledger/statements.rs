//! The statements of the ledger, prepared once a connection.
//!
//! Each takes columns as arrays, so a batch of any size is one statement a table.

use ::postgres::{Client, Error, Statement};

/// All of them.
pub(super) struct Statements {
    /// None where a session of a later epoch writes.
    pub(super) position: Statement,
    pub(super) beat: Statement,
    pub(super) advance: Statement,
    pub(super) reject: Statement,
    pub(super) keep_credit: Statement,
    pub(super) unknown_users: Statement,
    pub(super) baselines: Statement,
    pub(super) figures_measured: Statement,
    pub(super) credits: Statement,
    pub(super) figures: Statement,
    pub(super) tokens: Statement,
    pub(super) spent_tokens: Statement,
    pub(super) snatches: Statement,
    pub(super) peers: Statement,
    pub(super) peers_gone: Statement,
    pub(super) user: Statement,
    pub(super) user_new: Statement,
    pub(super) said_later: Statement,
    pub(super) user_hidden: Statement,
    pub(super) former: Statement,
    pub(super) former_removed: Statement,
    pub(super) former_over: Statement,
    pub(super) group: Statement,
    pub(super) group_removed: Statement,
    pub(super) torrent: Statement,
    pub(super) torrent_new: Statement,
    pub(super) torrent_again: Statement,
    pub(super) torrent_reasons: Statement,
    pub(super) torrent_removed: Statement,
    pub(super) torrent_tokens: Statement,
    pub(super) torrent_peers: Statement,
    pub(super) token: Statement,
    pub(super) token_removed: Statement,
    pub(super) client_rule: Statement,
    pub(super) client_rule_removed: Statement,
    pub(super) stale_peers: Statement,
    pub(super) suspicions: Statement,
}

impl Statements {
    pub(super) fn prepare(client: &mut Client) -> Result<Self, Error> {
        client.batch_execute(PLANS)?;
        let mut prepare = |text: &str| client.prepare(text);
        Ok(Self {
            position: prepare(
                "SELECT next FROM ledger, writer WHERE ledger.journal = $1 AND epoch = $2 \
                 FOR UPDATE OF ledger FOR SHARE OF writer",
            )?,
            beat: prepare("UPDATE writer SET beat_at = clock_timestamp() WHERE epoch = $1")?,
            advance: prepare(
                "UPDATE ledger SET node = $2, next = $3, written_until = greatest(written_until, $4), \
                 life = coalesce($5, life), updated_at = now() WHERE journal = $1",
            )?,
            reject: prepare(REJECT)?,
            keep_credit: prepare(KEEP_CREDIT)?,
            unknown_users: prepare(UNKNOWN_USERS)?,
            baselines: prepare(BASELINES)?,
            figures_measured: prepare(FIGURES_MEASURED)?,
            credits: prepare(CREDITS)?,
            figures: prepare(FIGURES)?,
            tokens: prepare(TOKENS)?,
            spent_tokens: prepare(SPENT_TOKENS)?,
            snatches: prepare(SNATCHES)?,
            peers: prepare(PEERS)?,
            peers_gone: prepare(PEERS_GONE)?,
            user: prepare(USER)?,
            user_new: prepare(USER_NEW)?,
            said_later: prepare(SAID_LATER)?,
            user_hidden: prepare(USER_HIDDEN)?,
            former: prepare(FORMER)?,
            former_removed: prepare(FORMER_REMOVED)?,
            former_over: prepare(FORMER_OVER)?,
            group: prepare(GROUP)?,
            group_removed: prepare("DELETE FROM user_groups WHERE id = ANY($1)")?,
            torrent: prepare(TORRENT)?,
            torrent_new: prepare(TORRENT_NEW)?,
            torrent_again: prepare(TORRENT_AGAIN)?,
            torrent_reasons: prepare(TORRENT_REASONS)?,
            torrent_removed: prepare(TORRENT_REMOVED)?,
            torrent_tokens: prepare(TORRENT_TOKENS)?,
            torrent_peers: prepare(TORRENT_PEERS)?,
            token: prepare(TOKEN)?,
            token_removed: prepare(TOKEN_REMOVED)?,
            client_rule: prepare(CLIENT_RULE)?,
            client_rule_removed: prepare("DELETE FROM client_rules WHERE prefix = ANY($1)")?,
            stale_peers: prepare(STALE_PEERS)?,
            suspicions: prepare(SUSPICIONS)?,
        })
    }
}

/// Every statement looks its rows up by their keys. The planner does not know how many there will be, and
/// may think of reading a whole table for a large batch, or a table whose size it does not know yet.
const PLANS: &str = "SET plan_cache_mode TO force_generic_plan; SET enable_seqscan TO off; \
    SET enable_hashjoin TO off; SET enable_mergejoin TO off; SET jit TO off";

const REJECT: &str = "
    INSERT INTO rejected (node, journal, position, part, sqlstate, error, record, user_id, torrent_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8, $9)";

/// Credit that nobody took is added up in one row for each user, until the site deletes that.
const KEEP_CREDIT: &str = "
    WITH d AS (
        SELECT * FROM unnest($4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::text[])
            AS d (who, up, down, at_record, why, what)
    ), merged AS (
        UPDATE rejected r SET uploaded = r.uploaded + least(d.up, 9223372036854775807 - r.uploaded),
            downloaded = r.downloaded + least(d.down, 9223372036854775807 - r.downloaded),
            position = d.at_record, error = d.why, record = d.what::jsonb, at = now()
        FROM d WHERE r.id = (SELECT max(o.id) FROM rejected o WHERE o.user_id = d.who AND o.journal = $1
            AND o.part = 'credit' AND o.sqlstate = $3 AND o.uploaded >= 0 AND o.downloaded >= 0)
        RETURNING r.user_id
    )
    INSERT INTO rejected (node, journal, position, part, sqlstate, error, record, user_id, uploaded, downloaded)
    SELECT $2, $1, at_record, 'credit', $3, why, what::jsonb, who, up, down
    FROM d WHERE who NOT IN (SELECT user_id FROM merged)";

const UNKNOWN_USERS: &str = "
    SELECT who FROM unnest($1::bigint[]) AS d (who)
    WHERE NOT EXISTS (SELECT FROM users WHERE users.id = who)";

const BASELINES: &str = "
    SELECT p.user_id, p.torrent_id, p.peer_id, p.key, p.uploaded, p.downloaded, p.corrupt, p.remaining, p.stamp
    FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[]) AS d (who, what, its_name, its_key)
        JOIN peers p ON p.user_id = who AND p.torrent_id = what AND p.peer_id = its_name AND p.key = its_key
    ORDER BY p.user_id, p.torrent_id, p.peer_id, p.key
    FOR UPDATE OF p";

const FIGURES_MEASURED: &str = "
    UPDATE torrents SET seeders = d.seeders, leechers = d.leechers,
        snatches = least(torrents.snatches + d.snatches, 4294967295),
        balance = greatest(least(torrents.balance::numeric + d.moved, 9223372036854775807),
            -9223372036854775808)::bigint,
        last_active_at = coalesce(to_timestamp(d.active_at), last_active_at)
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS d (torrent_id, seeders, leechers, snatches, moved, active_at)
    WHERE torrents.id = torrent_id";

/// A sum that no column can hold stays at the largest number: refused, it would be so with each further
/// announce of the user.
const CREDITS: &str = "
    UPDATE users SET uploaded = uploaded + least(up, 9223372036854775807 - uploaded),
        downloaded = downloaded + least(down, 9223372036854775807 - downloaded)
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS d (user_id, up, down)
    WHERE users.id = user_id";

const FIGURES: &str = "
    UPDATE torrents SET seeders = d.seeders, leechers = d.leechers, snatches = d.snatches,
        balance = d.balance, last_active_at = coalesce(to_timestamp(d.active_at), last_active_at)
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS d (torrent_id, seeders, leechers, snatches, balance, active_at)
    WHERE torrents.id = torrent_id";

const TOKENS: &str = "
    UPDATE tokens SET downloaded = downloaded + least(down, 9223372036854775807 - downloaded), spent_at = coalesce(spent_at, to_timestamp(spent))
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS d (who, what, down, spent)
    WHERE user_id = who AND torrent_id = what";

const SPENT_TOKENS: &str = "
    INSERT INTO spent_tokens (user_id, torrent_id, at)
    SELECT user_id, torrent_id, to_timestamp(at)
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS d (user_id, torrent_id, at)";

const SNATCHES: &str = "
    INSERT INTO snatches (user_id, torrent_id, at, address)
    SELECT user_id, torrent_id, to_timestamp(at), address
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::inet[]) AS d (user_id, torrent_id, at, address)";

/// Nearly all of them are there. To change a row takes half of what it takes to insert one that is in conflict
/// with it, which locks it first; so only what was not there is inserted.
const PEERS: &str = "
    WITH d AS (
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::inet[], $5::inet[], $6::integer[],
            $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[],
            $13::bigint[], $14::bigint[], $15::text[], $16::boolean[], $17::bigint[], $18::bigint[],
            $19::integer[], $20::bigint[]) WITH ORDINALITY
            AS d (user_id, torrent_id, peer_id, address_v4, address_v6, port, uploaded, downloaded,
            remaining, corrupt, upload_rate, download_rate, seconds, announces, client, active, at, key,
            port_v6, stamp, place)
    ), known AS (
        UPDATE peers p SET address_v4 = d.address_v4, address_v6 = d.address_v6, port = d.port,
            uploaded = d.uploaded, downloaded = d.downloaded, remaining = d.remaining, corrupt = d.corrupt,
            upload_rate = d.upload_rate, download_rate = d.download_rate, seconds = d.seconds,
            announces = d.announces, client = d.client, active = d.active, updated_at = to_timestamp(d.at),
            port_v6 = d.port_v6, stamp = d.stamp, memory = NULL
        FROM d WHERE p.user_id = d.user_id AND p.torrent_id = d.torrent_id AND p.peer_id = d.peer_id
            AND p.key = d.key
        RETURNING d.place
    )
    INSERT INTO peers (user_id, torrent_id, peer_id, address_v4, address_v6, port, uploaded, downloaded,
        remaining, corrupt, upload_rate, download_rate, seconds, announces, client, active, updated_at, key,
        port_v6, stamp)
    SELECT user_id, torrent_id, peer_id, address_v4, address_v6, port, uploaded, downloaded,
        remaining, corrupt, upload_rate, download_rate, seconds, announces, client, active,
        to_timestamp(at), key, port_v6, stamp
    FROM d WHERE place NOT IN (SELECT place FROM known)
    ON CONFLICT (user_id, torrent_id, peer_id, key) DO UPDATE SET address_v4 = excluded.address_v4,
        address_v6 = excluded.address_v6, port = excluded.port, uploaded = excluded.uploaded,
        downloaded = excluded.downloaded, remaining = excluded.remaining, corrupt = excluded.corrupt,
        upload_rate = excluded.upload_rate, download_rate = excluded.download_rate,
        seconds = excluded.seconds, announces = excluded.announces, client = excluded.client,
        active = excluded.active, updated_at = excluded.updated_at, port_v6 = excluded.port_v6,
        stamp = excluded.stamp, memory = NULL";

const PEERS_GONE: &str = "
    UPDATE peers SET active = false
    FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[]) AS d (who, what, client, its_key)
    WHERE user_id = who AND torrent_id = what AND peer_id = d.client AND key = its_key AND active";

/// Each column that was said, with the moment when; `NULL` for one that was not. One that SQL has said later
/// stays as it is. A group that is gone is none, and who is in none that is known keeps the one that the
/// site has given him. Says whose rows are there, and
/// of which a column stayed.
const USER: &str = "
    UPDATE users SET
        passkey = CASE WHEN coalesce(said_at[1] > to_timestamp(passkey_at / 1000.0), passkey_at IS NULL)
            THEN users.passkey ELSE d.passkey END,
        can_leech = CASE WHEN coalesce(said_at[2] > to_timestamp(can_leech_at / 1000.0), can_leech_at IS NULL)
            THEN users.can_leech ELSE d.can_leech END,
        hidden = CASE WHEN coalesce(said_at[3] > to_timestamp(hidden_at / 1000.0), hidden_at IS NULL)
            THEN users.hidden ELSE d.hidden END,
        enabled = CASE WHEN coalesce(said_at[4] > to_timestamp(enabled_at / 1000.0), enabled_at IS NULL)
            THEN users.enabled ELSE d.enabled END,
        group_id = CASE WHEN coalesce(said_at[5] > to_timestamp(group_at / 1000.0), group_at IS NULL)
            THEN users.group_id
            ELSE coalesce((SELECT g.id FROM user_groups g WHERE g.id = d.group_id), users.group_id) END
    FROM unnest($1::bigint[], $2::text[], $3::boolean[], $4::boolean[], $5::boolean[], $6::smallint[],
        $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
        AS d (user_id, passkey, can_leech, hidden, enabled, group_id,
        passkey_at, can_leech_at, hidden_at, enabled_at, group_at)
    WHERE users.id = user_id
    RETURNING users.id, coalesce(said_at[1] > to_timestamp(passkey_at / 1000.0), false)
        OR coalesce(said_at[2] > to_timestamp(can_leech_at / 1000.0), false)
        OR coalesce(said_at[3] > to_timestamp(hidden_at / 1000.0), false)
        OR coalesce(said_at[4] > to_timestamp(enabled_at / 1000.0), false)
        OR coalesce(said_at[5] > to_timestamp(group_at / 1000.0), false)";

/// Has the tracker read rows again where SQL said something later. It has given no notice of a column that it
/// said to be what it was: to be what it is to be here, it is news.
const SAID_LATER: &str = "
    SELECT notice(current_schema(), row_name) FROM unnest($1::text[]) AS d (row_name)";

/// Users that were not there. After [`USER`], which may have let go a passkey that one of them gets.
const USER_NEW: &str = "
    INSERT INTO users (id, passkey, can_leech, hidden, enabled, group_id)
    SELECT id, passkey, can_leech, hidden, enabled, (SELECT g.id FROM user_groups g WHERE g.id = group_id)
    FROM unnest($1::bigint[], $2::text[], $3::boolean[], $4::boolean[], $5::boolean[], $6::smallint[])
        AS d (id, passkey, can_leech, hidden, enabled, group_id)
    ON CONFLICT (id) DO NOTHING";

/// After [`FORMER_REMOVED`] of the same users and passkeys: one that is over may be another's. Says whose it has
/// written: those who are there.
const FORMER: &str = "
    INSERT INTO former_passkeys (user_id, passkey, good_until)
    SELECT who, d.passkey, to_timestamp(until)
    FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS d (who, passkey, until)
    WHERE EXISTS (SELECT FROM users WHERE users.id = who)
    RETURNING user_id";

const FORMER_REMOVED: &str = "
    DELETE FROM former_passkeys WHERE user_id = ANY($1) OR passkey = ANY($2)";

/// Those that are over, some at a time.
const FORMER_OVER: &str = "
    DELETE FROM former_passkeys WHERE user_id = ANY(ARRAY(
        SELECT user_id FROM former_passkeys WHERE good_until <= now() LIMIT $1)) AND good_until <= now()";

const GROUP: &str = "
    INSERT INTO user_groups (id, name, downloads_max)
    SELECT * FROM unnest($1::smallint[], $2::text[], $3::integer[])
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, downloads_max = excluded.downloads_max";

const USER_HIDDEN: &str = "
    UPDATE peers SET address_v4 = NULL, address_v6 = NULL, port = NULL, port_v6 = NULL
    WHERE user_id = ANY($1) AND port IS NOT NULL";

/// Like [`USER`]. A number that is another torrent's by now is not taken from that one.
const TORRENT: &str = "
    UPDATE torrents SET
        freeleech = CASE WHEN coalesce(said_at[1] > to_timestamp(freeleech_at / 1000.0), freeleech_at IS NULL)
            THEN torrents.freeleech ELSE d.freeleech END,
        upload_percent = CASE
            WHEN coalesce(said_at[2] > to_timestamp(upload_percent_at / 1000.0), upload_percent_at IS NULL)
            THEN torrents.upload_percent ELSE d.upload_percent END,
        info_hash_v2 = CASE WHEN coalesce(said_at[3] > to_timestamp(second_at / 1000.0), second_at IS NULL)
            THEN torrents.info_hash_v2 ELSE d.second END
    FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::integer[], $5::bytea[], $6::bigint[], $7::bigint[],
            $8::bigint[])
        AS d (torrent_id, hash, freeleech, upload_percent, second, freeleech_at, upload_percent_at, second_at)
    WHERE torrents.id = torrent_id AND torrents.info_hash = hash
    RETURNING torrents.info_hash, coalesce(said_at[1] > to_timestamp(freeleech_at / 1000.0), false)
        OR coalesce(said_at[2] > to_timestamp(upload_percent_at / 1000.0), false)
        OR coalesce(said_at[3] > to_timestamp(second_at / 1000.0), false), torrents.id";

/// Torrents that were not there; which of them could be made.
const TORRENT_NEW: &str = "
    INSERT INTO torrents (id, info_hash, freeleech, upload_percent, info_hash_v2)
    SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::integer[], $5::bytea[])
    ON CONFLICT (id) DO NOTHING
    RETURNING info_hash";

const TORRENT_AGAIN: &str = "
    DELETE FROM deletion_reasons WHERE info_hash = ANY($1)
    AND EXISTS (SELECT FROM torrents WHERE torrents.info_hash = deletion_reasons.info_hash)";

const TORRENT_REASONS: &str = "
    INSERT INTO deletion_reasons (torrent_id, info_hash, reason, at)
    SELECT torrent_id, info_hash, reason, to_timestamp(at)
    FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::bigint[]) AS d (torrent_id, info_hash, reason, at)
    ON CONFLICT (info_hash) DO UPDATE SET torrent_id = excluded.torrent_id, reason = excluded.reason,
        at = excluded.at";

const TORRENT_REMOVED: &str = "
    DELETE FROM torrents USING unnest($1::bigint[], $2::bytea[]) AS d (torrent_id, hash)
    WHERE id = torrent_id AND info_hash = hash";

/// A number that has been given to another torrent in the meantime keeps what is of that one.
const TORRENT_TOKENS: &str = "
    DELETE FROM tokens WHERE torrent_id = ANY($1)
    AND NOT EXISTS (SELECT FROM torrents WHERE torrents.id = torrent_id)";

const TORRENT_PEERS: &str = "
    DELETE FROM peers WHERE torrent_id = ANY($1)
    AND NOT EXISTS (SELECT FROM torrents WHERE torrents.id = torrent_id)";

/// A token given again after it was spent is a new one.
const TOKEN: &str = "
    INSERT INTO tokens AS t (user_id, torrent_id, expires_at)
    SELECT user_id, torrent_id, to_timestamp(expires_at)
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS d (user_id, torrent_id, expires_at)
    ON CONFLICT (user_id, torrent_id) DO UPDATE SET expires_at = excluded.expires_at, spent_at = NULL,
        granted_at = CASE WHEN t.spent_at IS NULL THEN t.granted_at ELSE now() END,
        downloaded = CASE WHEN t.spent_at IS NULL THEN t.downloaded ELSE 0 END";

const TOKEN_REMOVED: &str = "
    DELETE FROM tokens USING unnest($1::bigint[], $2::bigint[]) AS d (who, what)
    WHERE user_id = who AND torrent_id = what";

const CLIENT_RULE: &str = "
    INSERT INTO client_rules (prefix, allow) SELECT * FROM unnest($1::bytea[], $2::boolean[])
    ON CONFLICT (prefix) DO UPDATE SET allow = excluded.allow";

/// Bounded, so that no batch waits long for it. There is no index on the time, see the table.
const STALE_PEERS: &str = "
    DELETE FROM peers WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM peers WHERE updated_at < now() - make_interval(secs => $1) LIMIT $2))";

const SUSPICIONS: &str = "
    INSERT INTO suspicions AS s (kind, user_id, torrent_id, first_at, last_at, times, worst, client)
    SELECT kind, user_id, torrent_id, to_timestamp(first_at), to_timestamp(last_at), times, worst, client
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
        $7::bigint[], $8::text[])
        AS d (kind, user_id, torrent_id, first_at, last_at, times, worst, client)
    ON CONFLICT (kind, user_id, (coalesce(torrent_id, -1))) DO UPDATE SET
        last_at = greatest(s.last_at, excluded.last_at), times = s.times + excluded.times,
        worst = greatest(s.worst, excluded.worst), client = excluded.client";
