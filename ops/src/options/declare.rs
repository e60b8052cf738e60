//! The form in which options are declared.

use super::value::{Bare, Range, Shape};

/// A struct of options and their list. [`options!`](crate::options!) makes it.
pub trait Table: Sized + 'static {
    /// What the variables begin with.
    const VARIABLES: &'static str;

    /// The options, in the order of their declaration.
    const TABLE: &'static [Declared];

    /// Builds the struct. `next` gives the texts and the range of one option after the other, which were checked before.
    fn assemble(next: &mut dyn FnMut() -> (Vec<String>, Range)) -> Self;
}

/// An option as it was declared.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// Its name as a flag and as a TOML key: `interval-min`.
    pub name: &'static str,
    /// What its variable begins with: `MARGAY_`; empty in a group, which takes that of the table it is in.
    pub variables: &'static str,
    /// The flag that switches it off, used when it is a switch: `no-steering`.
    pub negation: &'static str,
    /// The heading it stands under; empty in a group, which takes that of the section it is in.
    pub section: &'static str,
    /// Its doc comment, one space before each line.
    pub doc: &'static str,
    /// Its default as it would be written; several for a repeatable option.
    pub defaults: &'static [&'static str],
    /// A variable of the surroundings that goes before the default.
    pub fallback: Option<&'static str>,
    /// The least and the greatest value, as they would be written.
    pub range: Option<(&'static str, &'static str)>,
    /// What sets it apart.
    pub marks: &'static [Mark],
    /// How it is written.
    pub shape: Shape,
    /// Says what is wrong with a value.
    pub check: fn(&[String], Range) -> Result<(), String>,
}

/// A mark that sets an option apart from the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// It says which file to read, so that it cannot stand in one.
    NotInFile,
    /// Its value is shown to nobody.
    Secret,
}

impl Declared {
    /// The environment variable: `MARGAY_INTERVAL_MIN`.
    pub fn variable(&self) -> String {
        format!("{}{}", self.variables, self.name.replace('-', "_").to_ascii_uppercase())
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
#[doc(hidden)]
pub const fn kebab<const N: usize>(prefix: &str, field: &str) -> [u8; N] {
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
#[doc(hidden)]
pub const fn text(name: &[u8]) -> &str {
    match std::str::from_utf8(name) {
        Ok(name) => name,
        Err(_) => panic!("field names are ASCII"),
    }
}

/// A section of a table: its heading, and its options in lists that stand behind each other.
#[doc(hidden)]
pub type Section = (&'static str, &'static [&'static [Declared]]);

/// How many options there are in `sections`.
#[doc(hidden)]
pub const fn count(sections: &[Section]) -> usize {
    let (mut total, mut section) = (0, 0);
    while section < sections.len() {
        let mut list = 0;
        while list < sections[section].1.len() {
            total += sections[section].1[list].len();
            list += 1;
        }
        section += 1;
    }
    total
}

/// All options of `sections`, each under its heading and with a variable that begins with `variables`.
#[doc(hidden)]
pub const fn join<const N: usize>(sections: &[Section], variables: &'static str) -> [Declared; N] {
    let mut all = [BLANK; N];
    let (mut at, mut section) = (0, 0);
    while section < sections.len() {
        let (heading, lists) = sections[section];
        let mut list = 0;
        while list < lists.len() {
            let mut option = 0;
            while option < lists[list].len() {
                all[at] = Declared { section: heading, variables, ..lists[list][option] };
                at += 1;
                option += 1;
            }
            list += 1;
        }
        section += 1;
    }
    all
}

/// What stands where an option comes.
const BLANK: Declared = Declared {
    name: "",
    variables: "",
    negation: "",
    section: "",
    doc: "",
    defaults: &[],
    fallback: None,
    range: None,
    marks: &[],
    shape: Shape {
        placeholder: "",
        hint: "",
        bare: Bare::Nothing,
        many: false,
        absent: None,
        words: &[],
    },
    check: |_, _| Ok(()),
};

/// Makes a struct of options and its [`Table`](crate::options::Table) out of one declaration.
///
/// `struct NAME, "PREFIX_";` is followed by sections, each a heading in brackets and its entries. An entry is: text as
/// doc comments, `@Mark`s, `field: type = "default"` (several for a `Vec`), then maybe `in "least" ..= "greatest"` and
/// `or "VARIABLE"` that goes before the default.
///
/// `struct NAME;` is followed by entries alone and makes a group, for tables that share options: `["Heading" ..field:
/// NAME]` has the options of the group in front of those of the section, and its struct as a field.
#[macro_export]
macro_rules! options {
    (
        $(#[$about:meta])*
        $vis:vis struct $name:ident;
        $($entries:tt)+
    ) => {
        $crate::options! { $(#[$about])* $vis struct $name, ""; [""] $($entries)+ }
    };
    (
        $(#[$about:meta])*
        $vis:vis struct $name:ident, $variables:literal;
        $(
            [$section:literal $(.. $group:ident : $Group:ty)?]
            $(
                $(#[doc = $doc:literal])+
                $(@$mark:ident)*
                $field:ident : $type:ty = $($default:literal),+
                    $(in $low:literal ..= $high:literal)?
                    $(or $fallback:literal)?;
            )*
        )+
    ) => {
        $(#[$about])*
        #[derive(Clone, PartialEq, Debug)]
        $vis struct $name {
            $(
                $(
                    #[doc = concat!("Options of the section ", $section, " that other tables have as well.")]
                    pub $group: $Group,
                )?
                $( $(#[doc = $doc])+ pub $field: $type, )*
            )+
        }

        impl $crate::options::Table for $name {
            const VARIABLES: &'static str = $variables;

            const TABLE: &'static [$crate::options::Declared] = {
                const SECTIONS: &[$crate::options::Section] = &[$(
                    ($section, &[
                        $(<$Group as $crate::options::Table>::TABLE,)?
                        &[$(
                            $crate::options::Declared {
                                name: {
                                    const NAME: [u8; stringify!($field).len()] =
                                        $crate::options::kebab("", stringify!($field));
                                    $crate::options::text(&NAME)
                                },
                                variables: $variables,
                                negation: {
                                    const NAME: [u8; "no-".len() + stringify!($field).len()] =
                                        $crate::options::kebab("no-", stringify!($field));
                                    $crate::options::text(&NAME)
                                },
                                section: $section,
                                doc: concat!($($doc, "\n"),+),
                                defaults: &[$($default),+],
                                fallback: [$(Some($fallback),)? None][0],
                                range: [$(Some(($low, $high)),)? None][0],
                                marks: &[$($crate::options::Mark::$mark),*],
                                shape: <$type as $crate::options::Value>::SHAPE,
                                check: |texts, range| {
                                    <$type as $crate::options::Value>::read(texts, range).map(drop)
                                },
                            },
                        )*],
                    ]),
                )+];
                const ALL: [$crate::options::Declared; $crate::options::count(SECTIONS)] =
                    $crate::options::join(SECTIONS, $variables);
                &ALL
            };

            fn assemble(
                next: &mut dyn FnMut() -> (Vec<String>, $crate::options::Range),
            ) -> Self {
                Self {
                    $(
                        $( $group: <$Group as $crate::options::Table>::assemble(next), )?
                        $( $field: {
                            let (texts, range) = next();
                            <$type as $crate::options::Value>::read(&texts, range)
                                .expect("values are checked before they are put together")
                        }, )*
                    )+
                }
            }
        }
    };
}
