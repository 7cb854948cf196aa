//! Tests of what is written where, and found again.

use super::*;
use crate::samples;

/// An invocation of two runs, written as at the end of a command.
fn invocation(folder: &Path) -> PathBuf {
    let top = folder.join("20260131_120000").join("m");
    let mut runs = Vec::new();
    for (parallel, requests) in [(2, 20), (10, 40)] {
        let meta = samples::sweep_meta(parallel, requests);
        let own = top.join(&meta.name);
        fs::create_dir_all(&own).unwrap();
        let database = samples::finished(&own, &meta, samples::mixed(requests));
        let report = RunReport::load(&database).unwrap();
        write_run(&own, &report).unwrap();
        runs.push(report);
    }
    runs.reverse();
    assert!(
        write_invocation(&top, &runs, None, Page::Written, &mut Ended::default())
            .unwrap()
            .is_none()
    );
    top
}

fn contents(top: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in folders(top).unwrap().into_iter().chain([top.to_owned()]) {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                files.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn rebuilt_files_are_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let top = invocation(&folder);
    let before = contents(&top);
    assert_eq!(before.len(), 2 * 6 + 3);
    for from in [
        top.clone(),
        top.join("parallel_2_number_20"),
        top.parent().unwrap().to_owned(),
    ] {
        for (path, _) in &before {
            if !path.ends_with(FILE_NAME) {
                fs::remove_file(path).unwrap();
            }
        }
        let runs = rebuild(&from, Page::Written).unwrap();
        let names: Vec<_> = runs.iter().map(|run| run.meta.name.as_str()).collect();
        assert_eq!(names, ["parallel_2_number_20", "parallel_10_number_40"]);
        assert!(before == contents(&top), "{}", from.display());
    }
}

#[test]
fn runs_of_other_commands_stay_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let top = invocation(folder.path());
    let before = contents(&top);
    let database = top.join("parallel_2_number_20").join(FILE_NAME);
    let run = RunReport::load(&database).unwrap();
    assert!(
        write_invocation(&top, &[run], None, Page::Written, &mut Ended::default())
            .unwrap()
            .is_none()
    );
    assert!(before == contents(&top));
    let names = |top: &Path| -> Vec<String> {
        let runs = runs_in(top).unwrap().into_iter();
        runs.map(|run| run.name).collect()
    };
    assert_eq!(
        names(&top),
        ["parallel_10_number_40", "parallel_2_number_20"]
    );
    assert_eq!(names(&top.join("none")), Vec::<String>::new());
}

#[test]
fn a_database_on_its_own_is_an_invocation() {
    let folder = tempfile::tempdir().unwrap();
    samples::finished(folder.path(), &samples::meta("m"), samples::mixed(3));
    assert_eq!(rebuild(folder.path(), Page::Written).unwrap().len(), 1);
    assert!(folder.path().join(RESULT).is_file());
}

#[test]
fn a_run_has_a_page_of_its_own_where_one_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let top = invocation(folder.path());
    let runs = rebuild(&top, Page::LeftOut).unwrap();
    let own = top.join("parallel_2_number_20").join(PAGE);
    assert!(!own.exists());
    write_run_page(&runs, "parallel_2_number_20", Page::WrittenIn(Lang::Zh)).unwrap();
    let page = fs::read_to_string(own).unwrap();
    assert!(page.contains("parallel_2_number_20") && !page.contains("parallel_10_number_40"));
    assert!(page.contains("<html lang=\"zh\">"));
    let error = write_run_page(&runs, "no", Page::Written).unwrap_err();
    assert!(error.to_string().contains("`parallel_10_number_40`"));
}

#[test]
fn a_run_is_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let top = invocation(&folder.path().canonicalize().unwrap());
    let own = top.join("parallel_2_number_20");
    let database = own.join(FILE_NAME);
    let found = |folder: &Path, name| database_of(folder, name);
    assert_eq!(found(&own, None).unwrap(), database);
    let name = Some("parallel_2_number_20");
    assert_eq!(found(&top, name).unwrap(), database);
    assert!(matches!(
        found(&top, None).unwrap_err(),
        FilesError::SeveralRuns { names } if names.contains("`parallel_10_number_40`")
    ));
    assert!(matches!(
        found(&top, Some("no")).unwrap_err(),
        FilesError::NoSuchRun { .. }
    ));
}

#[test]
fn a_page_that_cannot_be_written_is_told_and_the_rest_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let top = invocation(folder.path());
    for file in [PAGE, RESULT] {
        fs::remove_file(top.join(file)).unwrap();
    }
    fs::create_dir(top.join(PAGE)).unwrap();
    let run = RunReport::load(&top.join("parallel_2_number_20").join(FILE_NAME)).unwrap();
    let missing = write_invocation(
        &top,
        std::slice::from_ref(&run),
        None,
        Page::Written,
        &mut Ended::default(),
    )
    .unwrap();
    assert!(missing.unwrap().to_string().contains(PAGE));
    assert!(top.join(RESULT).is_file());
    assert!(
        write_invocation(&top, &[run], None, Page::LeftOut, &mut Ended::default())
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_folder_without_runs_says_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    let error = rebuild(folder.path(), Page::Written).unwrap_err();
    assert!(matches!(error, FilesError::NoRuns { .. }));
    assert!(error.to_string().contains("parallel_<P>_number_<N>"));
    assert!(matches!(
        rebuild(&folder.path().join("no"), Page::Written).unwrap_err(),
        FilesError::Io { .. }
    ));
}
