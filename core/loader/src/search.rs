//! Where plugins are looked for.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tracing::{debug, warn};

use crate::elf::{FileNotes, read_notes};
use crate::error::{LoadError, Refused, RefusedBecause};
use crate::trust::{Trust, TrustError};

/// The name of a pack's manifest.
pub const PACK_MANIFEST: &str = "criu-pack.toml";

/// Longest manifest that is read, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;

/// The directories to look in. Of several plugins of one name that of the directory nearest to the user
/// is taken: `explicit` (the last one first), then `env`, `config` (the last one first), `beside`,
/// `system`, and at the end those that are linked into this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPath {
    /// Those of the command line; they must exist.
    pub explicit: Vec<PathBuf>,
    /// That of `CRIU_LIBS_DIR`; it must exist.
    pub env: Option<PathBuf>,
    /// Those of the configuration; they must exist.
    pub config: Vec<PathBuf>,
    /// Those that belong to this copy of the program.
    pub beside: Vec<PathBuf>,
    /// The system's.
    pub system: Vec<PathBuf>,
    /// Whose plugins are run.
    pub trust: Trust,
}

impl SearchPath {
    /// The search path of this process.
    pub fn standard(explicit: Vec<PathBuf>, config: Vec<PathBuf>) -> Self {
        // SAFETY: takes a number, cannot fail.
        let secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
        let env = std::env::var_os("CRIU_LIBS_DIR").filter(|dir| !dir.is_empty() && !secure);
        Self {
            explicit,
            env: env.map(PathBuf::from),
            config,
            beside: beside_program(),
            system: ["/usr/lib/criu-rs/plugins", "/usr/local/lib/criu-rs/plugins"]
                .map(PathBuf::from)
                .into(),
            trust: Trust::of_process(),
        }
    }

    /// Just these directories.
    pub fn only(explicit: Vec<PathBuf>, trust: Trust) -> Self {
        Self {
            explicit,
            env: None,
            config: Vec::new(),
            beside: Vec::new(),
            system: Vec::new(),
            trust,
        }
    }

    /// All directories, the weakest first, and whether each was asked for.
    fn directories(&self) -> impl Iterator<Item = (&Path, bool)> {
        let found = self
            .system
            .iter()
            .chain(&self.beside)
            .map(|dir| (dir.as_path(), false));
        let asked = self
            .config
            .iter()
            .chain(&self.env)
            .chain(&self.explicit)
            .map(|dir| (dir.as_path(), true));
        found.chain(asked)
    }

    /// Looks through all directories.
    pub(crate) fn scan(&self) -> Result<Scan, LoadError> {
        let mut scan = Scan::default();
        for (directory, asked) in self.directories() {
            scan.directory(directory, asked, self.trust)?;
        }
        Ok(scan)
    }
}

/// `plugins` beside the program, and the program's own directory when cargo built it there.
fn beside_program() -> Vec<PathBuf> {
    let Ok(program) = std::env::current_exe() else {
        return Vec::new();
    };
    let Some(directory) = program.parent() else {
        return Vec::new();
    };
    let mut beside = vec![directory.join("plugins")];
    // The file is cargo's mark of such a directory; in /usr/bin there is nothing to look for.
    if directory.join(".cargo-lock").exists() {
        beside.insert(0, directory.to_owned());
    }
    beside
}

/// The manifest of a pack: a directory of plugins that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// The names of its plugins; other files of the directory are not used.
    pub plugins: Vec<String>,
}

/// A plugin's file.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) file: PathBuf,
    pub(crate) notes: FileNotes,
    pub(crate) pack: Option<String>,
}

/// What lies in the directories.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// One list a directory, the weakest first.
    pub(crate) directories: Vec<Vec<Candidate>>,
    pub(crate) refused: Vec<Refused>,
}

