//! The form in which options are declared.

use super::value::Shape;

/// An option as it was declared.
#[derive(Debug)]
pub struct Declared {
    /// Its name as a flag and as a TOML key: `interval-min`.
    pub name: &'static str,
    /// The flag that switches it off, used when it is a switch: `no-steering`.
    pub(super) negation: &'static str,
    /// The heading it stands under.
    pub section: &'static str,
    /// Its doc comment, one space before each line.
    pub(super) doc: &'static str,
    /// Its default as it would be written; several for a repeatable option.
    pub(super) defaults: &'static [&'static str],
    /// A variable of the surroundings that goes before the default.
    pub(super) fallback: Option<&'static str>,
    /// The least and the greatest value, as they would be written.
    pub(super) range: Option<(&'static str, &'static str)>,
    pub(super) marks: &'static [Mark],
    pub(super) shape: Shape,
    /// Says what is wrong with a value.
    pub(super) check: fn(&Declared, &[String]) -> Result<(), String>,
}

/// A mark that sets an option apart from the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    /// It says which file to read, so that it cannot stand in one.
    NotInFile,
    /// Its value is shown to nobody.
    Secret,
}

impl Declared {
    /// The environment variable: `MARGAY_INTERVAL_MIN`.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('-', "_").to_ascii_uppercase())
    }

    /// The paragraphs of its text, each on one line; the first says what the option is.
    pub(super) fn paragraphs(&self) -> Vec<String> {
        let lines: Vec<&str> = self.doc.lines().map(str::trim).collect();
        lines.split(|line| line.is_empty()).map(|lines| lines.join(" ")).collect()
    }

    pub(super) fn is(&self, mark: Mark) -> bool {
        self.marks.contains(&mark)
    }

    /// Its default as texts that can be read.
    pub(super) fn default_texts(&self) -> Vec<String> {
        self.defaults.iter().map(|text| (*text).to_owned()).collect()
    }
}

/// `no-` and `interval_min` → `no-interval-min`, for the compiler.
pub(super) const fn kebab<const N: usize>(prefix: &str, field: &str) -> [u8; N] {
    let (prefix, field) = (prefix.as_bytes(), field.as_bytes());
    let mut name = [0; N];
    let mut at = 0;
    while at < N {
        let byte = if at < prefix.len() { prefix[at] } else { field[at - prefix.len()] };
        name[at] = if byte == b'_' { b'-' } else { byte };
        at += 1;
    }
    name
}

/// Bytes of a name as text, for the compiler.
pub(super) const fn text(name: &[u8]) -> &str {
    match std::str::from_utf8(name) {
        Ok(name) => name,
        Err(_) => panic!("field names are ASCII"),
    }
}

/// Makes the struct `Config` and the list `OPTIONS` out of one table.
///
/// An entry is: text as doc comments, `@Mark`s, `field: type = "default"` (several for a `Vec`), then
/// maybe `in "least" ..= "greatest"` and `or "VARIABLE"` that goes before the default.
macro_rules! options {
    ($(
        [$section:literal]
        $(
            $(#[doc = $doc:literal])+
            $(@$mark:ident)*
            $field:ident : $type:ty = $($default:literal),+
                $(in $low:literal ..= $high:literal)?
                $(or $fallback:literal)?;
        )+
    )+) => {
        /// The operator's options. Every value is within its range, and they fit each other.
        #[derive(Clone, PartialEq, Debug)]
        pub struct Config {
            $($( $(#[doc = $doc])+ pub $field: $type, )+)+
        }

        /// All options, in the order of the reference page.
        pub static OPTIONS: &[Declared] = &[$($(
            Declared {
                name: {
                    const NAME: [u8; stringify!($field).len()] =
                        declare::kebab("", stringify!($field));
                    declare::text(&NAME)
                },
                negation: {
                    const NAME: [u8; "no-".len() + stringify!($field).len()] =
                        declare::kebab("no-", stringify!($field));
                    declare::text(&NAME)
                },
                section: $section,
                doc: concat!($($doc, "\n"),+),
                defaults: &[$($default),+],
                fallback: [$(Some($fallback),)? None][0],
                range: [$(Some(($low, $high)),)? None][0],
                marks: &[$(declare::Mark::$mark),*],
                shape: <$type as value::Value>::SHAPE,
                check: |option, texts| {
                    <$type as value::Value>::read(texts, option.range).map(drop)
                },
            },
        )+)+];

        impl Config {
            /// Builds the struct from the texts of each option, which were checked before.
            fn assemble(mut texts: impl FnMut(&Declared) -> Vec<String>) -> Self {
                let mut options = OPTIONS.iter();
                Self {
                    $($( $field: {
                        let option = options.next().expect("one entry for each field");
                        <$type as value::Value>::read(&texts(option), option.range)
                            .expect("values are checked before they are put together")
                    }, )+)+
                }
            }
        }
    };
}

pub(super) use options;

pub(super) const VARIABLE_PREFIX: &str = "MARGAY_";
