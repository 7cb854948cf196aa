//! Runs one stage of the receive path a number of times, for callgrind to count: `ci/instructions`
//! calls it.

mod stages;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    // cargo runs every benchmark without arguments: then there is nothing to count
    let (Some(name), Some(times)) = (args.next(), args.next()) else {
        return;
    };
    assert!(stages::STAGES.contains(&name.as_str()), "no stage {name}");
    let mut work = stages::stage(&name);
    for _ in 0..times
        .parse::<u32>()
        .expect("the second argument is a number")
    {
        work();
    }
}
