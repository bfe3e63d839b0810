//! `synod format` and `synod serve`: from a configuration to a data directory, and to a running node.
//!
//! The order matters: everything that can be refused is refused before anything is written.

use crate::config::{Config, GeneratedFacts, settings};
use crate::identity::{self, DataDir, DirState, HeardBook, Identity, PeerBook, SecretBook};
use crate::node::{self, NodeSetup, RunError};
use crate::preflight;
use crate::random::random;
use crate::refusal::Refusal;
use crate::stop::Stop;
use crate::voice::{self, NodeEvent};
use std::sync::Arc;
use synod_net::peer::PeerSecret;
use synod_types::{ClusterId, CoreId, Incarnation};

/// Formats the data directory of `config` and returns it open.
pub fn format(config: &Config) -> Result<DataDir, Refusal> {
    if let DirState::Formatted(found) = identity::inspect(&config.data_dir)? {
        return Err(Refusal::AlreadyFormatted { path: config.data_dir.clone(), what: found.describe() });
    }
    // A configuration that `serve` would refuse is refused now, before anything is written.
    let identity = new_identity(config)?;
    preflight::cpus(&identity.pins, &pins_place(config))?;
    make(config, identity)
}

/// Creates the data directory, and then log space in advance. Log space comes last: if the format is cut
/// short there, the directory is complete and the missing segments are made while the node serves.
fn make(config: &Config, identity: Identity) -> Result<DataDir, Refusal> {
    let options = config.options(&identity.facts)?;
    let cores = identity.cores;
    let wants_secret = !config.is_of_one_machine(&config.members(&identity.facts, cores)?);
    let data = DataDir::format(&config.data_dir, identity, &config.peer_secret_file, wants_secret)?;
    // The configuration limits it to 1 GiB.
    let segment_bytes = u32::try_from(options.segment_bytes).unwrap_or(u32::MAX);
    for core in (0..cores).map(CoreId::new) {
        let dir = data.core_dir(core);
        synod_wal::uring::reserve(&dir, segment_bytes, options.reserve_segments)
            .map_err(|error| Refusal::io("reserve log segments in", dir, &error))?;
    }
    Ok(data)
}

/// Everything `serve` does before the node runs. It formats a directory only if the directory does not exist
/// and the configuration names no cluster.
pub fn prepare(config: &Config, stop: Stop) -> Result<NodeSetup, Refusal> {
    let data = match identity::inspect(&config.data_dir)? {
        DirState::Formatted(found) => {
            config.declared.verify(&config.data_dir, &found)?;
            // The lock comes before the ports: "in use by another process" says more than "port in use".
            let data = DataDir::open(&config.data_dir)?;
            config.declared.verify(&config.data_dir, data.identity())?;
            preflight_of(config, data.identity())?;
            data
        }
        DirState::Missing if !config.names_cluster() => {
            let identity = new_identity(config)?;
            preflight_of(config, &identity)?;
            make(config, identity)?
        }
        DirState::Missing | DirState::Empty => {
            return Err(Refusal::Unformatted { path: config.data_dir.clone() });
        }
    };
    let identity = data.identity();
    voice::name_node(identity.node);
    let members = config.members(&identity.facts, identity.cores)?;
    let options = config.options(&identity.facts)?;
    let peer_book = Arc::new(PeerBook::load(data.path(), identity.facts.cluster)?);
    let peer_secrets = match members.len() {
        1 => None,
        _ => {
            let is_of_one = config.is_of_one_machine(&members);
            let without = is_of_one.then(|| PeerSecret::of_one_machine(identity.facts.cluster));
            Some(Arc::new(SecretBook::load(&config.peer_secret_file, without)?))
        }
    };
    let (heard, wrong) = HeardBook::load(data.path(), identity.facts.cluster);
    if let Some(wrong) = wrong {
        voice::say(None, NodeEvent::PositionsLost { why: &wrong });
    }
    let heard = Arc::new(heard);
    // This comes last: a start that is refused before it does not count as a boot.
    let boot = data.begin()?;
    Ok(NodeSetup {
        data,
        boot,
        peer_book,
        heard,
        peer_secrets,
        members,
        listen: config.listen,
        options,
        stop,
    })
}

/// Prepares and runs a node until it is told to stop.
pub fn serve(config: &Config) -> Result<(), RunError> {
    let stop =
        Stop::on_signals().map_err(|error| RunError::Failed(format!("cannot take signals: {error}")))?;
    voice::start(config.voice().clone());
    let setup = prepare(config, stop)?;
    preflight::small_pages();
    crate::runtime::run(setup)
}

/// Checks that the machine can run the node and that its ports are free.
fn preflight_of(config: &Config, identity: &Identity) -> Result<(), Refusal> {
    preflight_machine(config, identity)?;
    let members = config.members(&identity.facts, identity.cores)?;
    preflight::ports(&node::listeners(&members, identity.node, config.listen))
}

/// Checks that the machine can run the node.
pub(crate) fn preflight_machine(config: &Config, identity: &Identity) -> Result<(), Refusal> {
    preflight::machine(&identity.pins, &pins_place(config))
}

/// The place that the pins come from, as the beginning of a sentence.
fn pins_place(config: &Config) -> String {
    config.declared.pins.as_ref().map_or_else(
        || config.data_dir.join(identity::ID_FILE).display().to_string(),
        |pins| pins.place.clone(),
    )
}

/// The identity that `format` would write, checked against the rest of the configuration.
pub(crate) fn new_identity(config: &Config) -> Result<Identity, Refusal> {
    let generated = GeneratedFacts {
        cluster: ClusterId::new(draw()?),
        incarnation: Incarnation::new(draw()?),
        cores: default_cores(),
    };
    let identity = config.declared.identity(generated)?;
    config.members(&identity.facts, identity.cores)?;
    config.options(&identity.facts)?;
    Ok(identity)
}

/// One core per CPU, but not more than the default number of groups: a core without a group idles.
fn default_cores() -> u16 {
    let groups = settings::GROUPS.default_value();
    preflight::allowed_cpus().len().clamp(1, usize::from(groups)) as u16
}

/// 128 random bits, never 0.
fn draw() -> Result<u128, Refusal> {
    let bytes = random().map_err(|error| Refusal::io("draw an id from", "/dev/urandom", &error))?;
    Ok(u128::from_le_bytes(bytes).max(1))
}
