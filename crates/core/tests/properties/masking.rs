//! No secret is left in displayed text, whatever the other secrets are and whatever their order.

use evalscope_model::record::masked;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A shorter start of a secret reveals nothing.
const TELLING_CHARS: usize = 4;

/// Characters of secrets occur in no other text here: any that is left is part of a secret.
fn is_of_secrets(c: char) -> bool {
    matches!(c, 'a'..='f' | 'é')
}

/// Secrets in any order; some start like others, and some are token prefixes ending in a dot.
fn secrets() -> impl Strategy<Value = Vec<String>> {
    let own = "[a-fé]{4,16}".prop_map(|secret| vec![secret]);
    let family =
        ("[a-fé]{8,24}", prop::collection::vec(4usize..24, 1..4)).prop_map(|(longest, lengths)| {
            let beginnings = lengths.iter().map(|n| longest.chars().take(*n).collect());
            beginnings.chain([longest.clone()]).collect()
        });
    let token = "[a-f]{4,12}".prop_map(|start| vec![format!("{start}.")]);
    let families = prop_oneof![2 => own, 3 => family, 1 => token];
    prop::collection::vec(families, 1..3)
        .prop_map(|all| all.concat())
        .prop_shuffle()
}

/// Text around secrets that cannot continue a token.
fn around() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![" ", "\"", ": \"", " 中 ", "\n", "…"]).prop_map(str::to_owned),
        "[ :;,/()]{1,6}",
    ]
}

#[derive(Clone, Debug)]
struct Piece {
    before: String,
    secret: Index,
    /// The rest of a token that starts with its secret.
    rest: String,
}

fn piece() -> impl Strategy<Value = Piece> {
    (around(), any::<Index>(), "[a-f]{0,8}").prop_map(|(before, secret, rest)| Piece {
        before,
        secret,
        rest,
    })
}

fn text_of(pieces: &[Piece], secrets: &[String]) -> String {
    let mut text = String::new();
    for Piece {
        before,
        secret,
        rest,
    } in pieces
    {
        let secret = secret.get(secrets);
        text.push_str(before);
        text.push_str(secret);
        if secret.ends_with('.') {
            text.push_str(rest);
        }
    }
    text
}

proptest! {
    #[test]
    fn nothing_of_a_secret_is_left(
        secrets in secrets(),
        pieces in prop::collection::vec(piece(), 1..6),
        after in around(),
    ) {
        let text = text_of(&pieces, &secrets) + &after;
        let shown = masked(&text, &secrets);
        prop_assert!(!shown.contains(is_of_secrets), "{shown:?} of {text:?} and {secrets:?}");
        // and nothing else is removed
        let kept = |text: &str| text.chars().filter(|c| !is_of_secrets(*c) && !"*.".contains(*c)).collect::<String>();
        prop_assert_eq!(kept(&shown), kept(&text));
    }

    #[test]
    fn nothing_that_tells_is_left_of_one_that_was_cut(
        secrets in secrets(),
        pieces in prop::collection::vec(piece(), 0..4),
        before in around(),
        cut in any::<(Index, Index)>(),
        ellipsis in select(vec!["", "…", "… [503]"]),
    ) {
        let secret: Vec<char> = cut.0.get(&secrets).chars().collect();
        let beginning: String = secret[..cut.1.index(secret.len())].iter().collect();
        let text = text_of(&pieces, &secrets) + &before + &beginning + ellipsis;
        let shown = masked(&text, &secrets);
        let longest = shown.split(|c| !is_of_secrets(c)).map(|run| run.chars().count()).max();
        prop_assert!(longest < Some(TELLING_CHARS), "{shown:?} of {text:?} and {secrets:?}");
    }
}
