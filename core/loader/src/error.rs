//! What can be wrong with plugins.

use std::fmt;
use std::io;
use std::path::PathBuf;

use criu_plugin_api::ClaimError;
use criu_plugin_api::note::NoteError;
use thiserror::Error;

use crate::trust::TrustError;

/// Plugins cannot be used at all as they lie there.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A directory that was asked for cannot be read.
    #[error("reading the plugin directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The manifest of a pack cannot be used.
    #[error("reading the manifest of a plugin pack, {}: {what}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// A directory or file that was asked for must not be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// One directory holds two plugins of one name.
    #[error("two files in one directory are plugin {name}: {} and {} (remove one)", first.display(), second.display())]
    Twice {
        /// The name.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Two plugins claim the same thing.
    #[error("two kinds claim the same: {}, and {} (remove one of the plugins)", .0[0], .0[1])]
    Conflict(Box<[Claimant; 2]>),
    /// An option names a plugin that is not there.
    #[error("option {plugin}.{name}: there is no plugin {plugin} (`criu plugin list` shows those found)")]
    NoPlugin {
        /// The plugin.
        plugin: String,
        /// The option.
        name: String,
    },
    /// An option is not one of its plugin.
    #[error("option {plugin}.{name}: plugin {plugin} has no such option (it has: {known})")]
    NoOption {
        /// The plugin.
        plugin: String,
        /// The option.
        name: String,
        /// Those it has.
        known: String,
    },
    /// The value of an option is not of its type.
    #[error("option {plugin}.{name}: `{value}` is not {expected}")]
    OptionValue {
        /// The plugin.
        plugin: String,
        /// The option.
        name: String,
        /// What was given.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An option is not written as it should be.
    #[error("`{text}`: an option of a plugin is written PLUGIN.NAME=VALUE")]
    OptionSyntax {
        /// What was given.
        text: String,
    },
    /// A plugin that is linked into this program is not complete.
    #[error("a kind {kind} of package {package} is linked in, but the package exports no plugin")]
    NoExport {
        /// The kind.
        kind: String,
        /// The package.
        package: String,
    },
    /// A plugin that is linked into this program describes itself wrongly.
    #[error("the built-in plugin {name}: {why}")]
    BuiltIn {
        /// The plugin.
        name: String,
        /// What is wrong.
        why: RefusedBecause,
    },
}

/// One side of a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// The plugin.
    pub plugin: String,
    /// Where it comes from.
    pub origin: String,
    /// The kind.
    pub kind: String,
    /// The claim.
    pub claim: String,
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plugin,
            origin,
            kind,
            claim,
        } = self;
        write!(f, "kind {kind} of plugin {plugin} ({origin}) has {claim}")
    }
}

/// A plugin that was found and is not used.
#[derive(Debug)]
pub struct Refused {
    /// Its name, or that of its file when it does not say.
    pub name: String,
    /// Where it lies.
    pub file: PathBuf,
    /// Why.
    pub why: RefusedBecause,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "plugin {} ({}) is not used: {}",
            self.name,
            self.file.display(),
            self.why
        )
    }
}

/// Why a plugin is not used.
#[derive(Debug, Error)]
pub enum RefusedBecause {
    /// The file cannot be read.
    #[error("its file cannot be read: {0}")]
    Read(io::Error),
    /// It is no complete shared object.
    #[error("its file is damaged: {0}")]
    Damaged(String),
    /// For another machine.
    #[error("it is built for another architecture")]
    Architecture,
    /// Its notes are not understood.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// It has kinds, but no note of its own.
    #[error("its file has notes of kinds, but none of the plugin (export_plugin! is missing)")]
    NoPluginNote,
    /// Several plugins in one file.
    #[error("its file holds more than one plugin")]
    SeveralPlugins,
    /// Two kinds of one name.
    #[error("it has two kinds {0} at one extension point")]
    KindTwice(String),
    /// Another binary surface.
    #[error("it has revision {theirs} of the plugin interface, this criu has {ours} (rebuild the plugin)")]
    Abi {
        /// The plugin's.
        theirs: u32,
        /// This program's.
        ours: u32,
    },
    /// An API that is newer than ours, or of another major version.
    #[error("it is built for version {theirs} of the plugin API, this criu has {ours} ({remedy})")]
    Api {
        /// The plugin's.
        theirs: String,
        /// This program's.
        ours: String,
        /// What helps.
        remedy: &'static str,
    },
    /// It cannot contain its own failures.
    #[error(
        "it is built with panic=abort, so that a fault in it would end criu in the middle of its work \
             (rebuild it with panic=unwind)"
    )]
    Aborts,
    /// A claim that its kind cannot serve.
    #[error("kind {kind}: {source}")]
    Claim {
        /// The kind.
        kind: String,
        /// What is wrong.
        source: ClaimError,
    },
    /// Others could have changed it.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A pack promises it and does not have it.
    #[error("the manifest of its pack names it, but no file of the directory is this plugin")]
    NotInPack,
}
