//! `synod config explain`: the value of every setting that `synod serve` would use with the same arguments, and
//! what follows from the values.
//!
//! It reads the configuration and the data directory and writes nothing. A directory that `serve` would refuse is
//! named among the derived values, so that the settings can be read all the same.

use crate::config::{Config, DEFAULT_SOURCE, Explained, settings};
use crate::identity::{self, DirState, Identity};
use crate::node::{self, RunError};
use crate::output;
use crate::preflight;
use crate::refusal::{Refusal, list};
use crate::runtime::memory_bytes_max;
use crate::serve;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The version of the JSON; see `docs/cli.md`.
const JSON_FORMAT: u32 = 1;

/// Prints the settings in force and what follows from them, as a table or as JSON.
///
/// # Errors
/// When the configuration is refused.
pub fn explain(config: &Config, is_json: bool) -> Result<(), RunError> {
    let explanation = Explanation::of(config)?;
    let text = if is_json { format!("{}\n", explanation.json()) } else { explanation.table() };
    output::write(text.as_bytes())
}

/// Everything that is explained.
struct Explanation {
    settings: Vec<Explained>,
    /// Name and value, in the order in which they are shown.
    derived: Vec<(&'static str, String)>,
}

impl Explanation {
    fn of(config: &Config) -> Result<Self, Refusal> {
        let found = identity::inspect(&config.data_dir);
        let mut settings = config.explained();
        let (identity, state) = match found {
            Ok(DirState::Formatted(found)) => {
                let source = format!("the data directory {}", config.data_dir.display());
                overlay(&mut settings, &found, &source);
                // It follows from the lease.
                let rank_delay = config.rank_delay(&found.facts).as_ms().to_string();
                replace(&mut settings, settings::RANK_DELAY_MS.row.name, rank_delay, &source);
                let fits = config.declared.verify(&config.data_dir, &found);
                let state = match fits {
                    Ok(()) => format!("formatted: {}", found.describe()),
                    Err(refusal) => format!("refused: {refusal}"),
                };
                (*found, state)
            }
            Ok(DirState::Missing | DirState::Empty) => {
                let new = serve::new_identity(config)?;
                overlay_cores(&mut settings, &new, "the CPUs of this machine");
                (new, "not formatted".to_owned())
            }
            Err(refusal) => (serve::new_identity(config)?, format!("refused: {refusal}")),
        };
        let derived = derived(config, &identity, state)?;
        Ok(Self { settings, derived })
    }

    fn table(&self) -> String {
        let mut out: String = self.settings.iter().map(|setting| format!("{setting}\n")).collect();
        out.push('\n');
        for (name, value) in &self.derived {
            // Writing into a String cannot fail.
            let _ = writeln!(out, "{name:<26} = {value}");
        }
        out
    }

    fn json(&self) -> Value {
        let setting = |explained: &Explained| {
            let row = settings::find(explained.name);
            json!({
                "name": explained.name,
                "value": explained.value,
                "source": explained.source,
                "given": explained.is_given,
                "flag": row.and_then(|row| row.flag).map(|flag| format!("--{flag}")),
                "variable": row.map(|row| row.env()),
            })
        };
        let derived: serde_json::Map<String, Value> =
            self.derived.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "format": JSON_FORMAT,
            "settings": self.settings.iter().map(setting).collect::<Vec<_>>(),
            "derived": derived,
        })
    }
}

/// Shows the facts of a formatted directory for the settings that were not given: `serve` takes them from there.
fn overlay(settings: &mut [Explained], found: &Identity, source: &str) {
    let facts = &found.facts;
    let name = if found.cluster_name.is_empty() { "none" } else { &found.cluster_name };
    for (row, value) in [
        (&settings::CLUSTER_NAME.row, name.to_owned()),
        (&settings::CLUSTER_ID.row, facts.cluster.to_string()),
        (&settings::GROUPS.row, facts.group_count.to_string()),
        (&settings::HASH.row, facts.hash.name().to_owned()),
        (&settings::LEASE_MS.row, facts.lease_ms.to_string()),
        (&settings::DRIFT_MS.row, facts.drift_ms.to_string()),
        (&settings::NODE_ID.row, found.node.get().to_string()),
        (&settings::CORES.row, found.cores.to_string()),
        (&settings::PINS.row, found.pins.to_string()),
    ] {
        replace(settings, row.name, value, source);
    }
}

/// Shows the number of cores that `format` would choose.
fn overlay_cores(settings: &mut [Explained], new: &Identity, source: &str) {
    let default = settings::CORES.row.default.text();
    if settings.iter().any(|setting| setting.name == settings::CORES.row.name && setting.value == default) {
        replace(settings, settings::CORES.row.name, new.cores.to_string(), source);
    }
}

fn replace(settings: &mut [Explained], name: &str, value: String, source: &str) {
    for setting in settings.iter_mut().filter(|setting| setting.name == name && !setting.is_given) {
        if setting.value != value || setting.source == DEFAULT_SOURCE {
            setting.source = source.to_owned();
        }
        setting.value = value.clone();
    }
}

/// What follows from the settings, in words.
fn derived(
    config: &Config,
    identity: &Identity,
    state: String,
) -> Result<Vec<(&'static str, String)>, Refusal> {
    let options = config.options(&identity.facts)?;
    let mut all = vec![("file", config.place()), ("data_directory", state)];
    // The members of a directory that is refused may not fit the configuration.
    if let Ok(members) = config.members(&identity.facts, identity.cores) {
        let shown = members.iter().map(|member| {
            format!("{} at {}:{} (peers {})", member.id, member.host, member.client_port, member.peer_port)
        });
        all.push(("members", list(shown)));
        all.push(("quorum", format!("{} of {}", members.len() / 2 + 1, members.len())));
        if members.iter().any(|member| member.id == identity.node) {
            let listeners = node::listeners(&members, identity.node, config.listen);
            let shown = listeners.iter().map(|listener| format!("{} ({})", listener.addr, listener.role));
            all.push(("listeners", list(shown)));
        }
        let secret = match (members.len(), config.is_of_one_machine(&members)) {
            (1, _) => "not needed: the node is a cluster by itself".to_owned(),
            (_, true) => "not needed: all nodes are on this machine and reached only from it".to_owned(),
            (_, false) => format!("read from {}", config.peer_secret_file.display()),
        };
        all.push(("peer_secret", secret));
    }
    let access = &options.access;
    all.push((
        "clients",
        match (access.wants_password(), access.is_protected()) {
            (true, _) => "from everywhere, with the password".to_owned(),
            (false, true) => "of this machine only, without a password (protected mode)".to_owned(),
            (false, false) => "from everywhere, WITHOUT a password".to_owned(),
        },
    ));
    let cores = u64::from(identity.cores);
    all.push(("connections", format!("{} in all", cores * options.connections_max as u64)));
    all.push(("cache", format!("{} MiB in all", cores * (options.cache_bytes as u64 >> 20))));
    let bound = memory_bytes_max(&options, identity.cores, identity.facts.founders.len());
    all.push(("memory", format!("at most {} MiB in all, beside the index of keys", bound >> 20)));
    let reserved = u64::from(options.reserve_segments);
    all.push((
        "reserved_log",
        format!("{reserved} segments of {} MiB per core", options.segment_bytes >> 20),
    ));
    all.push(("cpus", format!("this process may run on {}", list(preflight::allowed_cpus()))));
    Ok(all)
}
