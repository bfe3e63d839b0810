//! The environment variables that begin with `SYNOD_`: settings, a few others, and misspelt ones.
//!
//! A misspelt variable is refused: without that, `SYNOD_TARGTE` or `SYNOD_NODE_DATADIR` would silently leave the
//! default in force.

use super::row::{ENV_PREFIX, Row};
use super::settings::ROWS;
use super::spelling::nearest;
use crate::refusal::Refusal;

/// The variables that are no settings, each with its meaning.
pub const OTHERS: &[(&str, &str)] = &[
    ("SYNOD_CONFIG", "the configuration file, where no --config is given"),
    ("SYNOD_TARGET", "the nodes that a client command asks, where no --target is given"),
    ("SYNOD_PASSWORD", "the password that a client command gives to the cluster"),
    ("SYNOD_SIM_SEEDS", "the number of seeds that the simulator's tests run"),
];

/// The variable that holds the value of each setting, among all variables of an environment.
///
/// # Errors
/// When a variable begins with `SYNOD_` and is neither a setting, nor one of the others, nor set by an
/// orchestrator.
pub(super) fn settings(
    env: impl Iterator<Item = (String, String)>,
) -> Result<Vec<(&'static Row, String)>, Refusal> {
    let mut found = Vec::new();
    for (name, value) in env.filter(|(name, _)| name.starts_with(ENV_PREFIX)) {
        if let Some(row) = ROWS.iter().find(|row| row.env() == name) {
            found.push((*row, value));
        } else if !is_known(&name) && !is_of_orchestrator(&name, &value) {
            return Err(unknown(name));
        }
    }
    Ok(found)
}

/// The environment of this process, as far as it concerns Synod.
///
/// # Errors
/// When the value of a setting is not UTF-8.
pub fn of_process() -> Result<Vec<(String, String)>, Refusal> {
    let ours = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(ENV_PREFIX));
    ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(Refusal::ConfigValue { place: name, why: "the value is not UTF-8".to_owned() }),
    })
    .collect()
}

/// Checks the names of this process's variables, for commands that read no settings.
///
/// # Errors
/// As for a node's configuration.
pub fn check_process() -> Result<(), Refusal> {
    settings(of_process()?.into_iter()).map(drop)
}

fn is_known(name: &str) -> bool {
    OTHERS.iter().any(|(other, _)| *other == name)
}

/// Whether an orchestrator sets this variable for each service whose name begins with "synod":
/// `SYNOD_SERVICE_HOST`, `SYNOD_DB_SERVICE_PORT_CLIENTS`, `SYNOD_PORT=tcp://…`, `SYNOD_PORT_6379_TCP_ADDR`.
fn is_of_orchestrator(name: &str, value: &str) -> bool {
    let is_port = || {
        name.split_once("_PORT_")
            .is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || is_port()
        || (name.ends_with("_PORT") && value.contains("://"))
}

fn unknown(name: String) -> Refusal {
    let settings: Vec<String> = ROWS.iter().map(|row| row.env()).collect();
    let all = settings.iter().map(String::as_str).chain(OTHERS.iter().map(|(other, _)| *other));
    let hint = match nearest(&name, all) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "`synod config keys` lists them all; unset it".to_owned(),
    };
    Refusal::EnvUnknown { name, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, value: &str) -> Result<Vec<&'static str>, String> {
        let found = settings([(name.to_owned(), value.to_owned())].into_iter());
        found
            .map(|rows| rows.into_iter().map(|(row, _)| row.name).collect())
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_variable_is_a_setting_or_known_or_foreign_or_refused() {
        assert_eq!(judged("SYNOD_NODE_CLIENT_PORT", "1"), Ok(vec!["node.client_port"]));
        for (other, _) in OTHERS {
            assert_eq!(judged(other, "x"), Ok(vec![]), "{other}");
        }
        for (name, value) in [
            ("PATH", "/bin"),
            ("SYNODIC", "moon"),
            ("SYNOD_SERVICE_HOST", "10.0.0.1"),
            ("SYNOD_SERVICE_PORT_CLIENTS", "6379"),
            ("SYNOD_DB_SERVICE_PORT", "6379"),
            ("SYNOD_PORT", "tcp://10.0.0.1:6379"),
            ("SYNOD_PORT_6379_TCP_ADDR", "10.0.0.1"),
        ] {
            assert_eq!(judged(name, value), Ok(vec![]), "{name}");
        }
        for (name, meant) in [
            ("SYNOD_NODE_COERS", "SYNOD_NODE_CORES"),
            ("SYNOD_DATA_DIR", "SYNOD_NODE_DATA_DIR"),
            ("SYNOD_TARGTE", "SYNOD_TARGET"),
            ("SYNOD_PASSWROD", "SYNOD_PASSWORD"),
            ("SYNOD_CONFG", "SYNOD_CONFIG"),
        ] {
            let said = judged(name, "Rosebud").unwrap_err();
            let wanted = format!("the environment variable {name} names no setting; did you mean {meant}?");
            assert_eq!(said, wanted, "and the value is not repeated");
        }
        assert!(judged("SYNOD_", "x").unwrap_err().contains("names no setting"));
        let far = judged("SYNOD_COMPLETELY_DIFFERENT_THING", "x").unwrap_err();
        assert!(far.contains("`synod config keys` lists them all"), "{far}");
    }
}
