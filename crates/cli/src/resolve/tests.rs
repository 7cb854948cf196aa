//! Tests of the whole module.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use clap::builder::TypedValueParser as _;
use clap::{Args as _, FromArgMatches as _};
use evalscope_core::engine::RunControl;
use evalscope_core::protocol::{Endpoint, OpenAi};
use evalscope_model::prompt::Prompt;
use evalscope_workload::dataset::Single;

use super::endpoint::url_of;
use super::*;
use crate::catalog::apis::{ApiRow, DefaultUrl, OPENAI};
use crate::catalog::datasets::{DatasetRow, Origin, TEXTS};
use crate::catalog::row::Catalog;
use crate::flags::choices::{ApiChoice, ApiParser, DatasetParser};
use crate::sources::fetch::Fetcher;

fn server(url: &str) -> ServerArgs {
    ServerArgs {
        positional_url: None,
        url: vec![url.to_owned()],
        url_strategy: None,
        model: vec!["m".to_owned()],
        model_weights: None,
        api: ApiChoice::Named(&OPENAI),
        api_key: None,
        headers: Vec::new(),
        connect_timeout: None,
        read_timeout: None,
        total_timeout: 1.0,
        no_test_connection: false,
        wait_for_server: None,
        insecure: false,
        ca_cert: None,
        port: 8877,
        attn_implementation: None,
        trust_remote_code: false,
        server_start_timeout: 1.0,
    }
}

