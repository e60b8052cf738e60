//! What `ops::options` asks of the two programs: their words, and what their options mean for each other.

use ops::options::{Conflict, Options, Program, Setting};

use super::{Master, Seeder, check};

impl Options for Master {
    const PROGRAM: Program = Program {
        command: "margay-publish publish",
        sample_head: "\
# margay-publish publish: a sample configuration of the Master with every option and its default.
#
# Take the mark away in front of what you change, and look at the file with `margay-publish publish config check FILE`.
# A flag `--settle 20s` and a variable `MARGAY_PUBLISH_SETTLE=20s` go before `settle` here.
",
        reference_head: "\
# Options of the Master

Made from the declarations in `publish/src/options.rs` by `margay-publish publish config reference`, and below from
those of a Seeder by `margay-publish seed config reference`.

Every option is a flag, an environment variable and a key of the TOML file that `--config` names. A flag
goes before the variable, the variable before the file, the file before the default. `config print` writes
a sample file, `config check FILE` explains every mistake in a file, and `config show` says what holds and
where it was said: of the Master behind `margay-publish publish`, of a Seeder behind `margay-publish seed`.
",
    };

    fn conflicts(&self) -> Vec<Conflict> {
        check::master(self)
    }

    fn idle(&self, settings: &[Setting]) -> Vec<String> {
        check::idle_master(self, settings)
    }
}

impl Options for Seeder {
    const PROGRAM: Program = Program {
        command: "margay-publish seed",
        sample_head: "\
# margay-publish seed: a sample configuration of a Seeder with every option and its default.
#
# Take the mark away in front of what you change, and look at the file with `margay-publish seed config check FILE`.
# A flag `--poll 20s` and a variable `MARGAY_SEED_POLL=20s` go before `poll` here.
",
        reference_head: "
# Options of a Seeder
",
    };

    fn conflicts(&self) -> Vec<Conflict> {
        check::seeder(self)
    }

    fn idle(&self, settings: &[Setting]) -> Vec<String> {
        check::idle_seeder(self, settings)
    }
}
