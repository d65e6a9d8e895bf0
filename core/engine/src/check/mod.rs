//! `criu check`: whether this machine can do what a dump and a restore need.
//!
//! Every probe tries the thing itself instead of comparing versions. Features of kinds are probed by the
//! plugins that need them.

mod arch;
mod memory;
mod process;
mod report;
mod system;
mod target;

use std::io::Write;

use criu_loader::{KindId, Loader};
use criu_plugin_api::hosting::{HostCall, ServicesClient};
use criu_plugin_api::{Host, Presence};

use self::report::{Line, Report};
use self::target::Target;
use crate::error::{Context, Error, Result};
use crate::kinds::Kinds;
use crate::options::Options;

/// What came of a probe: why the thing is not there.
type Outcome = std::result::Result<(), String>;

/// Who needs a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Every dump and restore.
    Required,
    /// Some of them.
    Extra,
    /// Work that is not settled yet.
    Experimental,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Extra => "extra",
            Self::Experimental => "experimental",
        }
    }
}

/// A thing that can be probed.
struct Probe {
    /// The name: that of `--feature`, where CRIU has it too.
    name: &'static str,
    level: Level,
    /// What it is needed for.
    what: &'static str,
    run: fn(&Target) -> Outcome,
}

const PROBES: &[&[Probe]] = &[process::PROBES, memory::PROBES, system::PROBES, arch::PROBES];

fn probes() -> impl Iterator<Item = &'static Probe> {
    PROBES.iter().flat_map(|part| part.iter())
}

/// Checks the machine: by default what every dump and restore needs, with `--extra`, `--experimental` or
/// `--all` also the rest, with `--feature` nothing but the features named.
///
/// # Errors
/// Something that was asked for is not there, or a feature is not known.
pub fn check(opts: &Options) -> Result<()> {
    if !opts.feature.is_empty() {
        return features(opts);
    }
    let target = Target::start()?;
    let wanted = |level: Level| match level {
        Level::Required => true,
        Level::Extra => opts.extra || opts.all,
        Level::Experimental => opts.experimental || opts.all,
    };
    let mut report = Report::default();
    for probe in probes().filter(|probe| wanted(probe.level)) {
        report.add(Line {
            name: probe.name.to_owned(),
            level: probe.level,
            what: probe.what.to_owned(),
            outcome: (probe.run)(&target),
        });
    }
    if wanted(Level::Extra) {
        of_plugins(opts, &mut report)?;
    }
    report.print(opts.json)?;
    report.verdict()
}

/// The features that plugins probe.
fn of_plugins(opts: &Options, report: &mut Report) -> Result<()> {
    let kinds = Kinds::find(opts)?;
    let loader = kinds.loader();
    for (name, id) in loader.table().features() {
        let plugin = &loader.kind(*id).plugin;
        report.add(Line {
            name: name.clone(),
            level: Level::Extra,
            what: format!("plugin {plugin}"),
            outcome: by_plugin(loader, *id, name)?,
        });
    }
    Ok(())
}

fn by_plugin(loader: &Loader, id: KindId, name: &str) -> Result<Outcome> {
    let info = loader.kind(id);
    let probe = loader.feature_probe(id);
    let probe = probe.ok_or_else(|| Error::Task(format!("{}/{} probes nothing", info.plugin, info.name)))?;
    let services = ServicesClient::new(Box::new(NoRun));
    let host = Host::new(&services, &info.plugin);
    match probe.probe(&host, name) {
        Ok(Presence::Present) => Ok(Ok(())),
        Ok(Presence::Absent(why)) => Ok(Err(why)),
        Err(error) => Err(error
            .context(format!("probing {name} with plugin {}", info.plugin))
            .into()),
    }
}

/// Only what was asked for.
fn features(opts: &Options) -> Result<()> {
    let kinds = Kinds::find(opts)?;
    let loader = kinds.loader();
    let asked = opts.feature.iter().flat_map(|value| value.split(','));
    let asked: Vec<&str> = asked.map(str::trim).filter(|name| !name.is_empty()).collect();
    let known = || {
        let mut known: Vec<&str> = probes().map(|probe| probe.name).collect();
        known.extend(loader.table().features().iter().map(|(name, _)| name.as_str()));
        known.sort_unstable();
        known
    };
    if asked.contains(&"list") {
        let text = format!("{}\n", known().join(" "));
        let mut out = std::io::stdout().lock();
        return match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            done => done.context(|| "printing"),
        };
    }
    let of_plugin = |name: &str| loader.table().features().iter().find(|(known, _)| known == name);
    if let Some(unknown) = asked
        .iter()
        .find(|name| of_plugin(name).is_none() && !probes().any(|probe| probe.name == **name))
    {
        return Err(Error::refused_but(
            format!("feature {unknown}"),
            "is not known",
            format!(
                "the known ones are {}; plugins bring theirs along, see --plugin-dir",
                known().join(", ")
            ),
        ));
    }
    let target = Target::start()?;
    let mut report = Report::default();
    for name in asked {
        let outcome = match (probes().find(|probe| probe.name == name), of_plugin(name)) {
            (Some(probe), _) => (probe.run)(&target),
            (None, Some((_, id))) => by_plugin(loader, *id, name)?,
            (None, None) => continue,
        };
        // Whoever asks for it requires it.
        report.add(Line {
            name: name.to_owned(),
            level: Level::Required,
            what: String::new(),
            outcome,
        });
    }
    if opts.json {
        report.print(true)?;
    }
    report.verdict()
}

/// The host of no run at all: there is nothing to ask it for.
struct NoRun;

impl HostCall for NoRun {
    fn call(&self, service: u32, _: &[u8]) -> criu_plugin_api::Result<Vec<u8>> {
        Err(criu_plugin_api::Error::unsupported(format_args!(
            "service {service} during a check"
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_words_and_no_two_are_the_same() {
        let mut names = HashSet::new();
        for probe in probes() {
            assert!(
                probe
                    .name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)),
                "{}",
                probe.name
            );
            assert!(names.insert(probe.name), "{} is there twice", probe.name);
        }
    }

    /// As root on a kernel that this program supports all of it must be there.
    #[test]
    fn what_is_required_is_there() {
        let target = Target::start().unwrap();
        for probe in probes().filter(|probe| probe.level == Level::Required) {
            assert_eq!((probe.run)(&target), Ok(()), "{}", probe.name);
        }
        // The others must at least come to an end, and say why where there is none.
        for probe in probes() {
            if let Err(why) = (probe.run)(&target) {
                assert!(!why.is_empty(), "{}", probe.name);
                eprintln!("{}: {why}", probe.name);
            }
        }
    }

    #[test]
    fn an_unknown_feature_is_refused_with_the_known_ones() {
        let opts = Options {
            feature: vec!["mnt_id,nothing".to_owned()],
            ..Options::default()
        };
        let error = check(&opts).unwrap_err().to_string();
        assert!(error.starts_with("feature nothing: is not known"), "{error}");
        assert!(error.contains("clone3_set_tid"), "{error}");
    }

    #[test]
    fn a_feature_that_is_absent_is_an_error() {
        let asked = |name: &str| {
            check(&Options {
                feature: vec![name.to_owned()],
                ..Options::default()
            })
        };
        assert!(asked("clone3_set_tid,mnt_id").is_ok());
        let error = asked("mnt_id,external_net_ns").unwrap_err().to_string();
        assert!(error.contains("external_net_ns: not implemented"), "{error}");
    }
}
