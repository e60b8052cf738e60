//! The command line that speaks the API, end to end.

use std::process::Stdio;

use super::*;

/// What a command wrote, and its exit code.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `margay` with `args`, separated by white space, and with nothing but `environment`.
pub(crate) fn margay(environment: &[(&str, &str)], args: &str) -> Said {
    let output = crate::program::margay()
        .args(args.split_whitespace())
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().expect("no signal ended it");
    Said { code, out: text(output.stdout), err: text(output.stderr) }
}

/// A .torrent file with this name in it.
fn torrent_file(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(format!("{name}.torrent"));
    let info = format!(
        "d6:lengthi5e4:name{}:{name}12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaa7:privatei1ee",
        name.len()
    );
    fs::write(&path, format!("d8:announce4:none4:info{info}e")).unwrap();
    path
}

#[test]
fn a_site_is_run_from_the_command_line() {
    let Some(mut site) = Site::open("api_commands", "--cores 2") else { return };
    let (data, control) = (site.data.path().to_owned(), site.tracker().control());
    let place = format!("--control {control} --data {}", data.display());
    let run = |args: &str| {
        let said = margay(&[], &format!("{args} {place}"));
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args}: {}", said.out);
        said.out
    };
    let json =
        |args: &str| -> Value { serde_json::from_str(&run(&format!("{args} --json"))).unwrap() };

    let user = json("user add 1 --hidden");
    let key = user["passkey"].as_str().unwrap().to_owned();
    assert_eq!((key.len(), &user["hidden"], &user["can_leech"]), (32, &json!(true), &json!(true)));
    assert!(run(&format!("user add 2 --no-leech --passkey {}", passkey(2))).contains(&passkey(2)));
    // Who is there is not given another passkey, nor let in again, by the way.
    let again = margay(&[], &format!("user add 2 {place}"));
    assert!(again.code == 1 && again.err.contains("--replace"), "{again:?}");
    let unknown = margay(&[], &format!("user show 99 {place}"));
    assert!(
        unknown.err.contains("user 99 is not known; `margay user add` makes one"),
        "{unknown:?}"
    );
    let unknown = margay(&[], &format!("trace 99 {place}"));
    assert!(unknown.err.contains("user 99 is not known; `margay user add`"), "{unknown:?}");
    // Whose row is on its way was credited nothing.
    let said = run("user show 2");
    assert!(said.contains("uploaded    0\ndownloaded  0\n"), "{said}");
    assert!(run("user list").lines().nth(1).unwrap().starts_with("2 "), "{}", run("user list"));
    assert!(run("user list").contains("no downloads"));
    let said = format!("user add 2 --replace --no-leech --passkey {}", passkey(2));
    assert!(run(&said).contains("downloads   may not\n"));
    assert!(run("user rights 2 --leech yes").contains("downloads   may\n"));
    let other = json("user passkey 1")["passkey"].as_str().unwrap().to_owned();
    assert_ne!(other, key);
    run(&format!("user passkey 1 {key}"));

    let file = torrent_file(&data, "disk");
    let torrent = json(&format!("torrent add {} --id 10 --freeleech free", file.display()));
    let info_hash = torrent["info_hash"].as_str().unwrap().to_owned();
    assert_eq!((&torrent["id"], &torrent["freeleech"]), (&json!(10), &json!("free")));
    run(&format!("token add 1 {info_hash} --expires 2d"));
    let nobody = margay(&[], &format!("token add 99 10 --expires 2d {place}"));
    assert!(nobody.code == 1 && nobody.err.contains("user 99 is not known"), "{nobody:?}");
    for torrent in [&info_hash, "10"] {
        let shown = run(&format!("token show 1 {torrent}"));
        assert!(shown.starts_with("user 1 downloads torrent 10 free, until"), "{shown}");
    }
    let absent = margay(&[], &format!("token show 2 10 {place}"));
    assert!(absent.err.contains("user 2 has no token for that torrent"), "{absent:?}");
    assert!(run("group put 7 Member --downloads-max 3").contains("Member"));
    assert!(run("group show 7").contains("Member  3 downloads at once"), "{}", run("group show 7"));
    for unknown in ["group show 8", "user group 1 8"] {
        let unknown = margay(&[], &format!("{unknown} {place}"));
        assert!(unknown.err.contains("group 8 is not known; `margay group put`"), "{unknown:?}");
    }
    let long = margay(&[], &format!("user passkey 1 --grace 90d {place}"));
    assert!(long.code == 2 && long.err.contains("1s to 30d"), "{long:?}");
    assert!(run("torrent list").contains(&info_hash) && run("torrent list").contains("free 100%"));
    assert!(run("torrent show 10").contains(&info_hash));
    let absent = margay(&[], &format!("torrent show 11 {place}"));
    assert!(absent.err.contains("no registered torrent has number 11"), "{absent:?}");
    for list in ["token list", "token list 1"] {
        assert!(run(list).contains("user 1 downloads torrent 10 free, until"), "{list}");
    }
    assert_eq!(run("token list 2"), "there are no tokens\n");

    let bytes: Vec<String> = info_hash
        .as_bytes()
        .chunks(2)
        .map(|pair| format!("%{}", str::from_utf8(pair).unwrap()))
        .collect();
    let target = |more: &str| {
        announce(1, "", 7001, more)
            .replace(&passkey(1), &key)
            .replace(&escape(&hash("")), &bytes.concat())
    };
    answer(site.tracker().http(HOMES[0]), target("uploaded=0&downloaded=0&left=9&event=started"));
    answer(
        site.tracker().http(HOMES[0]),
        target("uploaded=70&downloaded=9&left=0&event=completed"),
    );
    site.check_credit(1, [70, 0]);
    assert!(run("user list").contains("up 70 down 0"), "{}", run("user list"));
    let shown = run("user show 1 --clients");
    assert!(shown.contains("uploaded    70\ndownloaded  0\n"), "{shown}");
    assert!(shown.contains(&info_hash) && shown.contains("seeder"), "{shown}");
    assert!(shown.contains("hidden  up 70"), "{shown}");
    let shown = run(&format!("torrent show {} --peers", file.display()));
    assert!(shown.contains("snatches    1") && shown.contains("user 1 "), "{shown}");

    assert!(run("client deny -MG").contains("refused"));
    assert_eq!(
        refusal(&site, &target("left=0")).as_deref(),
        Some("Your client is not on the whitelist")
    );
    assert!(run("client list").starts_with("-MG "));
    assert_eq!(run("client remove -MG"), "removed\n");
    assert_eq!(run("client list"), "there are no rules: all clients are allowed\n");
    assert_eq!(run("token remove 1 10"), "it was not there\n");
    assert!(run("user disable 1").contains("announces   may not"));
    assert_eq!(refusal(&site, &target("left=0")).as_deref(), Some("Passkey not found"));
    run("user enable 1");
    assert_eq!(refusal(&site, &target("left=0")), None);
    let unknown = margay(&[], &format!("torrent remove 11 {place}"));
    assert!(unknown.err.contains("number 11; `margay torrent add`"), "{unknown:?}");
    assert_eq!(run("torrent remove 10 --reason Dupe"), "removed\n");
    let why = "Unregistered torrent: Dupe";
    assert_eq!(refusal(&site, &target("left=0")).as_deref(), Some(why));
}

