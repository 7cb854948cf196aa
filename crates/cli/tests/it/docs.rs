//! Flags are declared once: `docs/cli.md`, the settings of a run and the options of the Python
//! package are held to what `--help` prints.

use std::collections::BTreeSet;
use std::path::Path;

use crate::command_line::LATER_FLAGS;
use crate::context::Context;

/// The commands whose help the document quotes.
const COMMANDS: [&str; 5] = ["perf", "sim", "report", "export", "compare"];

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

/// The names of the options of `evalscope perf`, as Python spells them.
fn flags() -> BTreeSet<String> {
    let help = Context::new().run(&["perf", "--help"]).stdout;
    let names = help.lines().filter_map(|line| {
        // texts stand further in
        let flag = line
            .strip_prefix("      --")
            .or_else(|| line.strip_prefix("  -n, --"))?;
        flag.split(' ').next()
    });
    let names = names.map(|name| name.replace('-', "_"));
    // the opposite of another flag
    names.filter(|name| name != "no_stream").collect()
}

/// Other ways to write another flag: settings have that one.
const OTHER_FORMS: [&str; 2] = ["burstiness", "goodput"];

#[test]
fn settings_have_every_flag() {
    let context = Context::new();
    context.measure(&[
        "--api",
        "local_sim",
        "--dataset",
        "sample",
        "-n",
        "1",
        "--max-tokens",
        "3",
    ]);
    let settings = context.result()["settings"].clone();
    let settings: BTreeSet<String> = settings.as_object().unwrap().keys().cloned().collect();
    let mut flags = flags();
    flags.retain(|flag| !OTHER_FORMS.contains(&flag.as_str()));
    assert_eq!(settings, flags);
}

/// The Python package also has options that the binary refuses as not built yet.
#[test]
fn the_python_package_has_every_flag() {
    let path = "../../python/evalscope/perf/arguments.py";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(path).unwrap();
    let options: BTreeSet<String> = text
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("    ")?.split_once(": ")?;
            let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            (is_name && rest.contains(" | None = ")).then(|| name.to_owned())
        })
        .collect();
    let later = LATER_FLAGS.map(|flag| flag.split('=').next().unwrap());
    let later = later.map(|flag| flag.trim_start_matches('-').replace('-', "_"));
    let later = later.into_iter().filter(|flag| options.contains(flag));
    // the old name of an option, which the help does not show, and one that follows from others
    let old = ["multi_turn_args", "model_id"].map(ToOwned::to_owned);
    let wanted: BTreeSet<String> = flags().into_iter().chain(later).chain(old).collect();
    assert_eq!(options, wanted);
}
