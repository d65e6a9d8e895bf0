//! `criu plugin list|info|check`: tells about plugins from the notes in their files, without running any of their
//! code (but for `check --load`).

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};

use criu_engine::options::Options;
use criu_loader::{FileNotes, LoadError, Loader, PluginInfo, SearchPath, Trust, read_notes};
use criu_plugin_api::note::OptionNote;
use serde_json::{Value, json};

/// Why `criu plugin` failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginError {
    #[error("{0}")]
    Usage(&'static str),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("opening {}: {source}", path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error("{} is not a plugin: it is no shared object, or has no notes of criu", .0.display())]
    NotAPlugin(PathBuf),
    #[error("{} cannot be used: {why}", path.display())]
    Unfit {
        path: PathBuf,
        why: criu_loader::RefusedBecause,
    },
    #[error("{0} of the plugins cannot be used, see above")]
    Refused(usize),
    #[error("there is no plugin in {}", .0.display())]
    Empty(PathBuf),
    #[error(transparent)]
    Start(#[from] criu_plugin_api::Error),
}

const USAGE: &str = "plugin is followed by list [--json], info FILE [--json], or check DIR [--load]";

/// The words `--json` and `--load` belong to this command alone: they are moved to where operands stand.
pub(crate) fn words_last(args: &[OsString]) -> Cow<'_, [OsString]> {
    let Some(command) = args.iter().position(|arg| arg == "plugin") else {
        return args.into();
    };
    let ours = |arg: &&OsString| *arg == "--json" || *arg == "--load";
    let (before, after) = args.split_at(command);
    let words: Vec<_> = after.iter().filter(ours).cloned().collect();
    if words.is_empty() {
        return args.into();
    }
    let mut all: Vec<_> = before
        .iter()
        .chain(after.iter().filter(|arg| !ours(arg)))
        .cloned()
        .collect();
    if !all.iter().any(|arg| arg == "--") {
        all.push("--".into());
    }
    all.extend(words);
    all.into()
}

/// Runs the command; the text is to be printed also when there is an error.
pub(crate) fn run(operands: &[OsString], options: &Options) -> (String, Result<(), PluginError>) {
    let is_word = |word: &str| operands.iter().any(|operand| operand == word);
    let (json, load) = (is_word("--json"), is_word("--load"));
    let names: Vec<&OsStr> = operands
        .iter()
        .map(OsString::as_os_str)
        .filter(|operand| !["--", "--json", "--load"].iter().any(|word| operand == word))
        .collect();
    let mut out = String::new();
    let result = match names.as_slice() {
        [command] if *command == "list" && !load => list(options, json, &mut out),
        [command, file] if *command == "info" && !load => info(Path::new(file), json, &mut out),
        [command, dir] if *command == "check" && !json => check(Path::new(dir), load, &mut out),
        _ => Err(PluginError::Usage(USAGE)),
    };
    (out, result)
}

fn list(options: &Options, json: bool, out: &mut String) -> Result<(), PluginError> {
    let path = SearchPath::standard(options.plugin_dirs.clone(), options.config_plugin_dirs.clone());
    let loader = Loader::find(&path)?;
    if json {
        let plugins: Vec<Value> = loader
            .plugins()
            .map(|plugin| plugin_json(&loader, plugin))
            .collect();
        let refused: Vec<Value> = loader
            .refused()
            .iter()
            .map(|r| json!({ "name": r.name, "file": r.file.to_string_lossy(), "reason": r.why.to_string() }))
            .collect();
        print_json(out, &json!({ "plugins": plugins, "refused": refused }));
        return Ok(());
    }
    print_table(&loader, out);
    Ok(())
}

