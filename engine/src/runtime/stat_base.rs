//! CONFIG RESETSTAT: the counts from which INFO goes on counting. The counters themselves never fall, so
//! /metrics and the binary STATUS do not notice.

use std::sync::{Mutex, PoisonError};
use synod_net::server::{InfoField, InfoValue};

/// The sections that start anew, as in Redis.
const SECTIONS: [&str; 3] = ["stats", "commandstats", "errorstats"];

/// The fields of INFO when they were last reset; none before the first time.
#[derive(Debug, Default)]
pub(crate) struct StatBase(Mutex<Vec<InfoField>>);

impl StatBase {
    /// INFO counts from `fields` on.
    pub fn reset(&self, mut fields: Vec<InfoField>) {
        fields.retain(|field| SECTIONS.contains(&field.section));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fields;
    }

    /// The fields with what was counted since the last reset. A command or an error that was not counted
    /// since is left out.
    pub fn since(&self, mut fields: Vec<InfoField>) -> Vec<InfoField> {
        let base = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for before in base.iter() {
            let same =
                fields.iter_mut().find(|now| (now.section, &now.name) == (before.section, &before.name));
            let Some(now) = same else { continue };
            match (&mut now.value, &before.value) {
                (InfoValue::Count(now), InfoValue::Count(before)) => *now = now.saturating_sub(*before),
                (InfoValue::Counts(now), InfoValue::Counts(before)) => {
                    for ((_, now), (_, before)) in now.iter_mut().zip(before) {
                        *now = now.saturating_sub(*before);
                    }
                }
                _ => {}
            }
        }
        fields.retain(
            |field| !matches!(&field.value, InfoValue::Counts(all) if all.iter().all(|of| of.1 == 0)),
        );
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_start_anew_and_everything_else_stays() {
        let fields = |expired, calls, clients| {
            vec![
                InfoField::new("clients", "connected_clients", InfoValue::Number(clients)),
                InfoField::new("stats", "expired_keys", InfoValue::Count(expired)),
                InfoField::new("stats", "instantaneous_ops_per_sec", InfoValue::Number(9)),
                InfoField::new("commandstats", "cmdstat_get", InfoValue::Counts(vec![("calls", calls)])),
                InfoField::new("synod", "elections_won", InfoValue::Count(3)),
            ]
        };
        let base = StatBase::default();
        assert_eq!(base.since(fields(7, 2, 1)), fields(7, 2, 1));
        base.reset(fields(7, 2, 1));
        assert_eq!(base.since(fields(9, 6, 5)), fields(2, 4, 5));
        let mut without = fields(0, 0, 1);
        without.remove(3);
        assert_eq!(base.since(fields(7, 2, 1)), without);
    }
}
