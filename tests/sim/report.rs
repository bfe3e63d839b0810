//! The report of a failed run, even when a machine's own assertion ended it.

use super::params::{Eyes, Options, Params};
use super::trace;
use crate::check::{Checked, Violation};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use synod_shard::Canary;

/// Trace lines in a report.
pub const TAIL_LINES: usize = 80;

/// The canaries by the names the command line uses.
pub const CANARIES: [(&str, Canary); 43] = [
    ("promise-before-durable", Canary::PromiseBeforeDurable),
    ("ballot-reuse", Canary::BallotReuse),
    ("half-quorum", Canary::HalfQuorum),
    ("noop-over-reported", Canary::NoopOverReported),
    ("promise-of-another-ballot", Canary::PromiseOfAnotherBallot),
    ("level-by-quorum", Canary::LevelByQuorum),
    ("equal-bytes", Canary::EqualBytes),
    ("origin-restarts", Canary::OriginRestarts),
    ("watermark-other-ballot", Canary::WatermarkOtherBallot),
    ("watermark-other-ballot-ahead", Canary::WatermarkOtherBallotAhead),
    ("shed-unreported", Canary::ShedUnreported),
    ("lease-after-transfer", Canary::LeaseAfterTransfer),
    ("far-behind-leads", Canary::FarBehindLeads),
    ("unchecked-read-back", Canary::UncheckedReadBack),
    ("quorum-read-by-lease", Canary::QuorumReadByLease),
    ("grant-before-durable", Canary::GrantBeforeDurable),
    ("heartbeat-confirms-last", Canary::HeartbeatConfirmsLast),
    ("point-before-serving", Canary::PointBeforeServing),
    ("forward-twice", Canary::ForwardTwice),
    ("stamps-forgotten", Canary::StampsForgotten),
    ("any-order", Canary::AnyOrder),
    ("resolved-by-another", Canary::ResolvedByAnother),
    ("resent-anew", Canary::ResentAnew),
    ("silent-when-stalled", Canary::SilentWhenStalled),
    ("leads-though-stalled", Canary::LeadsThoughStalled),
    ("waits-for-reads", Canary::WaitsForReads),
    ("gives-up-with-leader", Canary::GivesUpWithLeader),
    ("credit-not-reserved", Canary::CreditNotReserved),
    ("lease-though-slept", Canary::LeaseThoughSlept),
    ("keeps-cut-off", Canary::KeepsCutOff),
    ("leaves-silently", Canary::LeavesSilently),
    ("asks-though-stalled", Canary::AsksThoughStalled),
    ("hands-over-in-vain", Canary::HandsOverInVain),
    ("stops-leading", Canary::StopsLeading),
    ("fetches-on-the-clock", Canary::FetchesOnTheClock),
    ("any-boot-opens", Canary::AnyBootOpens),
    ("releases-early", Canary::ReleasesEarly),
    ("places-told-late", Canary::PlacesToldLate),
    ("replay-skips-group", Canary::ReplaySkipsGroup),
    ("clock-of-the-winner", Canary::ClockOfTheWinner),
    ("positions-forgotten", Canary::PositionsForgotten),
    ("expiry-unwatched", Canary::ExpiryUnwatched),
    ("refused-under-way", Canary::RefusedUnderWay),
];

/// The name of a canary.
pub fn canary_name(canary: Canary) -> &'static str {
    CANARIES.iter().find(|(_, known)| *known == canary).map_or("unnamed", |(name, _)| name)
}

/// The command that repeats a run.
pub fn replay_command(options: &Options) -> String {
    let mut command = format!("cargo run --release -p synod-tests --bin sim -- --seed {}", options.seed);
    if options.seconds != Options::new(0).seconds {
        let _ = write!(command, " --seconds {}", options.seconds);
    }
    if let Some(canary) = options.canary {
        let _ = write!(command, " --canary {}", canary_name(canary));
    }
    if options.eyes == Eyes::Clients {
        command.push_str(" --clients-only");
    }
    command
}

/// The report of a violation in this thread's run.
pub fn failure(params: &Params, violation: &Violation) -> String {
    format!(
        "{params}\n--- the last events\n{}--- violated: {violation}\n--- replay: {}{}\n",
        trace::tail(TAIL_LINES),
        replay_command(&params.options),
        if params.is_gray { " --gray" } else { "" }
    )
}

thread_local! {
    /// The run on this thread, for the panic hook.
    static RUNNING: RefCell<Option<Params>> = const { RefCell::new(None) };
    /// The message of the last panic on this thread.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
    /// The violation found in the middle of a turn, which goes on for a moment.
    static BROKEN: RefCell<Option<Violation>> = const { RefCell::new(None) };
}

/// Notes a violation found in the middle of a turn. It came before any assertion of a machine that fails
/// later in that turn.
pub fn broken(violation: &Violation) {
    BROKEN.with(|broken| *broken.borrow_mut() = Some(violation.clone()));
}

/// The violation found first, where `assertion` may only have followed from it.
fn first(assertion: Violation) -> Violation {
    BROKEN.with(|broken| broken.borrow().clone()).unwrap_or(assertion)
}

/// Runs `body`, and turns a failed assertion of a machine into a violation like any other.
///
/// # Errors
/// The violation that `body` returns, or the failed assertion.
pub fn guard(params: &Params, body: impl FnOnce() -> Checked) -> Checked {
    install_hook();
    RUNNING.with(|running| *running.borrow_mut() = Some(params.clone()));
    BROKEN.with(|broken| *broken.borrow_mut() = None);
    let result = catch_unwind(AssertUnwindSafe(body));
    RUNNING.with(|running| *running.borrow_mut() = None);
    result.unwrap_or_else(|_| {
        let said = SAID.with(|said| said.borrow().clone());
        Err(first(Violation::new(ASSERTION, said)))
    })
}

const ASSERTION: &str = "assertion";

/// Where panics abort the process (the release profile) nothing can be caught. So the hook has the last word
/// there, and prints the whole report of a failed run. Elsewhere it only remembers the message.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let params = RUNNING.with(|running| running.try_borrow().ok().and_then(|params| params.clone()));
            let Some(params) = params else { return before(info) };
            let said = info.to_string();
            if cfg!(panic = "abort") {
                let violation = first(Violation::new(ASSERTION, said));
                print!("{}", failure(&params, &violation));
                let caught = params.options.canary.is_some();
                if caught {
                    println!("caught canary {:?} with seed {}", params.options.canary, params.options.seed);
                }
                std::process::exit(i32::from(!caught));
            }
            SAID.with(|known| *known.borrow_mut() = said);
        }));
    });
}
