//! The status page: a table that needs no script.

use std::fmt::Write;

use super::status::{Role, Status};

/// The page about `status`.
pub(super) fn html(status: &Status) -> String {
    let mut page = String::from(HEAD);
    let _ = write!(
        page,
        "<h1>margay {}</h1><p>version {}, {}, {} peers, {} uploaded, {} a second</p>",
        status.role.word(),
        text(&status.version),
        text(&status.folder),
        status.peers,
        bytes(status.uploaded),
        bytes(status.upload_rate),
    );
    for trouble in &status.troubles {
        let _ = write!(page, "<p class=trouble>{}</p>", text(trouble));
    }
    if let Some((done, total)) = status.progress {
        let _ = write!(
            page,
            "<p><progress value={done} max={total}></progress> {} of {}</p>",
            bytes(done),
            bytes(total)
        );
    }
    page.push_str("<h2>Feed</h2><table><tr><th>address<th>epoch<th>list<th>torrents<th>");
    for feed in &status.feeds {
        let _ = write!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}",
            text(&feed.address),
            feed.epoch,
            feed.generation,
            feed.items,
            text(feed.trouble.as_deref().unwrap_or_default()),
        );
    }
    page.push_str("</table>");
    if status.role != Role::Seeder {
        page.push_str("<h2>Seeders</h2><table><tr><th>name<th>address<th>holds<th>bytes<th>list");
        for seeder in &status.seeders {
            let _ = write!(
                page,
                "<tr><td>{}<td>{}<td>{}<td>{}<td>{}",
                text(&seeder.name),
                text(&seeder.address),
                seeder.holds,
                bytes(seeder.bytes),
                seeder.generation,
            );
        }
        page.push_str("</table>");
    }
    let _ = write!(page, "<h2>Files ({})</h2>", status.files.len());
    page.push_str("<table><tr><th>name<th>state<th>size<th>done<th>peers<th>seeders<th>leechers<th>uploaded<th>torrent<th>");
    for file in status.files.iter().take(ROWS_MAX) {
        let (seeders, leechers) =
            file.swarm.map_or_else(Default::default, |(seeders, leechers)| {
                (seeders.to_string(), leechers.to_string())
            });
        let why = file.reason.as_deref().or(file.tracker.as_deref()).unwrap_or_default();
        let _ = write!(
            page,
            "<tr><td>{}<td class={state}>{state}<td>{}<td>{}<td>{}<td>{seeders}<td>{leechers}<td>{}<td>{}<td>{}",
            text(&file.name),
            bytes(file.size),
            bytes(file.done),
            file.peers,
            bytes(file.uploaded),
            file.info_hash.as_deref().unwrap_or_default(),
            text(why),
            state = file.state.word(),
        );
    }
    page.push_str("</table>");
    if status.files.len() > ROWS_MAX {
        let _ = write!(
            page,
            "<p>The first {ROWS_MAX}; all are in <a href=/status.json>status.json</a>.</p>"
        );
    }
    page
}

/// Text for HTML.
fn text(raw: &str) -> String {
    let mut safe = String::with_capacity(raw.len());
    for letter in raw.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// A size for people.
pub fn bytes(count: u64) -> String {
    let mut rest = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if rest < 1024.0 {
            return match unit {
                "B" => format!("{count} B"),
                unit => format!("{rest:.1} {unit}"),
            };
        }
        rest /= 1024.0;
    }
    format!("{rest:.1} TiB")
}

/// Files on the page; a browser has to show them.
const ROWS_MAX: usize = 2_000;

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
<meta http-equiv=refresh content=10><title>margay publish</title><style>\
body{font:14px system-ui,sans-serif;margin:2em;color:#222;background:#fff}table{border-collapse:collapse}\
td,th{padding:.2em .7em;text-align:left;border-bottom:1px solid #ddd}.failed,.trouble{color:#a00;font-weight:bold}\
.seeding{color:#070}@media(prefers-color-scheme:dark){body{color:#ddd;background:#111}td,th{border-color:#333}}</style>";

#[cfg(test)]
mod tests {
    use super::super::status::{File, FileState};
    use super::*;

    #[test]
    fn names_are_text_and_nothing_else() {
        let file = File {
            name: "<script>alert('x')</script>&\"".to_owned(),
            state: FileState::Failed,
            reason: Some("<b>".to_owned()),
            ..File::default()
        };
        let page = html(&Status { files: vec![file], ..Status::default() });
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"));
    }

    #[test]
    fn sizes_are_for_people() {
        for (count, said) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (1 << 30, "1.0 GiB"),
            (3 << 40, "3.0 TiB"),
        ] {
            assert_eq!(bytes(count), said);
        }
    }
}
