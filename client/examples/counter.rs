//! Counts to N with increments, each executed once.
//!
//! ```text
//! synod dev                                            (in another terminal)
//! cargo run -p synod-client --example counter -- 1000 synod://127.0.0.1:6379
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;
use synod_client::{Client, Request};

fn main() -> ExitCode {
    match count() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("counter: {error}");
            ExitCode::FAILURE
        }
    }
}

fn count() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: u32 = arguments.next().map_or(Ok(100), |count| count.parse())?;
    let target = arguments.next().unwrap_or_else(|| "synod://127.0.0.1:6379".into());

    let mut client = Client::connect(&target)?;
    let before = client.increment("counter", 0)?;

    // One after the other: each waits for the answer before it.
    let begun = Instant::now();
    let mut sum = before;
    for _ in 0..count {
        sum = client.increment("counter", 1)?;
    }
    println!("counted from {before} to {sum}, one by one, in {:?}", begun.elapsed());
    assert_eq!(sum, before + i64::from(count), "another program counts with the same key");

    // All at once: many are in flight at the same time.
    let begun = Instant::now();
    let sums = client.execute_all((0..count).map(|_| Request::increment("counter", 1)));
    for sum in sums {
        sum?;
    }
    let sum = client.increment("counter", 0)?;
    println!("counted to {sum}, all at once, in {:?}", begun.elapsed());
    assert_eq!(sum, before + 2 * i64::from(count), "each increment is executed once");
    Ok(())
}
