//! A search on a host that does not repeat itself gives no figure.

use super::*;

fn told(servers: &FakeServers) -> Options {
    Options {
        find_max: true,
        slo: vec!["p50=2s".parse().expect("good")],
        step: Duration::from_millis(500),
        rate: Some(200),
        floor: 10,
        connections: 1,
        inflight: 1,
        keys: 20,
        read_share: Some(0.5),
        timeout: Duration::from_secs(20),
        ..options(servers)
    }
}

#[test]
fn a_host_that_becomes_slow_between_equal_steps_is_too_noisy_for_a_figure() {
    let servers = FakeServers::start(1, 1, 31);
    servers.set_faults(Faults { delay_ms: 2, ..Faults::default() });
    let mut repeated = 0;
    let report = run(&told(&servers), &mut |progress| {
        // The objective is wide, so that how quiet this machine is decides nothing. The change comes between
        // the first and the second of the equal steps.
        if progress.note.as_ref().is_some_and(|note| note.starts_with("again")) {
            repeated += 1;
            let delay_ms = if repeated == 1 { 40 } else { 0 };
            servers.set_faults(Faults { delay_ms, ..Faults::default() });
        }
    })
    .expect("the run can be done");
    let [search] = &report.find_max[..] else { panic!("one mix, one search: {:?}", report.find_max) };
    assert_eq!((search.rate_per_s, repeated), (None, 2), "{:?}", search.steps);
    let noise = report.noise().expect("no two equal steps were equal");
    assert!(report.table().contains("host too noisy: "), "{}", report.table());
    assert_eq!(search.noise.as_deref(), Some(noise));
    assert!(report.passed(), "nothing was lost: {:?}", report.findings);
}

#[test]
fn a_target_that_holds_not_even_the_floor_has_no_rate() {
    // At most 34 requests in a second.
    let servers = FakeServers::start(1, 1, 32);
    servers.set_faults(Faults { delay_ms: 30, ..Faults::default() });
    let report = quietly(&Options { floor: 60, ..told(&servers) });
    let [search] = &report.find_max[..] else { panic!("one mix, one search: {:?}", report.find_max) };
    let tried: Vec<_> = search.steps.iter().map(|step| step.rate_per_s).collect();
    assert_eq!((search.rate_per_s, search.floor_per_s), (None, 60), "{:?}", search.steps);
    assert_eq!(tried[tried.len() - 1], 60, "the floor itself is the last that is tried");
    assert!(tried.iter().all(|rate| *rate >= 60));
}