impl Scan {
    fn directory(&mut self, asked_path: &Path, asked: bool, trust: Trust) -> Result<(), LoadError> {
        let fail = |source| LoadError::Directory {
            path: asked_path.to_owned(),
            source,
        };
        let listing = asked_path
            .canonicalize()
            .and_then(|path| Ok((names(&path)?, path)));
        let (names, path) = match listing {
            Ok(found) => found,
            Err(error) if !asked && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if !asked => {
                warn!(
                    "the plugin directory {} is not used: {error}",
                    asked_path.display()
                );
                return Ok(());
            }
            Err(error) => return Err(fail(error)),
        };
        if names.is_empty() {
            return Ok(());
        }
        if let Err(error) = trust.directory(&path) {
            if asked {
                return Err(error.into());
            }
            warn!("the plugin directory {} is not used: {error}", path.display());
            return Ok(());
        }
        let pack = manifest(&path, trust)?;
        let mut found: Vec<Candidate> = Vec::new();
        for name in names {
            let file = path.join(&name);
            match candidate(&file, trust) {
                Ok(Some(notes)) => {
                    let pack = match &pack {
                        Some(pack) if !pack.plugins.contains(&notes.plugin.name) => {
                            debug!("{} is not one of pack {}", file.display(), pack.name);
                            continue;
                        }
                        pack => pack
                            .as_ref()
                            .map(|pack| format!("{} {}", pack.name, pack.version)),
                    };
                    if let Some(first) = found
                        .iter()
                        .find(|known| known.notes.plugin.name == notes.plugin.name)
                    {
                        let name = notes.plugin.name;
                        return Err(LoadError::Twice {
                            name,
                            first: first.file.clone(),
                            second: file,
                        });
                    }
                    found.push(Candidate { file, notes, pack });
                }
                Ok(None) => debug!("{} is not a plugin", file.display()),
                Err((_, RefusedBecause::Trust(error))) if asked => return Err(error.into()),
                Err((name, why)) => self.refuse(name.unwrap_or_else(|| stem(&file)), file, why),
            }
        }
        self.check_pack(pack.as_ref(), &path, &found);
        self.directories.push(found);
        Ok(())
    }

    fn check_pack(&mut self, pack: Option<&Pack>, path: &Path, found: &[Candidate]) {
        for name in pack.iter().flat_map(|pack| &pack.plugins) {
            let there = found.iter().any(|known| known.notes.plugin.name == *name)
                || self
                    .refused
                    .iter()
                    .any(|known| known.name == *name && known.file.starts_with(path));
            if !there {
                self.refuse(name.clone(), path.join(PACK_MANIFEST), RefusedBecause::NotInPack);
            }
        }
    }

    fn refuse(&mut self, name: String, file: PathBuf, why: RefusedBecause) {
        let refused = Refused { name, file, why };
        warn!("{refused}");
        self.refused.push(refused);
    }
}

fn stem(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The names of the files that may be plugins, sorted, and of the manifest.
fn names(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if is_library(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn is_library(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"lib") && name.as_bytes().ends_with(b".so")
}

/// Opens for reading without waiting for the writer of a fifo.
fn open(path: &Path) -> io::Result<(File, std::fs::Metadata)> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() {
        Ok((file, meta))
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

fn candidate(path: &Path, trust: Trust) -> Result<Option<FileNotes>, (Option<String>, RefusedBecause)> {
    let (file, meta) = match open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::Other => return Ok(None),
        Err(error) => return Err((None, RefusedBecause::Read(error))),
    };
    // Only what is a plugin must be trusted.
    let (name, result) = match read_notes(&file) {
        Ok(None) => return Ok(None),
        Ok(Some(notes)) => (Some(notes.plugin.name.clone()), Ok(Some(notes))),
        Err((name, why)) => (name.clone(), Err((name, why))),
    };
    trust_file(path, &meta, trust).map_err(|error| (name, RefusedBecause::Trust(error)))?;
    result
}

/// A file, and where it really lies when it is a link.
fn trust_file(path: &Path, meta: &std::fs::Metadata, trust: Trust) -> Result<(), TrustError> {
    trust.file(path, meta)?;
    if trust == Trust::Anyone {
        return Ok(());
    }
    let look = |source| TrustError::Look {
        path: path.to_owned(),
        source,
    };
    if std::fs::symlink_metadata(path).map_err(look)?.is_symlink() {
        let real = path.canonicalize().map_err(look)?;
        if let Some(parent) = real.parent() {
            trust.directory(parent)?;
        }
    }
    Ok(())
}

fn manifest(directory: &Path, trust: Trust) -> Result<Option<Pack>, LoadError> {
    let path = directory.join(PACK_MANIFEST);
    let fail = |what: String| LoadError::Manifest {
        path: path.clone(),
        what,
    };
    let (file, meta) = match open(&path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error.to_string())),
    };
    trust.file(&path, &meta)?;
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, MAX_MANIFEST), &mut text)
        .map_err(|error| fail(error.to_string()))?;
    toml::from_str(&text)
        .map(Some)
        .map_err(|error| fail(error.to_string()))
}
