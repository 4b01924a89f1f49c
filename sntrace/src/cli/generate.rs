//! What packagers install beside the binary: shell completions and the man page, both made from
//! the definitions that the parser itself uses, so that they cannot differ from it.

use clap_mangen::roff::{Roff, bold, roman};

use super::arguments::{self, EXAMPLES, EXIT_STATUS};

/// The completion script of a shell.
pub fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut arguments::definition(), "sntrace", &mut script);
    script
}

/// The man page, as roff. Examples and statuses get sections of their own, where clap knows only
/// "extra" text.
pub fn man_page() -> std::io::Result<Vec<u8>> {
    let command = arguments::definition()
        .after_help(None)
        .after_long_help(None);
    let commands: Vec<(String, String)> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| {
            let about = command
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            (format!("sntrace {}", command.get_name()), about + ".")
        })
        .collect();
    let man = clap_mangen::Man::new(command);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;

    let mut own = Roff::new();
    own.control("SH", ["COMMANDS"]);
    own.text([
        roman("Each explains its own options: "),
        bold("sntrace COMMAND --help"),
        roman("."),
    ]);
    for (name, about) in commands {
        own.control("TP", [])
            .text([bold(name)])
            .text([roman(about)]);
    }
    own.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in EXIT_STATUS {
        own.control("TP", [])
            .text([bold(*status)])
            .text([roman(*meaning)]);
    }
    own.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in [
        (
            "NO_COLOR",
            "When set and not empty, nothing is coloured unless --color always asks for it.",
        ),
        (
            "COLUMNS",
            "How wide a report is that does not go to a terminal; 100 where it is not set.",
        ),
        (
            "TMPDIR",
            "Where the hook is put while the program runs, if programs can be loaded from there.",
        ),
        (
            "LD_PRELOAD, SNTRACE_RUN",
            "Set in the program's environment; what LD_PRELOAD held before is kept.",
        ),
    ] {
        own.control("TP", [])
            .text([bold(name)])
            .text([roman(meaning)]);
    }
    own.control("SH", ["EXAMPLES"]);
    own.control("nf", []);
    for line in EXAMPLES.lines() {
        own.text([roman(line)]);
    }
    own.control("fi", []);
    own.to_writer(&mut page)?;
    Ok(page)
}
