//! Why a torrent was deleted.

/// A site's number for the reason; negative for none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeletionReason(pub i32);

impl DeletionReason {
    /// No reason was given.
    pub const NONE: DeletionReason = DeletionReason(-1);

    /// The text that clients are told behind `Unregistered torrent: `. `None` for [`DeletionReason::NONE`]: nothing
    /// is behind it then, not even the colon. Empty for a number that has no text.
    pub fn text(self) -> Option<&'static str> {
        if self == Self::NONE {
            return None;
        }
        let text = usize::try_from(self.0).ok().and_then(|number| TEXTS.get(number));
        Some(text.copied().unwrap_or_default())
    }
}

impl DeletionReason {
    /// The same as a text that is kept: empty for [`DeletionReason::NONE`], a blank for a number without
    /// a text, which is told without it.
    pub fn kept(self) -> &'static str {
        match self.text() {
            None => "",
            Some("") => " ",
            Some(text) => text,
        }
    }
}

/// By number. Client tools match these words.
const TEXTS: [&str; 23] = [
    "Dupe",
    "Trump",
    "Bad File Names",
    "Bad Folder Names",
    "Bad Tags",
    "Disallowed Format",
    "Discs Missing",
    "Discography",
    "Edited Log",
    "Inaccurate Bitrate",
    "Low Bitrate",
    "Mutt Rip",
    "Disallowed Source",
    "Encode Errors",
    "Specifically Banned",
    "Tracks Missing",
    "Transcode",
    "Unapproved Cassette",
    "Unsplit Album",
    "User Compilation",
    "Wrong Format",
    "Wrong Media",
    "Audience Recording",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::private::Refusal;

    #[track_caller]
    fn check(number: i32, told: &str) {
        let reason = DeletionReason(number).text();
        assert_eq!(Refusal::Unregistered { reason }.to_string(), told);
        let reason = DeletionReason(number).kept().into();
        assert_eq!(shard::private::Refusal::Deleted { reason }.to_string(), told);
    }

    #[test]
    fn ocelot_2_every_deletion_reason_by_its_number() {
        for (number, text) in [
            (0, "Dupe"),
            (1, "Trump"),
            (2, "Bad File Names"),
            (3, "Bad Folder Names"),
            (4, "Bad Tags"),
            (5, "Disallowed Format"),
            (6, "Discs Missing"),
            (7, "Discography"),
            (8, "Edited Log"),
            (9, "Inaccurate Bitrate"),
            (10, "Low Bitrate"),
            (11, "Mutt Rip"),
            (12, "Disallowed Source"),
            (13, "Encode Errors"),
            (14, "Specifically Banned"),
            (15, "Tracks Missing"),
            (16, "Transcode"),
            (17, "Unapproved Cassette"),
            (18, "Unsplit Album"),
            (19, "User Compilation"),
            (20, "Wrong Format"),
            (21, "Wrong Media"),
            (22, "Audience Recording"),
        ] {
            check(number, &format!("Unregistered torrent: {text}"));
        }
    }

    #[test]
    fn ocelot_2_no_reason_and_numbers_without_a_text() {
        check(-1, "Unregistered torrent");
        for unknown in [23, 1000, i32::MAX, -2, i32::MIN] {
            check(unknown, "Unregistered torrent: ");
        }
    }
}
