-- Groups of users, with the downloads that each of them may have at once; and which tokens are used up, for
-- sites that are told by a call.

CREATE TABLE user_groups (
    id smallint PRIMARY KEY CHECK (id >= 0),
    name text NOT NULL CONSTRAINT user_groups_name_key UNIQUE CHECK (octet_length(name) BETWEEN 1 AND 255),
    downloads_max integer CHECK (downloads_max >= 0)
);

COMMENT ON TABLE user_groups IS
    'Groups that users may be in. The site may insert, update and delete rows; the tracker is told at once.';
COMMENT ON COLUMN user_groups.id IS 'The number of the group at the site, 0 to 32767.';
COMMENT ON COLUMN user_groups.name IS 'What the group is called, 1 to 255 bytes. No two groups have the same name.';
COMMENT ON COLUMN user_groups.downloads_max IS
    'How many downloads each user of the group may have at once, over all torrents: clients that lack something and have not said that they pause. One more is refused and told why; those under way go on when this becomes less, and uploads are credited in any case. NULL for any number.';

ALTER TABLE users ADD COLUMN group_id smallint
    CONSTRAINT users_group_id_fkey REFERENCES user_groups ON DELETE SET NULL;
COMMENT ON COLUMN users.group_id IS 'The group of the user; see user_groups.id. NULL for none: then nothing is bounded.';
-- Of most sites a small part of the users is in a group whose row ever goes.
CREATE INDEX users_group_id_idx ON users (group_id) WHERE group_id IS NOT NULL;

CREATE FUNCTION user_groups_notice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        EXECUTE format('SELECT %I.notice($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_SCHEMA, 'user_groups ' || OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        EXECUTE format('SELECT %I.notice($1, $2)', TG_TABLE_SCHEMA)
            USING TG_TABLE_SCHEMA, 'user_groups ' || NEW.id;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION user_groups_notice IS 'Tells the tracker which group changed.';

CREATE TRIGGER user_groups_notice AFTER INSERT OR UPDATE OR DELETE ON user_groups FOR EACH ROW
    WHEN (coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION user_groups_notice();
CREATE TRIGGER user_groups_reload_notice AFTER TRUNCATE ON user_groups FOR EACH STATEMENT EXECUTE FUNCTION reload_notice();

DROP TRIGGER users_notice_columns ON users;
CREATE TRIGGER users_notice_columns AFTER UPDATE OF id, passkey, can_leech, hidden, enabled, group_id ON users FOR EACH ROW
    WHEN ((OLD.id, OLD.passkey, OLD.can_leech, OLD.hidden, OLD.enabled, OLD.group_id)
            IS DISTINCT FROM (NEW.id, NEW.passkey, NEW.can_leech, NEW.hidden, NEW.enabled, NEW.group_id)
        AND coalesce(current_setting('margay.ledger', true), '') <> 'on') EXECUTE FUNCTION users_notice();

CREATE TABLE spent_tokens (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL,
    torrent_id bigint NOT NULL,
    at timestamptz NOT NULL,
    told_at timestamptz
);
CREATE INDEX spent_tokens_untold_idx ON spent_tokens (id) WHERE told_at IS NULL;

COMMENT ON TABLE spent_tokens IS
    'Tokens that were used up and of which the site is told by a call, one row each. Only the tracker writes it, and only when it is told where the site is; rows go a week after the site has been told.';
COMMENT ON COLUMN spent_tokens.id IS 'Counts up; gaps are possible.';
COMMENT ON COLUMN spent_tokens.user_id IS 'Whose token it was; see users.id.';
COMMENT ON COLUMN spent_tokens.torrent_id IS 'For which torrent; see torrents.id.';
COMMENT ON COLUMN spent_tokens.at IS 'When the download was complete, and the token over with it.';
COMMENT ON COLUMN spent_tokens.told_at IS 'When the site said that it knows; NULL until then.';

COMMENT ON COLUMN deletion_reasons.reason IS
    'What clients are told; they are only told that it is not registered when empty. Blanks alone are a reason without words, as Ocelot has it for numbers that it does not know: they are told "Unregistered torrent: ".';
