//! What is told of the probes.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stdout};

use super::{Level, Outcome};
use crate::error::{Context, Error, Result};

/// A thing that was probed.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) level: Level,
    /// What it is needed for.
    pub(super) what: String,
    pub(super) outcome: Outcome,
}

/// All of them.
#[derive(Default)]
pub(super) struct Report(Vec<Line>);

impl Report {
    pub(super) fn add(&mut self, line: Line) {
        match &line.outcome {
            Ok(()) => tracing::debug!("check: {} is there", line.name),
            Err(why) => tracing::info!("check: {} is not there: {why}", line.name),
        }
        self.0.push(line);
    }

    /// Prints the whole on standard output: a table where someone looks at it, otherwise what is not
    /// there, and the verdict.
    pub(super) fn print(&self, json: bool) -> Result<()> {
        let text = if json {
            self.json()
        } else {
            self.table(stdout().is_terminal())
        };
        let mut out = stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            done => done.context(|| "printing"),
        }
    }

    /// # Errors
    /// Something that is required is missing.
    pub(super) fn verdict(&self) -> Result<()> {
        let missing: Vec<String> = self
            .missing(Level::Required)
            .map(|(line, why)| format!("{}: {why}", line.name))
            .collect();
        match missing.len() {
            0 => Ok(()),
            _ => Err(Error::refused(
                "this machine",
                format!("lacks {}", missing.join("; ")),
            )),
        }
    }

    fn missing(&self, level: Level) -> impl Iterator<Item = (&Line, &str)> {
        let at_level = self.0.iter().filter(move |line| line.level == level);
        at_level.filter_map(|line| Some((line, line.outcome.as_ref().err()?.as_str())))
    }

    fn table(&self, whole: bool) -> String {
        let mut text = String::new();
        let width = self.0.iter().map(|line| line.name.len()).max().unwrap_or(0);
        for line in &self.0 {
            let (mark, note) = match &line.outcome {
                Ok(()) if !whole => continue,
                Ok(()) => ("ok", line.what.as_str()),
                Err(why) => (
                    if line.level == Level::Required {
                        "MISSING"
                    } else {
                        "absent"
                    },
                    why.as_str(),
                ),
            };
            // Writing into a string cannot fail.
            let _ = writeln!(
                text,
                "{:width$}  {mark:7}  {:12}  {note}",
                line.name,
                line.level.word()
            );
        }
        if self.verdict().is_ok() {
            text.push_str("Looks good.\n");
        }
        text
    }

    fn json(&self) -> String {
        let mut text = format!("{{\"ok\":{},\"checks\":[", self.verdict().is_ok());
        for (at, line) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let (name, level) = (quoted(&line.name), line.level.word());
            let _ = write!(text, "{comma}\n {{\"name\":{name},\"level\":\"{level}\",");
            let _ = match &line.outcome {
                Ok(()) => write!(text, "\"ok\":true}}"),
                Err(why) => write!(text, "\"ok\":false,\"why\":{}}}", quoted(why)),
            };
        }
        text.push_str("\n]}\n");
        text
    }
}

/// A text as JSON has it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '.. => out.push(character),
            _ => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome, level: Level) -> Report {
        let mut report = Report::default();
        let (name, what) = ("thing".to_owned(), "everything".to_owned());
        report.add(Line {
            name,
            level,
            what,
            outcome,
        });
        report
    }

    #[test]
    fn only_what_is_required_spoils_the_verdict() {
        let good = report(Ok(()), Level::Required);
        assert!(good.verdict().is_ok());
        assert_eq!(
            good.table(true),
            "thing  ok       required      everything\nLooks good.\n"
        );
        assert_eq!(good.table(false), "Looks good.\n");
        let absent = report(Err("no".to_owned()), Level::Extra);
        assert_eq!(
            absent.table(false),
            "thing  absent   extra         no\nLooks good.\n"
        );
        let missing = report(Err("no \"x\"\n".to_owned()), Level::Required);
        assert_eq!(missing.table(false), "thing  MISSING  required      no \"x\"\n\n");
        assert_eq!(
            missing.verdict().unwrap_err().to_string(),
            "this machine: lacks thing: no \"x\"\n"
        );
        assert_eq!(
            missing.json(),
            "{\"ok\":false,\"checks\":[\n {\"name\":\"thing\",\"level\":\"required\",\"ok\":false,\"why\":\"no \\\"x\\\"\\u000a\"}\n]}\n"
        );
    }
}
