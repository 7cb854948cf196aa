//! The cost of an event on its way from bytes to record, stage by stage.
//!
//! `cargo bench -p evalscope-core --bench receiving` prints events per second. Compare stages
//! within one run: machines are shared and noisy.

use divan::counter::ItemsCount;

mod stages;

fn main() {
    divan::main();
}

#[divan::bench(args = stages::STAGES)]
fn receiving(bencher: divan::Bencher<'_, '_>, name: &str) {
    let work = stages::stage(name);
    bencher
        .counter(ItemsCount::new(stages::EVENTS))
        .bench_local(work);
}
