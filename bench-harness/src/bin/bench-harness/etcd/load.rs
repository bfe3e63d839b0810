//! The closed loop: one thread, with as many requests under way as connections times requests per connection.

use super::api::Connection;
use super::state::{Counted, EtcdLoad, EtcdRequest, Part};
use crate::figures::{Figures, PhaseFigures};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use synod::node::RunError;
use synod::stop::Stop;
use synod_loadgen::Options;
use synod_loadgen::clock::monotonic_ns;
use synod_loadgen::environment::thread_cpu_ns;
use synod_loadgen::workload::Kind;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

/// Pause between two attempts to reach a cluster that does not serve yet.
const PAUSE: Duration = Duration::from_millis(50);

/// Loads the etcd cluster at the targets of `options`: writes every key once, then writes, then reads, and
/// finally reads every key back.
///
/// # Errors
/// [`RunError`] when the cluster does not serve in time, or after a signal. Faults found in a completed run
/// are in its figures.
pub fn load(options: &Options, stop: &Stop) -> Result<Figures, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::Failed(format!("the etcd client cannot start: {error}")))?;
    LocalSet::new().block_on(&runtime, run(options, stop))
}

async fn run(options: &Options, stop: &Stop) -> Result<Figures, RunError> {
    let mut connections = Vec::new();
    for (_, target) in (0..options.connections).zip(options.target.iter().cycle()) {
        connections.push(connect(target, options, stop).await?);
    }
    let state = Rc::new(RefCell::new(EtcdLoad::new(options, monotonic_ns())));
    let perform = async |part| {
        state.borrow_mut().begin(part);
        perform(&connections, &state, options, stop).await
    };
    let measure = async |kind| {
        let measured_ns = monotonic_ns() + nanos(options.warmup);
        perform(Part::Load { kind, measured_ns, end_ns: measured_ns + nanos(options.duration) }).await?;
        Ok::<_, RunError>(state.borrow_mut().take_counted())
    };
    perform(Part::Preload).await?;
    let before_ns = thread_cpu_ns();
    let (written, read) = (measure(Kind::Write).await?, measure(Kind::Read).await?);
    let after_ns = thread_cpu_ns();
    perform(Part::Audit).await?;

    let requests = written.requests + read.requests;
    let cpu = before_ns.zip(after_ns).filter(|_| requests > 0);
    let state = state.borrow();
    Ok(Figures {
        set: phase_figures(&written, options.duration),
        get: phase_figures(&read, options.duration),
        generator_cpu_us: cpu.map(|(before, after)| (after - before) as f64 / 1e3 / requests as f64),
        acked: state.acked(),
        faults: state.faults(),
    })
}

/// A connection over which the cluster has answered, which shows that it has a leader.
async fn connect(target: &str, options: &Options, stop: &Stop) -> Result<Connection, RunError> {
    let attempt = async || {
        let mut connection = Connection::open(target).await?;
        let answer = timeout(options.timeout, connection.get("ready?".into())).await;
        answer.map_err(|_| "no answer")?.map_err(|status| status.message().to_owned())?;
        Ok::<_, String>(connection)
    };
    let until_ns = monotonic_ns() + nanos(options.patience);
    loop {
        match attempt().await {
            Ok(connection) => return Ok(connection),
            Err(why) if monotonic_ns() > until_ns => {
                return Err(RunError::Failed(format!("etcd at {target} does not serve: {why}")));
            }
            Err(_) if stop.requested() => return Err(interrupted()),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Performs the part that was begun.
async fn perform(
    connections: &[Connection],
    state: &Rc<RefCell<EtcdLoad>>,
    options: &Options,
    stop: &Stop,
) -> Result<(), RunError> {
    let mut lanes = JoinSet::new();
    for _ in 0..options.inflight {
        for connection in connections {
            let (connection, state, stop) = (connection.clone(), Rc::clone(state), stop.clone());
            lanes.spawn_local(lane(connection, state, options.timeout, stop));
        }
    }
    while let Some(ended) = lanes.join_next().await {
        ended.map_err(|error| RunError::Failed(format!("a lane of the etcd client broke off: {error}")))?;
    }
    if stop.requested() { Err(interrupted()) } else { Ok(()) }
}

/// Sends one request after the other until the part is over.
async fn lane(mut connection: Connection, state: Rc<RefCell<EtcdLoad>>, limit: Duration, stop: Stop) {
    while !stop.requested() {
        let begun_ns = monotonic_ns();
        let Some(ask) = state.borrow_mut().next(begun_ns) else { return };
        match ask {
            EtcdRequest::Put { ticket, key, value } => {
                let answer = within(limit, connection.put(key, value)).await;
                state.borrow_mut().on_put(ticket, answer, begun_ns, monotonic_ns());
            }
            EtcdRequest::Get { ticket, key } => {
                let answer = within(limit, connection.get(key)).await;
                state.borrow_mut().on_get(ticket, answer, begun_ns, monotonic_ns());
            }
        }
    }
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, tonic::Status>>,
) -> Result<T, String> {
    match timeout(limit, call).await {
        Ok(answer) => answer.map_err(|status| status.message().to_owned()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn phase_figures(counted: &Counted, duration: Duration) -> PhaseFigures {
    PhaseFigures {
        per_s: counted.latencies.count() as f64 / duration.as_secs_f64(),
        p50_us: counted.latencies.quantile_us(0.5),
        p99_us: counted.latencies.quantile_us(0.99),
    }
}

fn interrupted() -> RunError {
    RunError::Failed("interrupted".to_owned())
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX / 4)
}
