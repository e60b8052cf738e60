//! Passwords, and certificates that are believed or not.

use std::fs;

use persist::{Database, DatabaseError};
use postgres::{Client, NoTls};

use crate::site::Server;

#[test]
fn certificates_are_checked_as_far_as_asked() {
    let Some(server) = Server::start("tls") else { return };
    let url = fs::read_to_string(server.dir().join("url_tcp")).unwrap();
    let url = url.trim();
    let named = url.replace("127.0.0.1", "localhost");
    let root = server.dir().join("server.crt");
    let root = root.to_str().unwrap();
    assert!(fs::exists(root).unwrap(), "openssl makes a certificate for the test");
    let mut observer = Client::connect(&server.url, NoTls).unwrap();
    let mut works = |url: &str, password: &str, encrypted: bool| {
        let database = Database::new(url, Some(password), "tls").unwrap();
        let result = database.migrate();
        if result.is_ok() {
            // Looked at from outside, while it is connected.
            let watch = persist::postgres::Watch::start(database, |_| ()).unwrap();
            crate::site::until("it is connected", || watch.status().connected);
            let select = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                          WHERE application_name = 'margay watch' ORDER BY backend_start DESC LIMIT 1";
            assert_eq!(
                observer.query_one(select, &[]).unwrap().get::<_, bool>(0),
                encrypted,
                "{url}"
            );
            watch.stop(crate::site::PATIENCE);
        }
        result.map(drop)
    };
    works(&format!("{url}?sslmode=disable"), "margay", false).unwrap();
    works(url, "margay", true).unwrap();
    works(&format!("{url}?sslmode=require"), "margay", true).unwrap();
    works(&format!("{named}?sslmode=verify-full&sslrootcert={root}"), "margay", true).unwrap();
    works(&format!("{url}?sslmode=verify-ca&sslrootcert={root}"), "margay", true).unwrap();

    let refused = |result: Result<(), DatabaseError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, DatabaseError::Connect { .. }), "{error:?}");
        format!("{error:?}")
    };
    // Not its name; not an authority of this system; not the password.
    let text =
        refused(works(&format!("{url}?sslmode=verify-full&sslrootcert={root}"), "margay", true));
    assert!(text.contains("NotValidForName"), "{text}");
    let text = refused(works(&format!("{named}?sslmode=verify-full"), "margay", true));
    assert!(text.contains("InvalidCertificate"), "{text}");
    let text = refused(works(url, "wrong", true));
    assert!(text.contains("28P01"), "{text}");
    let missing =
        Database::new(&format!("{url}?sslmode=verify-ca&sslrootcert=%2Fnone"), None, "tls");
    assert!(matches!(missing, Err(DatabaseError::Certificates { .. })));
}
