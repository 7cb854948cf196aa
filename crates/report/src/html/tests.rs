use super::*;
use crate::RunState;
use crate::model::RunMeta;
use crate::samples;
use crate::together::Together;
use evalscope_model::record::{Exchange, FailureKind};

/// Runs whose databases are there as long as the folder is.
struct Command {
    folder: tempfile::TempDir,
    runs: Vec<RunReport>,
}

impl Command {
    fn of(runs: Vec<(RunMeta, Vec<Exchange>)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runs = runs
            .into_iter()
            .enumerate()
            .map(|(nth, (meta, exchanges))| {
                let name = format!("run_{nth}");
                let own = folder.path().join(&name);
                std::fs::create_dir(&own).unwrap();
                let mut run = RunReport::load(&samples::finished(&own, &meta, exchanges)).unwrap();
                run.database = Path::new(&name).join(run.database.file_name().unwrap());
                run
            });
        let runs = runs.collect();
        Self { folder, runs }
    }

    fn one(exchanges: Vec<Exchange>) -> Self {
        Self::of(vec![(samples::meta("m"), exchanges)])
    }

    fn sweep(loads: &[usize]) -> Self {
        let runs = loads.iter().map(|load| {
            let meta = samples::sweep_meta(*load, 60);
            (meta, samples::mixed(60))
        });
        Self::of(runs.collect())
    }

    fn page(&self, lang: Lang) -> String {
        page(
            self.folder.path(),
            &self.runs,
            &Together::default(),
            lang,
            &mut Ended::default(),
        )
        .unwrap()
    }
}

#[test]
fn every_kind_of_command_has_a_page() {
    let mut running = Command::one(samples::mixed(30));
    running.runs[0].state = RunState::Running;
    let mut limited = Command::one(samples::successes(20));
    let reasons = samples::limited(samples::successes(20)).client;
    limited.runs[0].client = reasons;
    let open_loop = vec![(samples::open_loop_meta(), samples::mixed(600))];
    let kinds = [
        Command::one(samples::successes(1)),
        Command::one(samples::all_failed(7)),
        Command::one(Vec::new()),
        Command::one(samples::whole_answers(5)),
        Command::of(open_loop),
        limited,
        running,
        Command::sweep(&[1, 10, 50]),
    ];
    for command in &kinds {
        for lang in [Lang::En, Lang::Zh] {
            let page = command.page(lang);
            assert!(page.starts_with("<!DOCTYPE html>"), "{}", &page[..100]);
            assert!(page.contains(&format!("<html lang=\"{}\">", lang.tag())));
            assert!(page.trim_end().ends_with("</html>"));
            assert!(!page.contains(">NaN") && !page.contains("\"NaN"));
        }
    }
}

#[test]
fn text_from_outside_is_text() {
    let evil = "</script><img src=x onerror=alert(1)>{{7*7}}\u{202e}";
    let mut meta = samples::meta(evil);
    meta.settings = serde_json::json!({"alias": evil, "prompt": evil});
    meta.command_line = Some(format!("evalscope perf {}", "x".repeat(10_000_000)));
    meta.metadata = [(evil.to_owned(), evil.to_owned())].into();
    let said = format!("{evil}{}", "y".repeat(10_000_000));
    let failed = samples::failure(0, FailureKind::Status(500), evil, &said);
    let command = Command::of(vec![(meta, vec![failed])]);
    let page = command.page(Lang::En);
    assert!(!page.contains("<img") && !page.contains("alert(1)&gt;49"));
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;{{7*7}}‹U+202E›"));
    assert!(!page.contains('\u{202e}'));
    assert!(page.contains("[cut: 10000015 bytes in all]"));
    assert!(page.len() < 150_000, "{}", page.len());
    // those of the data, of the texts, of the charts, and of the page
    assert_eq!(page.matches("</script>").count(), 4);
}

#[test]
fn the_policy_allows_the_script_of_the_page_alone() {
    use base64::Engine as _;
    use sha2::Digest as _;
    let page = Command::one(samples::successes(3)).page(Lang::En);
    let script = page.split("<script>").nth(1).unwrap();
    let script = script.split("</script>").next().unwrap();
    let hash = sha2::Sha256::digest(script.as_bytes());
    let hash = base64::prelude::BASE64_STANDARD.encode(hash);
    let policy = format!(
        "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; \
         img-src data:; base-uri 'none'; form-action 'none'\""
    );
    assert!(page.contains(&policy));
    for loads in ["src=", "@import", "url(http", "<link", "innerHTML"] {
        assert!(!page.contains(loads), "{loads}");
    }
}

#[test]
fn a_page_stays_small() {
    let empty = Command::one(Vec::new()).page(Lang::En).len();
    assert!(empty <= 92_000, "{empty}");
    let loads: Vec<usize> = (1..=50).collect();
    let one = Command::one(samples::mixed(3000)).page(Lang::En).len();
    let five = Command::sweep(&loads[..5]).page(Lang::En).len();
    let fifty = Command::sweep(&loads).page(Lang::En).len();
    assert!(one - empty <= 250_000, "{one}");
    assert!(five <= 600_000, "{five}");
    assert!(fifty <= 2_000_000, "{fifty}");
}

#[test]
fn many_runs_have_details_of_those_that_matter() {
    let loads: Vec<usize> = (1..=50).collect();
    let mut command = Command::sweep(&loads);
    for (nth, run) in command.runs.iter_mut().enumerate() {
        if nth != 33 {
            run.warnings.clear();
        }
    }
    let details = page::details(&command.runs);
    assert_eq!(details.len(), page::DETAILED_RUNS);
    for nth in [0, 33, 49] {
        assert!(details.contains(&nth), "{details:?}");
    }
    let page = command.page(Lang::En);
    assert_eq!(
        page.matches("<section class=\"run\"").count(),
        details.len()
    );
    assert!(page.contains(">38 more runs only have a row"));
    assert_eq!(page.matches("<a href=\"#run-").count(), details.len());
}