#[test]
fn a_user_is_traced_from_the_command_line() {
    let Some(site) = Site::open("api_command_trace", "") else { return };
    let api = Api::of(&site);
    api.put_user(1);
    api.put_torrent(10, "disk");
    let mut child = crate::program::margay()
        .args(["trace", "1", "--control", &site.tracker().control().to_string()])
        .arg("--api-token-file")
        .arg(site.data.path().join("api-local.token"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    site.tracker().await_metric("margay_api_traces", &[], 1.0);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let more = "uploaded=0&downloaded=0&left=9&event=started";
    answer(site.tracker().http(HOMES[0]), announce(1, "disk", 7001, more));
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("started") && line.contains(&hex("disk")), "{line}");
    assert!(line.contains("told 0 peers of 0 seeders and 1 leechers"), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
    site.tracker().await_metric("margay_api_traces", &[], 0.0);
}

#[test]
fn a_command_says_what_is_wrong_and_what_to_do() {
    let folder = tempfile::TempDir::new().unwrap();
    let data = folder.path().display();
    let wrong = |environment: &[(&str, &str)], args: &str, texts: &[&str]| {
        let said = margay(environment, args);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{args}: {said:?}");
        for text in texts {
            assert!(said.err.contains(text), "{args}: {text} in {}", said.err);
        }
    };
    let token = ("MARGAY_API_TOKEN", "margay_00");
    let nobody = "--control 127.0.0.1:1";
    wrong(&[token], &format!("user show 1 {nobody}"), &["no tracker answers", "--control"]);
    wrong(&[], &format!("user show 1 {nobody} --data {data}"), &["api-local.token", "as root"]);
    wrong(&[token], "user show 1 --control none", &["no control listener"]);
    let file = folder.path().join("x.torrent");
    let add = format!("torrent add {} --id 1 {nobody}", file.display());
    wrong(&[token], &add, &["cannot read", "40 hex digits"]);
    fs::write(&file, "<html>").unwrap();
    wrong(&[token], &add, &["is no .torrent file", "not bencoded at byte 0"]);
    assert_eq!(margay(&[], "client allow").code, 2);

    let open = Tracker::start_on(folder.path(), "");
    let place = format!("--control {} --data {data}", open.control());
    wrong(&[], &format!("user show 1 {place}"), &["is not private"]);
    wrong(&[token], &format!("user show 1 {place}"), &["refuses the token"]);
    drop(open);

    let Some(site) = Site::open("api_command_errors", "") else { return };
    let control = format!("--control {}", site.tracker().control());
    let refused = ["refuses the token from MARGAY_API_TOKEN", "api-token create"];
    wrong(&[token], &format!("user show 1 {control}"), &refused);
    let data = site.data.path().display();
    wrong(&[], &format!("user show 1 {control} --data {data}"), &["user 1 is not known"]);
}

#[test]
fn the_description_is_served_without_a_token() {
    let Some(site) = Site::open("api_described", "") else { return };
    let api = Api { control: site.tracker().control(), token: String::new() };
    let document = api.done("GET", "openapi.json", json!(null));
    let written = margay(&[], "api describe");
    assert_eq!(document, serde_json::from_str::<Value>(&written.out).unwrap());
    assert_eq!(document["openapi"], "3.1.0");
}
