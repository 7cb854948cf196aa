use super::*;
use crate::samples;

fn page_of(runs: &[RunReport], lang: Lang) -> String {
    page(Path::new(""), runs, lang).unwrap()
}

#[test]
fn every_kind_of_command_has_a_page() {
    let mut running = samples::report(&samples::meta("m"), samples::mixed(30));
    running.state = crate::RunState::Running;
    let kinds = [
        vec![samples::report(&samples::meta("m"), samples::successes(1))],
        vec![samples::report(&samples::meta("m"), samples::all_failed(7))],
        vec![samples::report(&samples::meta("m"), Vec::new())],
        vec![samples::report(
            &samples::meta("m"),
            samples::whole_answers(5),
        )],
        vec![samples::report(
            &samples::open_loop_meta(),
            samples::mixed(600),
        )],
        vec![samples::limited(samples::successes(20))],
        vec![running],
        samples::sweep(),
    ];
    for runs in &kinds {
        for lang in [Lang::En, Lang::Zh] {
            let page = page_of(runs, lang);
            assert!(page.starts_with("<!DOCTYPE html>"), "{}", &page[..100]);
            assert!(page.contains(&format!("<html lang=\"{}\">", lang.tag())));
            assert!(page.trim_end().ends_with("</html>"));
            assert!(!page.contains(">NaN"));
        }
    }
}
