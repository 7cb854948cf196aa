//! `docs/cli.md` holds what `--help` prints.

use std::path::Path;

use crate::context::Context;

/// The commands whose help the document quotes.
const COMMANDS: [&str; 3] = ["perf", "sim", "report"];

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a person asks the test to write by a variable"
)]
fn the_document_of_flags_is_what_help_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut want = text.clone();
    let context = Context::new().with_env("COLUMNS", "100");
    for command in COMMANDS {
        let help = context.run(&[command, "--help"]).stdout;
        let heading = format!("## `evalscope {command}`\n\n```text\n");
        let start = want.find(&heading).expect("a heading for each command") + heading.len();
        let end = start + want[start..].find("```").expect("the end of the help");
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let help = lines.join("\n") + "\n";
        want.replace_range(start..end, &help);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &want).unwrap();
    } else {
        assert!(
            text == want,
            "run the tests with UPDATE_DOCS=1 to rewrite docs/cli.md"
        );
    }
}
