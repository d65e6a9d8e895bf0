//! Configuration files: CRIU's own form (`default.conf`, one option a line) and ours (`config.toml`).
//!
//! Files are read in this order, later ones override: `/etc/criu/config.toml`, `/etc/criu/default.conf`,
//! `$HOME/.config/criu/config.toml`, `$HOME/.criu/default.conf`, the file named by `CRIU_CONFIG_FILE`, the file of
//! `--config`. The command line overrides them all. `--no-default-config` leaves out the first four. A file whose
//! name ends in `.toml` is read as TOML wherever it is named.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use criu_engine::options::PluginOption;
use toml::de::{DeTable, DeValue};

use crate::parser::{self, ParseError, Use};
use crate::table::{self, Arg, Given, Settings};

/// No configuration file is longer than this; what is longer is not one.
const MAX_BYTES: u64 = 1 << 20;

/// Options that only make sense on the command line.
const NOT_IN_FILES: [&str; 5] = ["help", "version", "config", "no-default-config", "exec-cmd"];

/// Why a configuration file was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("reading the configuration file {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration file {} is longer than {MAX_BYTES} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("{}:{line}: {message}", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        message: String,
    },
}

/// Where the files lie: all that is taken from the environment.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// `/etc/criu`, or its stand-in in a test.
    pub(crate) system: PathBuf,
    pub(crate) home: Option<PathBuf>,
    /// `CRIU_CONFIG_FILE`.
    pub(crate) named: Option<PathBuf>,
}

impl Places {
    pub(crate) fn from_environment() -> Places {
        let var = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Places {
            system: PathBuf::from("/etc/criu"),
            home: var("HOME"),
            named: var("CRIU_CONFIG_FILE"),
        }
    }

    /// The files read without being named, in order; they need not exist.
    fn defaults(&self) -> Vec<PathBuf> {
        let mut files = vec![self.system.join("config.toml"), self.system.join("default.conf")];
        if let Some(home) = &self.home {
            files.extend([
                home.join(".config/criu/config.toml"),
                home.join(".criu/default.conf"),
            ]);
        }
        files
    }
}

