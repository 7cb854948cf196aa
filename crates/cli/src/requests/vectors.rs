//! Owns the advice to ask for vectors in a form with fewer bytes.
//!
//! It must not know how requests are sent.

use evalscope_core::protocol::Api;
use evalscope_report::{Finding, FindingId};

/// Up to here the form of vectors costs neither the server nor the network anything that shows: a gigabit
/// carries ten times as much.
const MUCH_PER_S: f64 = 10e6;

/// The advice for a run in which so many bytes per second arrived. Nothing if the user has chosen a form:
/// `is_set` says whether all bodies have a field.
pub(crate) fn advice(
    api: &dyn Api,
    is_set: impl Fn(&str) -> bool,
    received_per_s: f64,
) -> Option<Finding> {
    let (field, value) = api.short_form()?;
    (received_per_s > MUCH_PER_S && !is_set(field)).then(|| {
        let text = format!(
            "embeddings arrived as decimal numbers at {:.0} MB/s: with `--extra-args \
             '{{\"{field}\": \"{value}\"}}'`, if the server supports it, responses have at most half as many bytes",
            received_per_s / 1e6
        );
        Finding::new(FindingId::VectorsAsDecimals, text)
    })
}

#[cfg(test)]
mod tests {
    use evalscope_core::protocol::embedding::Form;
    use evalscope_core::protocol::{Embedding, OpenAi};

    use super::*;

    #[test]
    fn only_many_embeddings_without_a_chosen_form_are_worth_advice() {
        let api = Embedding::default();
        let given = advice(&api, |field| field == "dimensions", 23.4e6).unwrap();
        insta::assert_snapshot!(
            given.text,
            @r#"embeddings arrived as decimal numbers at 23 MB/s: with `--extra-args '{"encoding_format": "base64"}'`, if the server supports it, responses have at most half as many bytes"#
        );
        assert_eq!(advice(&api, |_| false, 10e6), None);
        assert_eq!(advice(&api, |field| field == "encoding_format", 1e9), None);
        assert_eq!(advice(&Embedding { form: Form::Tei }, |_| false, 1e9), None);
        assert_eq!(advice(&OpenAi, |_| false, 1e9), None);
    }
}
