//! The options of plugins: checked against what their notes declare.

use std::collections::HashMap;
use std::str::FromStr;

use criu_plugin_api::note::OptionNote;
use criu_plugin_api::{Error, Result};

use crate::error::LoadError;
use crate::loader::Loader;

/// An option as the user gave it: `PLUGIN.NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenOption {
    /// The plugin.
    pub plugin: String,
    /// The option.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl FromStr for GivenOption {
    type Err = LoadError;

    fn from_str(text: &str) -> std::result::Result<Self, LoadError> {
        let split = text
            .split_once('=')
            .and_then(|(key, value)| Some((key.split_once('.')?, value)));
        match split {
            Some(((plugin, name), value)) if !plugin.is_empty() && !name.is_empty() => Ok(Self {
                plugin: plugin.to_owned(),
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(LoadError::OptionSyntax {
                text: text.to_owned(),
            }),
        }
    }
}

/// The values of all options of all plugins found.
///
/// Values are in one form: `yes` or `no` for bool, a decimal number for int, bytes in decimal for size.
#[derive(Debug, Clone, Default)]
pub struct PluginOptions {
    values: HashMap<String, HashMap<String, Option<String>>>,
}

impl PluginOptions {
    /// Checks what was given; of several values for one option the last holds.
    ///
    /// # Errors
    /// An option that no plugin declares, or a value that is not of its type.
    pub fn new(loader: &Loader, given: &[GivenOption]) -> std::result::Result<Self, LoadError> {
        let mut options = Self::default();
        for plugin in loader.plugins() {
            let values = options.values.entry(plugin.name.clone()).or_default();
            for option in &plugin.options {
                let default = option
                    .default
                    .as_deref()
                    .map(|value| normal(&plugin.name, option, value));
                values.insert(option.name.clone(), default.transpose()?);
            }
        }
        for GivenOption { plugin, name, value } in given {
            let Some(info) = loader.plugins().find(|info| info.name == *plugin) else {
                return Err(LoadError::NoPlugin {
                    plugin: plugin.clone(),
                    name: name.clone(),
                });
            };
            let Some(option) = info.options.iter().find(|option| option.name == *name) else {
                let known = info
                    .options
                    .iter()
                    .map(|option| option.name.as_str())
                    .collect::<Vec<_>>();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                return Err(LoadError::NoOption {
                    plugin: plugin.clone(),
                    name: name.clone(),
                    known,
                });
            };
            let value = normal(plugin, option, value)?;
            options
                .values
                .entry(plugin.clone())
                .or_default()
                .insert(name.clone(), Some(value));
        }
        Ok(options)
    }

    /// The value of an option, or its default; what
    /// [`Services::plugin_option`](criu_plugin_api::Services::plugin_option) answers.
    ///
    /// # Errors
    /// The plugin did not declare it.
    pub fn get(&self, plugin: &str, name: &str) -> Result<Option<String>> {
        let value = self.values.get(plugin).and_then(|values| values.get(name));
        value
            .cloned()
            .ok_or_else(|| Error::new(format!("plugin {plugin} has not declared option {name}")))
    }
}

fn normal(plugin: &str, option: &OptionNote, value: &str) -> std::result::Result<String, LoadError> {
    let (normal, expected) = match option.kind.as_str() {
        "bool" => (
            match value {
                "yes" | "true" | "on" | "1" => Some("yes".to_owned()),
                "no" | "false" | "off" | "0" => Some("no".to_owned()),
                _ => None,
            },
            "yes or no",
        ),
        "int" => (
            value.parse::<i64>().ok().map(|value| value.to_string()),
            "a whole number",
        ),
        "size" => (
            size(value).map(|value| value.to_string()),
            "a size (bytes, or with K, M or G)",
        ),
        _ => (Some(value.to_owned()), "a text"),
    };
    normal.ok_or_else(|| LoadError::OptionValue {
        plugin: plugin.to_owned(),
        name: option.name.clone(),
        value: value.to_owned(),
        expected,
    })
}

fn size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 10),
        b'M' | b'm' => (&text[..text.len() - 1], 20),
        b'G' | b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}
