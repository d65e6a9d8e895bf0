//! Reads a command line exactly as `getopt_long(3)` of glibc reads it, driven by the [table](crate::table).
//!
//! Long names may be abbreviated while they stay unique, short options cluster, values are attached or the next
//! argument, optional values only attached, options and operands mix freely, and `--` ends the options.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::table::{Arg, Given, OPTIONS, Opt, Settings};
use criu_engine::options::ValueError;

/// What is wrong with a command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("unrecognized option '{given}'")]
    Unknown { given: String },
    #[error("option '{given}' is ambiguous; it could be {}", candidates.join(", "))]
    Ambiguous { given: String, candidates: Vec<String> },
    #[error("invalid option -- '{given}'")]
    UnknownShort { given: String },
    #[error("option '{option}' needs a value")]
    NeedsValue { option: String },
    #[error("option '{option}' takes no value")]
    TakesNoValue { option: String },
    #[error("option '{option}': {source}")]
    Value { option: String, source: ValueError },
}

/// One option as it was given.
#[derive(Debug, Clone)]
pub(crate) struct Use {
    pub(crate) option: &'static Opt,
    /// Given as `--no-NAME`.
    pub(crate) off: bool,
    pub(crate) value: Option<OsString>,
}

impl Use {
    /// Does what the option says.
    pub(crate) fn apply(&self, settings: &mut Settings) -> Result<(), ParseError> {
        let given = match &self.value {
            Some(value) => Given::With(value),
            None if self.off => Given::Off,
            None => Given::On,
        };
        (self.option.apply)(settings, given).map_err(|source| ParseError::Value {
            option: format!("--{}", self.option.long),
            source,
        })
    }
}

/// A command line taken apart.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// In the order given.
    pub(crate) uses: Vec<Use>,
    /// All that is no option: the command and what belongs to it.
    pub(crate) operands: Vec<OsString>,
}

/// Takes `args` (without the program's own name) apart. With `posixly_correct`, which is the presence of that
/// variable in the environment, the first operand ends the options.
pub(crate) fn parse(args: &[OsString], posixly_correct: bool) -> Result<Parsed, ParseError> {
    let mut parsed = Parsed::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"--" => {
                parsed.operands.extend(args.by_ref().cloned());
            }
            [b'-', b'-', long @ ..] => parsed.uses.push(parse_long(long, &mut args)?),
            [b'-', cluster @ ..] if !cluster.is_empty() => {
                parse_cluster(cluster, &mut args, &mut parsed.uses)?;
            }
            _ => {
                parsed.operands.push(arg.clone());
                if posixly_correct {
                    parsed.operands.extend(args.by_ref().cloned());
                }
            }
        }
    }
    Ok(parsed)
}

/// Finds the option that a long name, possibly abbreviated or negated, means.
pub(crate) fn resolve(name: &[u8]) -> Result<(&'static Opt, bool), ParseError> {
    let shown = || format!("--{}", String::from_utf8_lossy(name));
    let mut theirs = Vec::new();
    let mut ours = Vec::new();
    for option in OPTIONS {
        for off in [false, true] {
            if off && !option.negatable {
                continue;
            }
            let full = spelling(option, off);
            if full.as_bytes() == name {
                return Ok((option, off));
            }
            if full.as_bytes().starts_with(name) {
                if option.ours { &mut ours } else { &mut theirs }.push((option, off));
            }
        }
    }
    // An abbreviation that CRIU 4.2 understands keeps its meaning: our additions stand back.
    let candidates = if theirs.is_empty() { ours } else { theirs };
    match candidates.as_slice() {
        [] => Err(ParseError::Unknown { given: shown() }),
        [only] => Ok(*only),
        many => Err(ParseError::Ambiguous {
            given: shown(),
            candidates: many
                .iter()
                .map(|(option, off)| format!("--{}", spelling(option, *off)))
                .collect(),
        }),
    }
}

fn spelling(option: &Opt, off: bool) -> String {
    if off {
        format!("no-{}", option.long)
    } else {
        option.long.to_owned()
    }
}

fn parse_long<'a>(long: &[u8], rest: &mut impl Iterator<Item = &'a OsString>) -> Result<Use, ParseError> {
    let (name, attached) = match long.iter().position(|b| *b == b'=') {
        Some(at) => (&long[..at], Some(OsString::from_vec(long[at + 1..].to_vec()))),
        None => (long, None),
    };
    let (option, off) = resolve(name)?;
    let shown = || format!("--{}", spelling(option, off));
    let value = match option.arg {
        Arg::None if attached.is_some() => return Err(ParseError::TakesNoValue { option: shown() }),
        Arg::None => None,
        Arg::Optional(_) => attached,
        Arg::Required(_) => {
            let value = attached.or_else(|| rest.next().cloned());
            Some(value.ok_or_else(|| ParseError::NeedsValue { option: shown() })?)
        }
    };
    Ok(Use { option, off, value })
}

fn parse_cluster<'a>(
    cluster: &[u8],
    rest: &mut impl Iterator<Item = &'a OsString>,
    uses: &mut Vec<Use>,
) -> Result<(), ParseError> {
    for (at, letter) in cluster.iter().enumerate() {
        let Some(option) = OPTIONS.iter().find(|option| option.short == Some(*letter)) else {
            let given = String::from_utf8_lossy(&[*letter]).into_owned();
            return Err(ParseError::UnknownShort { given });
        };
        if option.arg == Arg::None {
            uses.push(Use {
                option,
                off: false,
                value: None,
            });
            continue;
        }
        let tail = &cluster[at + 1..];
        let attached = (!tail.is_empty()).then(|| OsStr::from_bytes(tail).to_owned());
        let value = match option.arg {
            Arg::Required(_) => {
                let value = attached.or_else(|| rest.next().cloned());
                Some(value.ok_or_else(|| ParseError::NeedsValue {
                    option: format!("-{}", char::from(*letter)),
                })?)
            }
            Arg::Optional(_) | Arg::None => attached,
        };
        uses.push(Use {
            option,
            off: false,
            value,
        });
        break;
    }
    Ok(())
}

#[cfg(all(test, target_env = "gnu"))]
mod glibc;
#[cfg(test)]
mod tests;
