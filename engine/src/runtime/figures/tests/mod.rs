//! Tests of the table: against the documentation, and against pages whose every field is known.

mod document;
mod wires;

use synod_net::server::InfoValue;

/// A value of INFO as it is written there.
fn text(value: &InfoValue) -> String {
    match value {
        InfoValue::Text(text) => text.clone(),
        InfoValue::Number(number) | InfoValue::Count(number) => number.to_string(),
        InfoValue::Counts(all) => {
            all.iter().map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(",")
        }
    }
}
