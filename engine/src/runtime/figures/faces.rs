//! The faces of the table: /metrics, INFO and the counters of STATUS.

use super::collected::Figures;
use super::row::{Kind, Measure, Row};
use super::table::ROWS;
use synod_net::http::Exposition;
use synod_net::server::{InfoField, InfoValue};

/// The text of /metrics.
pub(crate) fn metrics(figures: &Figures) -> String {
    let mut out = Exposition::new();
    for row in ROWS.iter().filter(|row| !row.metric.is_empty()) {
        begin(&mut out, row, row.metric);
        samples(&mut out, row, figures);
        if !row.redis.is_empty() {
            begin(&mut out, row, row.redis);
            match (row.measure, row.total(figures)) {
                (Measure::Decimal(of), _) => out.sample(&[], of(figures)),
                (_, total) => out.sample(&[], total.unwrap_or_default()),
            }
        }
    }
    out.finish()
}

fn begin(out: &mut Exposition, row: &Row, name: &str) {
    match row.kind {
        Kind::Counter => out.counter(name, row.meaning),
        Kind::Gauge => out.gauge(name, row.meaning),
        Kind::Histogram => out.histogram(name, row.meaning),
    }
}

fn samples(out: &mut Exposition, row: &Row, figures: &Figures) {
    match row.measure {
        Measure::Node(of) => out.sample(&[], of(figures)),
        Measure::Decimal(of) => out.sample(&[], of(figures)),
        Measure::Core(of) => {
            for (core, page) in figures.pages.iter().enumerate() {
                out.sample(&[("core", &core)], of(page));
            }
        }
        Measure::Group(of) => {
            for (core, status, stats) in figures.groups() {
                out.sample(&[("core", &core), ("group", &status.group.get())], of(status, stats));
            }
        }
        Measure::Samples(write) => write(figures, out),
        Measure::Text(_) | Measure::Fields(_) => {}
    }
}

/// The fields of INFO.
pub(crate) fn info(figures: &Figures) -> Vec<InfoField> {
    let mut fields = Vec::new();
    for row in ROWS {
        let Some((section, name)) = row.info else { continue };
        let value = match row.measure {
            Measure::Text(of) => InfoValue::Text(of(figures)),
            Measure::Decimal(of) => InfoValue::Text(format!("{:.3}", of(figures))),
            Measure::Fields(of) => {
                let found = of(figures).into_iter();
                fields.extend(found.map(|(name, value)| InfoField::new(section, name, value)));
                continue;
            }
            _ => {
                let total = row.total(figures).unwrap_or_default();
                if row.kind == Kind::Counter { InfoValue::Count(total) } else { InfoValue::Number(total) }
            }
        };
        fields.push(InfoField::new(section, name, value));
    }
    fields
}

/// The counters of the binary STATUS: the fields of INFO that are one number.
pub(crate) fn counters(figures: &Figures) -> Vec<(String, u64)> {
    let number = |field: InfoField| match field.value {
        InfoValue::Count(number) | InfoValue::Number(number) => Some((field.name.into_owned(), number)),
        InfoValue::Text(_) | InfoValue::Counts(_) => None,
    };
    info(figures).into_iter().filter_map(number).collect()
}