#[test]
fn urls_are_completed_sensibly() {
    for (given, chat, want, shape) in [
        (
            "http://h:8000",
            None,
            "http://h:8000/v1/chat/completions",
            Endpoint::Chat,
        ),
        (
            "h:8000/",
            None,
            "http://h:8000/v1/chat/completions",
            Endpoint::Chat,
        ),
        (
            "http://h/v1",
            None,
            "http://h/v1/chat/completions",
            Endpoint::Chat,
        ),
        (
            "http://h/v1/",
            Some(false),
            "http://h/v1/completions",
            Endpoint::Completions,
        ),
        (
            "https://h/openai/v3",
            None,
            "https://h/openai/v3/chat/completions",
            Endpoint::Chat,
        ),
        (
            "http://h/v1/chat/completions/",
            None,
            "http://h/v1/chat/completions",
            Endpoint::Chat,
        ),
        (
            "http://h/v1/completions?x=1",
            None,
            "http://h/v1/completions?x=1",
            Endpoint::Completions,
        ),
        (
            "http://h/v1/completions",
            Some(true),
            "http://h/v1/completions",
            Endpoint::Chat,
        ),
    ] {
        let (url, got) = url_of(&server(given), None, chat, &mut Vec::new()).unwrap();
        assert_eq!((url.as_str(), got), (want, shape), "{given}");
    }
    for bad in ["ftp://h/", "http://", "http://h/v1/embeddings"] {
        assert!(
            url_of(&server(bad), None, None, &mut Vec::new()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn a_user_in_the_url_becomes_a_header() {
    let args = server("http://me:pass@h/v1");
    let given = [("X-Api-Key", "secret1"), ("x", "1")];
    let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (url, _) = url_of(&args, None, None, &mut Vec::new()).unwrap();
    let headers = headers_of(&given, None, None, None, url);
    assert_eq!(headers.url.as_str(), "http://h/v1/chat/completions");
    assert!(
        headers
            .fields
            .contains(&("Authorization".into(), "Basic bWU6cGFzcw==".into()))
    );
    assert_eq!(headers.secrets, ["secret1", "bWU6cGFzcw==", "pass"]);
    // which stands in every body
    let args = server("http://user@h/v1");
    let (url, _) = url_of(&args, None, None, &mut Vec::new()).unwrap();
    let headers = headers_of(&[], None, None, None, url);
    assert_eq!(headers.secrets, ["dXNlcjo="]);
}

#[test]
fn a_user_and_a_password_are_decoded() {
    use base64::Engine as _;
    for (typed, meant) in [
        ("user:p%40ss", "user:p@ss"),
        ("user:p@ss", "user:p@ss"),
        ("a%40b.org:c%3Ad%2Fe%23f%25g", "a@b.org:c:d/e#f%g"),
        ("user:100%", "user:100%"),
        ("user:%zz%+1", "user:%zz%+1"),
        ("user:p\u{e4}ss", "user:p\u{e4}ss"),
        ("key%2Balone", "key+alone:"),
    ] {
        let args = server(&format!("http://{typed}@h/v1"));
        let (url, _) = url_of(&args, None, None, &mut Vec::new()).unwrap();
        let headers = headers_of(&[], None, None, None, url);
        let encoded = base64::engine::general_purpose::STANDARD.encode(meant);
        let wanted = ("Authorization".to_owned(), format!("Basic {encoded}"));
        assert_eq!(headers.fields, [wanted], "{typed}");
        assert_eq!(headers.url.as_str(), "http://h/v1/chat/completions");
    }
}

fn flags(words: &[&str]) -> PerfArgs {
    let command = PerfArgs::augment_args(clap::Command::new("perf"));
    let words = ["perf"].iter().chain(words);
    let matches = command.try_get_matches_from(words).unwrap();
    PerfArgs::from_arg_matches(&matches).unwrap()
}

/// A row is all that an API needs on this side.
static TOY_APIS: Catalog<ApiRow> = Catalog {
    rows: &[
        OPENAI,
        ApiRow {
            name: "toy",
            aliases: &["toy_api"],
            help: "A toy",
            default_url: DefaultUrl {
                chat: "http://toy.example/v9/talk",
                plain: "http://toy.example/v9/talk",
            },
            base: "/v9",
            endings: &[("/talk", Endpoint::Chat)],
            tasks: &[Endpoint::Chat],
            streams: false,
            make: |_, _| Arc::new(OpenAi),
            ..OPENAI
        },
    ],
    flag: "--api",
    kind: "API",
    later: &[],
    hint: "",
};

#[test]
fn one_row_is_enough_for_an_api() {
    let command = clap::Command::new("perf");
    let arg = clap::Arg::new("api")
        .long("api")
        .value_parser(ApiParser(&TOY_APIS));
    let help = command.clone().arg(arg).render_long_help().to_string();
    assert!(help.contains("- toy:    A toy"), "{help}");

    let read = |text: &str| ApiParser(&TOY_APIS).parse_ref(&command, None, OsStr::new(text));
    let wrong = read("toi").unwrap_err().to_string();
    assert!(
        wrong.contains("unknown API `toi`: known are openai, toy; did you mean `toy`?"),
        "{wrong}"
    );

    for (url, want) in [
        (None, "http://toy.example/v9/talk"),
        (Some("h:1"), "http://h:1/v9/talk"),
        (Some("http://h/other"), "http://h/other/talk"),
        (Some("http://h/x/talk/"), "http://h/x/talk"),
    ] {
        let mut args = server("");
        args.url = url.map(str::to_owned).into_iter().collect();
        args.api = read("toy_api").unwrap();
        let (url, shape) = url_of(&args, None, None, &mut Vec::new()).unwrap();
        assert_eq!((url.as_str(), shape), (want, Endpoint::Chat));
    }

    let api = read("toy").unwrap();
    assert_eq!(api.to_string(), "toy");
    let mut args = flags(&["--model", "m", "--dataset", "sample"]);
    args.server.api = api;
    let job = resolve(args, &Environment::default()).unwrap();
    assert_eq!(job.url().as_str(), "http://toy.example/v9/talk");
    assert!(!job.stream, "the row says that it does not stream");
}

/// A row is all that a dataset needs on this side.
static TOY_DATASETS: Catalog<DatasetRow> = Catalog {
    rows: &[
        TEXTS,
        DatasetRow {
            name: "toy",
            help: "The same prompt again and again",
            origin: Origin::BuiltIn,
            open: |_| Ok(Box::new(Single::new("a toy".to_owned()))),
            ..TEXTS
        },
    ],
    flag: "--dataset",
    kind: "dataset",
    later: &[],
    hint: "",
};

#[test]
fn one_row_is_enough_for_a_dataset() {
    let command = clap::Command::new("perf");
    let arg = clap::Arg::new("dataset")
        .long("dataset")
        .value_parser(DatasetParser(&TOY_DATASETS));
    let help = command.clone().arg(arg).render_long_help().to_string();
    assert!(
        help.contains("toy: The same prompt again and again"),
        "{help}"
    );

    let parser = DatasetParser(&TOY_DATASETS);
    let typed = parser.parse_ref(&command, None, OsStr::new("toy")).unwrap();
    let mut args = flags(&["--model", "m", "--dataset-path", "x"]);
    args.prompts.dataset = typed;
    args.typed.push("dataset-path".to_owned());
    let job = resolve(args, &Environment::default()).unwrap();
    let idle = "`--dataset-path` has no effect: this dataset does not use a file";
    assert!(job.notes.iter().any(|note| note == idle), "{:?}", job.notes);
    assert_eq!(job.prompts.set.name(), "toy");

    let control = RunControl::default();
    let fetcher = Fetcher {
        source: None,
        control: &control,
    };
    let prompts = job.prompts.prepare(None, &fetcher, None, &mut |_| ());
    let mut prompts = prompts.unwrap().open(0, NonZeroUsize::MIN).unwrap();
    let item = prompts.next_item().unwrap();
    assert!(matches!(item.prompt, Prompt::Text(text) if text == "a toy"));
}
