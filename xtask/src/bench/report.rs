//! The table of figures.

use std::fmt;

use serde_json::json;

/// One figure beside its target.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) ours: f64,
    pub(crate) peer: Option<f64>,
    pub(crate) unit: &'static str,
    /// NaN where there is none.
    pub(crate) target: f64,
    /// The target is a minimum, else a maximum.
    pub(crate) at_least: bool,
}

impl Row {
    /// `None` where there is no target or no figure.
    fn met(&self) -> Option<bool> {
        let known = !self.target.is_nan() && !self.ours.is_nan();
        known.then_some(if self.at_least {
            self.ours >= self.target
        } else {
            self.ours <= self.target
        })
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Report(Vec<Row>);

impl Report {
    pub(crate) fn add(&mut self, row: Row) {
        self.0.push(row);
    }

    /// An array of the rows.
    pub(crate) fn json(&self) -> serde_json::Value {
        let number = |value: f64| {
            if value.is_finite() {
                json!(value)
            } else {
                json!(null)
            }
        };
        let rows = self.0.iter().map(|row| {
            json!({
                "name": row.name,
                "unit": row.unit,
                "ours": number(row.ours),
                "target": number(row.target),
                "target_is": if row.at_least { "minimum" } else { "maximum" },
                "met": row.met(),
                "peer": row.peer.map(number),
                "ours_over_peer": row.peer.map(|peer| number(row.ours / peer)),
            })
        });
        rows.collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<50}{:>12}{:>14}{:>7}{:>12}{:>8}",
            "figure", "ours", "target", "met", "peer", "ratio"
        )?;
        for row in &self.0 {
            let with_unit = |value: f64| {
                if value.is_nan() {
                    "-".into()
                } else {
                    format!("{value:.2} {}", row.unit)
                }
            };
            let sign = if row.at_least { "≥" } else { "≤" };
            let target = if row.target.is_nan() {
                "-".to_owned()
            } else {
                format!("{sign} {}", with_unit(row.target))
            };
            let met = row.met().map_or("-", |met| if met { "yes" } else { "NO" });
            let peer = row.peer.map_or("-".to_owned(), with_unit);
            let ratio = row
                .peer
                .map_or("-".to_owned(), |peer| format!("{:.2}", row.ours / peer));
            writeln!(
                f,
                "{:<50}{:>12}{target:>14}{met:>7}{peer:>12}{ratio:>8}",
                row.name,
                with_unit(row.ours)
            )?;
        }
        Ok(())
    }
}
