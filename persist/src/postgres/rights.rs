//! The rights that the role of the tracker has to have, and whether it has them.
//!
//! A role that owns nothing can run the tracker where the tables are up to date: it needs USAGE on the schema, and of
//! each table what is written down here. Who makes or changes the tables has to own them.

use ::postgres::Client;

use super::settings::quote;
use super::{Database, DatabaseError};

/// The rights that are used on each table. A right on some columns will do, where those are the ones.
const NEEDED: &[(&str, &[&str])] = &[
    ("migrations", &["SELECT"]),
    ("users", &["SELECT", "INSERT", "UPDATE"]),
    ("former_passkeys", &["SELECT", "INSERT", "DELETE"]),
    ("user_groups", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("torrents", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("tokens", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("client_rules", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("deletion_reasons", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("peers", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("snatches", &["INSERT"]),
    ("ledger", &["SELECT", "INSERT", "UPDATE"]),
    ("rejected", &["INSERT"]),
    ("spent_tokens", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("suspicions", &["SELECT", "INSERT", "UPDATE"]),
    ("identity", &["SELECT", "UPDATE"]),
    ("gaps", &["INSERT"]),
    ("writer", &["SELECT", "INSERT", "UPDATE"]),
];

impl Database {
    /// Whether the role may do what the tracker does with the tables that are there.
    pub(super) fn check_rights(&self, client: &mut Client) -> Result<(), DatabaseError> {
        let (tables, rights): (Vec<&str>, Vec<&str>) = NEEDED
            .iter()
            .flat_map(|(table, rights)| rights.iter().map(move |right| (*table, *right)))
            .unzip();
        let rows = client
            .query(LACKING, &[&tables, &rights])
            .map_err(self.failed("read the rights of the role"))?;
        let Some(first) = rows.first() else { return Ok(()) };
        let role: String = first.get(0);
        let grants: Vec<String> = rows
            .iter()
            .map(|row| {
                let (table, rights): (String, String) = (row.get(1), row.get(2));
                format!("GRANT {rights} ON {}.{table} TO {}", quote(self.schema()), quote(&role))
            })
            .collect();
        let rights = format!("the owner of the tables gives them: {}", grants.join("; "));
        Err(DatabaseError::Rights { database: self.to_string(), role, rights })
    }

    /// Whether the role may make or change the tables: told before it is tried, as the server does not
    /// say which right is missing.
    pub(super) fn check_ownership(&self, client: &mut Client) -> Result<Schema, DatabaseError> {
        let schema = self.schema();
        let row = client
            .query_one(OWNERSHIP, &[&schema])
            .map_err(self.failed("read the rights of the role"))?;
        let role: String = row.get(0);
        let lacks = |rights: String| DatabaseError::Rights {
            database: self.to_string(),
            role: role.clone(),
            rights,
        };
        let (schema, grantee) = (quote(schema), quote(&role));
        let [there, usage, create, in_database]: [bool; 4] =
            std::array::from_fn(|place| row.get(place + 1));
        if !there {
            return if in_database {
                Ok(Schema::Missing)
            } else {
                Err(lacks(format!(
                    "there is no schema {schema}, and it may not make one: CREATE SCHEMA {schema} AUTHORIZATION {grantee}"
                )))
            };
        }
        if !usage {
            return Err(lacks(format!("GRANT USAGE ON SCHEMA {schema} TO {grantee}")));
        }
        let others: Option<String> = row.get(5);
        if let Some(others) = others {
            return Err(lacks(format!(
                "the tables have to be brought up to date, and only their owner may: start once as {others}, or \
                 ALTER TABLE … OWNER TO {grantee}"
            )));
        }
        if !create {
            return Err(lacks(format!(
                "tables have to be made: GRANT CREATE ON SCHEMA {schema} TO {grantee}"
            )));
        }
        Ok(Schema::There)
    }
}

/// Whether there is a schema for the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Schema {
    Missing,
    There,
}

const LACKING: &str = "
    SELECT current_user::text, name, string_agg(needed, ', ' ORDER BY place)
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (name, needed, place)
    WHERE to_regclass(name) IS NOT NULL AND NOT CASE needed
        WHEN 'DELETE' THEN has_table_privilege(to_regclass(name)::oid, needed)
        ELSE has_any_column_privilege(to_regclass(name)::oid, needed) END
    GROUP BY name ORDER BY name";

/// The role; whether the schema is there, may be used, may get tables, and whether a schema may be made; who
/// else owns tables of it that the tracker made.
const OWNERSHIP: &str = "
    SELECT current_user::text, oid IS NOT NULL, coalesce(has_schema_privilege(oid, 'USAGE'), false),
        coalesce(has_schema_privilege(oid, 'CREATE'), false),
        has_database_privilege(current_database(), 'CREATE'),
        (SELECT string_agg(DISTINCT relowner::regrole::text, ', ') FROM pg_class
            WHERE relnamespace = n.oid AND relname IN ('migrations', 'users', 'torrents', 'peers')
            AND relkind IN ('r', 'p') AND NOT pg_has_role(relowner, 'USAGE'))
    FROM (VALUES ($1::name)) AS wanted (name) LEFT JOIN pg_namespace n ON nspname = wanted.name";