/// Applies every configuration file that counts. `settings` says which by its own `config` and `no_default_config`.
pub(crate) fn load(places: &Places, settings: &mut Settings) -> Result<(), ConfigError> {
    if !settings.no_default_config {
        for path in places.defaults() {
            match read(&path) {
                Ok(text) => apply(&path, &text, settings)?,
                Err(ConfigError::Read { source, .. })
                    if matches!(
                        source.kind(),
                        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
    for path in places.named.iter().cloned().chain(settings.config.clone()) {
        apply(&path, &read(&path)?, settings)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(ConfigError::TooLong {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

/// Applies the text of one file.
pub(crate) fn apply(path: &Path, text: &str, settings: &mut Settings) -> Result<(), ConfigError> {
    if path.extension().is_some_and(|extension| extension == "toml") {
        return apply_toml(path, text, settings);
    }
    for (index, line) in text.lines().enumerate() {
        apply_line(line, settings).map_err(|message| ConfigError::Line {
            path: path.to_owned(),
            line: index + 1,
            message,
        })?;
    }
    Ok(())
}

/// One line of CRIU's form: `option`, `option value` or `option "value with \"quotes\""`, then perhaps `# comment`.
fn apply_line(line: &str, settings: &mut Settings) -> Result<(), String> {
    let (words, quoted) = split_line(line)?;
    let (name, value) = match words.as_slice() {
        [] => return Ok(()),
        [name] => match name.split_once('=') {
            Some((name, value)) if !quoted => (name.to_owned(), Some(value.to_owned())),
            _ => (name.clone(), None),
        },
        [name, value] => (name.clone(), Some(value.clone())),
        [_, _, extra, ..] => {
            return Err(format!(
                "{extra:?} follows the value; quote a value that has spaces"
            ));
        }
    };
    if name.starts_with('-') {
        return Err(format!("{name:?}: options are written without the dashes here"));
    }
    let (option, off) = parser::resolve(name.as_bytes()).map_err(|error| in_file(&error))?;
    refuse_on_command_line_only(option.long)?;
    match (option.arg, &value) {
        (Arg::None, Some(value)) => return Err(format!("option '{name}' takes no value, but has {value:?}")),
        (Arg::Required(what), None) => return Err(format!("option '{name}' needs a value: {what}")),
        _ => {}
    }
    let given = Use {
        option,
        off,
        value: value.map(OsString::from),
    };
    given.apply(settings).map_err(|error| in_file(&error))
}

/// An error of the parser as a file's author should read it: without the dashes that are not written there.
fn in_file(error: &ParseError) -> String {
    error.to_string().replace("--", "")
}

fn refuse_on_command_line_only(long: &str) -> Result<(), String> {
    if NOT_IN_FILES.contains(&long) {
        return Err(format!("option '{long}' belongs on the command line"));
    }
    Ok(())
}

/// The words of a line and whether the last was quoted. A quote begins a quoted word; inside, `\"` is a quote and
/// every other backslash stands for itself.
fn split_line(line: &str) -> Result<(Vec<String>, bool), String> {
    let mut words = Vec::new();
    let mut quoted = false;
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        if let Some(inside) = rest.strip_prefix('"') {
            let (word, after) = quoted_word(inside)?;
            words.push(word);
            quoted = true;
            rest = after;
        } else {
            let end = rest
                .find(|c: char| c.is_whitespace() || c == '#')
                .unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            quoted = false;
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok((words, quoted))
}

fn quoted_word(inside: &str) -> Result<(String, &str), String> {
    let mut word = String::new();
    let mut chars = inside.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((word, &inside[at + 1..])),
            '\\' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                word.push('"');
                chars.next();
            }
            _ => word.push(c),
        }
    }
    Err("a quoted value does not end".to_owned())
}

/// Our own form: keys are long names, `[plugin.NAME]` tables hold the options of plugins.
fn apply_toml(path: &Path, text: &str, settings: &mut Settings) -> Result<(), ConfigError> {
    let fail = |at: usize, message: String| ConfigError::Line {
        path: path.to_owned(),
        line: text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1,
        message,
    };
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        fail(at, error.message().to_owned())
    })?;
    for (key, value) in document.get_ref() {
        let name = key.get_ref().as_ref();
        let at = key.span().start;
        if name == "plugin" {
            let plugins = value
                .get_ref()
                .as_table()
                .ok_or_else(|| fail(at, "plugin is not a table".to_owned()))?;
            for (plugin, entries) in plugins {
                let at = plugin.span().start;
                apply_plugin_table(plugin.get_ref(), entries.get_ref(), settings).map_err(|m| fail(at, m))?;
            }
            continue;
        }
        apply_key(name, value.get_ref(), settings).map_err(|message| fail(at, message))?;
    }
    Ok(())
}

fn apply_key(name: &str, value: &DeValue<'_>, settings: &mut Settings) -> Result<(), String> {
    let option = table::find(name).ok_or_else(|| format!("unknown key '{name}'"))?;
    refuse_on_command_line_only(name)?;
    let wrong = |error| format!("key '{name}': {error}");
    if let DeValue::Array(items) = value {
        for item in items {
            let text = scalar(item.get_ref())
                .ok_or_else(|| format!("key '{name}': a list holds text or numbers"))?;
            if option.arg == Arg::None {
                return Err(format!("key '{name}' takes true or false"));
            }
            (option.apply)(settings, Given::With(text.as_ref())).map_err(wrong)?;
        }
        return Ok(());
    }
    let text;
    let given = match (option.arg, value) {
        (Arg::None | Arg::Optional(_), DeValue::Boolean(true)) => Given::On,
        (Arg::None | Arg::Optional(_), DeValue::Boolean(false)) => Given::Off,
        (Arg::None, _) => return Err(format!("key '{name}' takes true or false")),
        (Arg::Required(what), DeValue::Boolean(_)) => {
            return Err(format!("key '{name}' takes a value: {what}"));
        }
        _ => {
            text = scalar(value).ok_or_else(|| format!("key '{name}' takes text, a number or a list"))?;
            Given::With(text.as_ref())
        }
    };
    (option.apply)(settings, given).map_err(wrong)
}

/// Whether a plugin has such an option is found out when it is loaded.
fn apply_plugin_table(plugin: &str, entries: &DeValue<'_>, settings: &mut Settings) -> Result<(), String> {
    let entries = entries
        .as_table()
        .ok_or_else(|| format!("plugin.{plugin} is not a table"))?;
    for (name, value) in entries {
        let (name, value) = (name.get_ref(), value.get_ref());
        let text = match value {
            DeValue::Boolean(flag) => Some(if *flag { "1" } else { "0" }.to_owned()),
            DeValue::Array(items) => items
                .iter()
                .map(|item| scalar(item.get_ref()))
                .collect::<Option<Vec<_>>>()
                .map(|t| t.join(",")),
            other => scalar(other),
        };
        let value = text
            .ok_or_else(|| format!("plugin.{plugin}.{name} is not text, a number, true, false or a list"))?;
        let option = PluginOption {
            plugin: plugin.to_owned(),
            name: name.to_string(),
            value,
        };
        settings.options.config_plugin_options.push(option);
    }
    Ok(())
}

/// Text or a number, as text.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