fn print_table(loader: &Loader, out: &mut String) {
    let mut rows = vec![["PLUGIN", "VERSION", "KIND", "CLAIMS"].map(str::to_owned)];
    for plugin in loader.plugins() {
        for (at, id) in plugin.kinds.iter().enumerate() {
            let kind = loader.kind(*id);
            let claims: Vec<String> = kind.claims.iter().map(ToString::to_string).collect();
            let first = |text: &str| if at == 0 { text.to_owned() } else { String::new() };
            let kind = format!("{} ({})", kind.name, kind.point.id());
            rows.push([
                first(&plugin.name),
                first(&plugin.version),
                kind,
                claims.join(" "),
            ]);
        }
        if plugin.kinds.is_empty() {
            rows.push([
                plugin.name.clone(),
                plugin.version.clone(),
                "-".to_owned(),
                String::new(),
            ]);
        }
        let mut origin = plugin.origin.to_string();
        if let Some(pack) = &plugin.pack {
            let _ = write!(origin, ", of pack {pack}");
        }
        if let Some(other) = &plugin.overrides {
            let _ = write!(origin, ", in place of {other}");
        }
        rows.push([String::new(), String::new(), "from".to_owned(), origin]);
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let (first, second, third) = (width(0), width(1), width(2));
    for [name, version, kind, claims] in &rows {
        let line = format!("{name:first$}  {version:second$}  {kind:third$}  {claims}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for refused in loader.refused() {
        let _ = writeln!(out, "{refused}");
    }
}

fn info(path: &Path, json: bool, out: &mut String) -> Result<(), PluginError> {
    let open = |source| PluginError::Open {
        path: path.to_owned(),
        source,
    };
    let meta = std::fs::metadata(path).map_err(open)?;
    if !meta.is_file() {
        return Err(PluginError::NotAPlugin(path.to_owned()));
    }
    let file = File::open(path).map_err(open)?;
    let FileNotes { plugin, kinds } = match read_notes(&file) {
        Ok(Some(notes)) => notes,
        Ok(None) => return Err(PluginError::NotAPlugin(path.to_owned())),
        Err((_, why)) => {
            return Err(PluginError::Unfit {
                path: path.to_owned(),
                why,
            });
        }
    };
    let kinds = kinds.iter().map(|kind| {
        let claims: Vec<String> = kind.claims.iter().map(ToString::to_string).collect();
        (&kind.name, kind.point.id(), claims)
    });
    if json {
        let kinds: Vec<Value> = kinds
            .map(|(name, point, claims)| json!({ "name": name, "point": point, "claims": claims }))
            .collect();
        let options: Vec<Value> = plugin.options.iter().map(option_json).collect();
        let value = json!({
            "name": plugin.name, "version": plugin.version, "description": plugin.description,
            "api": plugin.api, "abi": plugin.abi, "file": path.to_string_lossy(),
            "kinds": kinds, "options": options,
        });
        print_json(out, &value);
        return Ok(());
    }
    let _ = writeln!(out, "{} {}: {}", plugin.name, plugin.version, plugin.description);
    let _ = writeln!(
        out,
        "built for plugin API {}, interface revision {}",
        plugin.api, plugin.abi
    );
    for (name, point, claims) in kinds {
        let _ = writeln!(out, "kind {name} ({point}): {}", claims.join(" "));
    }
    for OptionNote {
        name,
        kind,
        default,
        help,
    } in &plugin.options
    {
        let default = default
            .as_ref()
            .map(|value| format!(", default {value}"))
            .unwrap_or_default();
        let _ = writeln!(out, "option {}.{name} ({kind}{default}): {help}", plugin.name);
    }
    Ok(())
}

fn check(directory: &Path, load: bool, out: &mut String) -> Result<(), PluginError> {
    let loader = Loader::find(&SearchPath::only(vec![directory.to_owned()], Trust::of_process()))?;
    for refused in loader.refused() {
        let _ = writeln!(out, "{refused}");
    }
    for plugin in loader.plugins() {
        let PluginInfo {
            name, version, kinds, ..
        } = plugin;
        if load {
            loader.load(kinds)?;
        }
        let state = if load { "fits, and starts" } else { "fits" };
        let _ = writeln!(
            out,
            "plugin {name} {version} ({}) {state}: {} kinds",
            plugin.origin,
            kinds.len()
        );
    }
    match loader.refused().len() {
        0 if loader.plugins().next().is_none() => Err(PluginError::Empty(directory.to_owned())),
        0 => Ok(()),
        count => Err(PluginError::Refused(count)),
    }
}

fn plugin_json(loader: &Loader, plugin: &PluginInfo) -> Value {
    let kinds: Vec<Value> = plugin
        .kinds
        .iter()
        .map(|id| {
            let kind = loader.kind(*id);
            let claims: Vec<String> = kind.claims.iter().map(ToString::to_string).collect();
            json!({ "name": kind.name, "point": kind.point.id(), "claims": claims })
        })
        .collect();
    let options: Vec<Value> = plugin.options.iter().map(option_json).collect();
    json!({
        "name": plugin.name, "version": plugin.version, "description": plugin.description, "api": plugin.api,
        "file": plugin.origin.to_string(), "pack": plugin.pack,
        "overrides": plugin.overrides.as_ref().map(ToString::to_string), "kinds": kinds, "options": options,
    })
}

fn option_json(option: &OptionNote) -> Value {
    json!({ "name": option.name, "kind": option.kind, "default": option.default, "help": option.help })
}

fn print_json(out: &mut String, value: &Value) {
    let _ = writeln!(out, "{value:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_words_of_the_command_become_operands() {
        for (given, wanted) in [
            ("-v4 plugin list --json", "-v4 plugin list -- --json"),
            ("plugin check --load DIR", "plugin check DIR -- --load"),
            ("plugin list -- --json", "plugin list -- --json"),
            ("plugin list", "plugin list"),
            ("dump --json", "dump --json"),
        ] {
            assert_eq!(words_last(&args(given)).as_ref(), args(wanted));
        }
    }

    #[test]
    fn what_is_not_understood_shows_the_usage() {
        for given in ["", "list more", "info", "check", "list --load", "moon"] {
            let (out, result) = run(&args(given), &Options::default());
            assert!(matches!(result, Err(PluginError::Usage(_))), "{given}");
            assert!(out.is_empty());
        }
    }

    #[test]
    fn what_is_no_plugin_is_named() {
        let own = std::env::current_exe().unwrap();
        let text = |operands: &[OsString]| run(operands, &Options::default()).1.unwrap_err().to_string();
        assert!(text(&["info".into(), own.clone().into()]).contains("is not a plugin"));
        assert!(text(&["info".into(), "/nonexistent".into()]).contains("/nonexistent"));
        assert!(text(&["check".into(), "/nonexistent".into()]).contains("/nonexistent"));
        let empty = tempfile::TempDir::new().unwrap();
        assert!(text(&["check".into(), empty.path().into()]).contains("no plugin in"));
    }
}
