//! The kinds that serve resources, as the stages ask for them: by what they claim.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use criu_loader::{
    GivenOption, KindId, LoadError, Loader, PluginOptions, SearchPath, shipped, unsupported::unsupported,
};
use criu_plugin_api::message::{FileTarget, Purpose};
use criu_plugin_api::{
    Error as ApiError, FileKind, MappingKind, Point, Result as ApiResult, Services, Stage, StageHook,
    TaskKind,
};

use crate::error::{Error, Result};
use crate::options::Options;

/// How a descriptor of a file can be had, to ask it what its status does not tell.
#[derive(Debug, Clone, Copy)]
enum Handle {
    /// It is open in this process.
    Local(RawFd),
    /// It stands at a number of another process.
    Remote { pid: i32, fd: i32 },
}

/// A file whose kind is looked for.
#[derive(Debug, Clone)]
pub(crate) struct FileQuery<'a> {
    link: Cow<'a, [u8]>,
    mode: u32,
    rdev: u64,
    purpose: Purpose,
    handle: Handle,
    /// `f_type` of its file system, where that is known.
    magic: Option<u64>,
}

impl<'a> FileQuery<'a> {
    /// A file that is about to be dumped.
    pub(crate) fn of(target: &'a FileTarget) -> Self {
        Self {
            link: Cow::Borrowed(&target.link),
            mode: target.mode,
            rdev: target.rdev,
            purpose: target.purpose(),
            handle: Handle::Local(target.local_fd),
            magic: None,
        }
    }

    /// A file that was seen in a process which still runs.
    pub(crate) fn seen(pid: i32, fd: i32, link: Vec<u8>, mode: u32, rdev: u64) -> Self {
        Self {
            link: Cow::Owned(link),
            mode,
            rdev,
            purpose: Purpose::Descriptor,
            handle: Handle::Remote { pid, fd },
            magic: None,
        }
    }

    /// With the `f_type` of its file system, if that is known.
    pub(crate) fn on(self, magic: Option<u64>) -> Self {
        Self { magic, ..self }
    }

    /// The same file, looked at as a path.
    pub(crate) fn by_path(&self) -> Self {
        Self {
            link: self.link.clone(),
            purpose: Purpose::Path,
            ..*self
        }
    }

    fn with<T>(&self, ask: impl FnOnce(&criu_loader::FileQuery<'_>) -> T) -> T {
        ask(&criu_loader::FileQuery {
            link: &self.link,
            mode: self.mode,
            rdev: self.rdev,
            socket: &|| self.handle.socket(),
            fs_magic: &|| self.magic.or_else(|| self.handle.fs_magic()),
            purpose: self.purpose,
        })
    }
}

impl Handle {
    fn with<T>(self, ask: impl FnOnce(BorrowedFd<'_>) -> Option<T>) -> Option<T> {
        match self {
            // Known by its name alone.
            Self::Local(-1) => None,
            Self::Local(fd) => {
                // SAFETY: a query is answered while the descriptor it was made of is open.
                ask(unsafe { BorrowedFd::borrow_raw(fd) })
            }
            Self::Remote { pid, fd } => {
                use std::os::fd::AsFd;
                let copy = copy_of(pid, fd)?;
                ask(copy.as_fd())
            }
        }
    }

    /// Family, type and protocol, see socket(7).
    fn socket(self) -> Option<[u32; 3]> {
        self.with(|fd| {
            let mut answers = [0; 3];
            for (answer, name) in answers
                .iter_mut()
                .zip([libc::SO_DOMAIN, libc::SO_TYPE, libc::SO_PROTOCOL])
            {
                *answer = socket_option(fd, name)?;
            }
            Some(answers)
        })
    }

    fn fs_magic(self) -> Option<u64> {
        self.with(fs_magic)
    }
}

/// `f_type` of the file system that an open file lies in.
pub(crate) fn fs_magic(fd: BorrowedFd<'_>) -> Option<u64> {
    let fs = nix::sys::statfs::fstatfs(fd).ok()?;
    Some(fs.filesystem_type().0.cast_unsigned())
}

fn socket_option(fd: BorrowedFd<'_>, name: libc::c_int) -> Option<u32> {
    let mut value: libc::c_int = 0;
    let mut len = std::mem::size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `value`, which has as many.
    let ret = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    (ret == 0).then_some(value.cast_unsigned())
}

/// A copy of a descriptor of a process that is not stopped; it may be gone already.
fn copy_of(pid: i32, fd: i32) -> Option<OwnedFd> {
    // SAFETY: both calls take plain numbers.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if pidfd < 0 {
        return None;
    }
    // SAFETY: a new descriptor, which nobody else knows.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as RawFd) };
    // SAFETY: as above.
    let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
    // SAFETY: as above.
    (copy >= 0).then(|| unsafe { OwnedFd::from_raw_fd(copy as RawFd) })
}

/// All kinds that were found.
pub(crate) struct Kinds {
    loader: Rc<Loader>,
    options: PluginOptions,
    /// Whether plugins have services: taken back when this is dropped.
    connected: Cell<bool>,
}

impl Kinds {
    /// Finds the plugins; none is started.
    ///
    /// # Errors
    /// A directory cannot be read or trusted, two plugins claim the same, or an option is not known.
    pub(crate) fn find(opts: &Options) -> Result<Self> {
        let path = SearchPath::standard(opts.plugin_dirs.clone(), opts.config_plugin_dirs.clone());
        let loader = Loader::find(&path).map_err(load_error)?;
        let given: Vec<GivenOption> = opts
            .config_plugin_options
            .iter()
            .chain(&opts.plugin_options)
            .map(|option| GivenOption {
                plugin: option.plugin.clone(),
                name: option.name.clone(),
                value: option.value.clone(),
            })
            .collect();
        let options = PluginOptions::new(&loader, &given).map_err(load_error)?;
        check_settings(opts, &loader)?;
        Ok(Self {
            loader: Rc::new(loader),
            options,
            connected: Cell::new(false),
        })
    }

    /// Gives the plugins the services of a run.
    pub(crate) fn connect(&self, services: Rc<dyn Services>) {
        self.loader.set_services(Some(services));
        self.connected.set(true);
    }

    /// Ends the run: the plugins have no services any more, and hold nothing of it.
    pub(crate) fn disconnect(&self) {
        if self.connected.replace(false) {
            self.loader.set_services(None);
        }
    }

    /// Starts the plugins that what was seen of a tree needs, and those that every task needs.
    ///
    /// # Errors
    /// A plugin could not be started.
    pub(crate) fn load_for(&self, files: &[FileQuery<'_>], mappings: &HashSet<Vec<u8>>) -> Result<()> {
        let table = self.loader.table();
        let mut wanted: Vec<KindId> = Vec::new();
        for file in files {
            wanted.extend(file.with(|query| table.file_kinds(query)).first());
        }
        for name in mappings {
            wanted.extend(table.mapping_kinds(name).first());
            let query = FileQuery {
                link: Cow::Borrowed(name),
                mode: libc::S_IFREG,
                rdev: 0,
                purpose: Purpose::Mapping,
                handle: Handle::Local(-1),
                magic: None,
            };
            wanted.extend(query.with(|query| table.file_kinds(query)).first());
        }
        // Every task has directories and an executable.
        for purpose in [Purpose::Cwd, Purpose::Exe] {
            let query = FileQuery {
                link: Cow::Borrowed(b"/"),
                mode: libc::S_IFDIR,
                rdev: 0,
                purpose,
                handle: Handle::Local(-1),
                magic: None,
            };
            wanted.extend(query.with(|query| table.file_kinds(query)).first());
        }
        wanted.extend(table.task_kinds());
        wanted.extend(self.hooks_of_their_own());
        self.load(&wanted)
    }

    /// Starts the plugins of kinds.
    ///
    /// # Errors
    /// A plugin could not be started.
    pub(crate) fn load(&self, kinds: &[KindId]) -> Result<()> {
        Ok(self.loader.load(kinds)?)
    }

    /// The hooks of plugins that have nothing but hooks: nothing else would start them.
    pub(crate) fn hooks_of_their_own(&self) -> Vec<KindId> {
        self.loader
            .plugins()
            .filter(|plugin| {
                plugin
                    .kinds
                    .iter()
                    .all(|&id| self.loader.kind(id).point == Point::Stage)
            })
            .flat_map(|plugin| plugin.kinds.clone())
            .collect()
    }

    /// The loader itself.
    pub(crate) fn loader(&self) -> &Rc<Loader> {
        &self.loader
    }

    /// A kind by its id.
    pub(crate) fn kind(&self, id: KindId) -> Kind {
        Kind {
            loader: Rc::clone(&self.loader),
            id,
        }
    }

    fn all(&self, ids: &[KindId]) -> Vec<Kind> {
        ids.iter().map(|&id| self.kind(id)).collect()
    }

    /// The kinds that may serve a file, in the order in which they are asked.
    pub(crate) fn file(&self, query: &FileQuery<'_>) -> Vec<KindId> {
        query.with(|query| self.loader.table().file_kinds(query))
    }

    /// The kinds that may serve a mapping of this name, in the order in which they are asked.
    pub(crate) fn mapping(&self, name: &[u8]) -> Vec<Kind> {
        self.all(&self.loader.table().mapping_kinds(name))
    }

    /// The kinds that see to flags that a mapping has, each with those flags.
    pub(crate) fn vma_flags(&self, has: impl Fn(&str) -> bool) -> Vec<(Kind, Vec<String>)> {
        let mut found: Vec<(KindId, Vec<String>)> = Vec::new();
        for (flag, id) in self.loader.table().vma_flags().filter(|(flag, _)| has(flag)) {
            match found.iter_mut().find(|(known, _)| *known == id) {
                Some((_, flags)) => flags.push(flag.to_owned()),
                None => found.push((id, vec![flag.to_owned()])),
            }
        }
        let kinds = found.into_iter();
        kinds.map(|(id, flags)| (self.kind(id), flags)).collect()
    }

    /// The kinds of state of tasks.
    pub(crate) fn tasks(&self) -> Vec<Kind> {
        self.all(self.loader.table().task_kinds())
    }

    /// All kinds whose plugin has been started.
    pub(crate) fn loaded(&self) -> Vec<Kind> {
        self.loader
            .kinds()
            .iter()
            .filter(|kind| self.loader.is_loaded(kind.id))
            .map(|kind| self.kind(kind.id))
            .collect()
    }

    /// The hooks of a stage, of plugins that have been started.
    pub(crate) fn hooks(&self, stage: Stage) -> Vec<Kind> {
        let mut hooks = self.loader.table().stage_hooks(stage);
        hooks.retain(|&id| self.loader.is_loaded(id));
        self.all(&hooks)
    }

    /// Why nobody serves a file, and what would.
    pub(crate) fn nobody(&self, query: &FileQuery<'_>) -> (String, Option<String>) {
        let shipped = query.with(shipped::for_file);
        // The kind of plain files serves those that have a path; others are only of the same type.
        let is_no_path = query.mode & libc::S_IFMT == libc::S_IFREG && !query.link.starts_with(b"/");
        match query.with(unsupported) {
            Some(known) if shipped.is_none() || is_no_path => (
                format!("it is {}, which is not supported", known.what),
                Some(known.remedy.to_owned()),
            ),
            _ => missing(shipped),
        }
    }

    /// Why nobody serves a mapping, and what would; nothing when it is not one that a shipped kind claims.
    pub(crate) fn nobody_for_mapping(&self, name: &[u8]) -> Option<(String, Option<String>)> {
        shipped::for_mapping(name).map(|kind| missing(Some(kind)))
    }

    /// Why nobody sees to a flag of mappings, and what would; nothing when it is not one that a shipped kind claims.
    pub(crate) fn nobody_for_vma_flag(&self, flag: &str) -> Option<(String, Option<String>)> {
        shipped::for_vma_flag(flag).map(|kind| missing(Some(kind)))
    }

    /// Why nobody restores files of a number of `fd_types`, and what would.
    pub(crate) fn nobody_for_image(&self, fd_type: u32) -> (String, Option<String>) {
        missing(shipped::for_image(fd_type))
    }

    /// Why nobody restores mappings with a bit in their status, and what would.
    pub(crate) fn nobody_for_vma_status(&self, bit: u32) -> (String, Option<String>) {
        missing(shipped::for_vma_status(bit))
    }

    /// The value of an option of a plugin.
    ///
    /// # Errors
    /// The plugin did not declare it.
    pub(crate) fn plugin_option(&self, plugin: &str, name: &str) -> ApiResult<Option<String>> {
        self.options.get(plugin, name)
    }
}

/// What the user asks for is not passed over because the plugin that would do it is not there.
fn check_settings(opts: &Options, loader: &Loader) -> Result<()> {
    for (setting, default, plugin) in shipped::SETTINGS {
        let asked = opts
            .setting(setting)
            .is_some_and(|value| Some(value.as_str()) != *default);
        if asked && !loader.plugins().any(|found| found.name == *plugin) {
            return Err(Error::Refused {
                object: format!("--{setting}"),
                what: format!("is done by plugin {plugin}, which was not found"),
                remedy: Some(install(plugin)),
            });
        }
    }
    Ok(())
}

fn install(plugin: &str) -> String {
    format!(
        "install plugin {plugin} or name its directory with --plugin-dir; `criu plugin list` shows what is found"
    )
}

fn missing(shipped: Option<shipped::Shipped>) -> (String, Option<String>) {
    match shipped {
        Some(shipped) => (
            format!(
                "its kind, {}, is served by plugin {}, which was not found",
                shipped.kind, shipped.plugin
            ),
            Some(install(shipped.plugin)),
        ),
        None => (
            "no plugin serves its kind".to_owned(),
            Some("a plugin that claims it is needed; `criu plugin list` shows what is found".to_owned()),
        ),
    }
}

fn load_error(error: LoadError) -> Error {
    Error::Plugin(ApiError::new(error.to_string()).context("loading plugins"))
}

/// One kind.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    loader: Rc<Loader>,
    id: KindId,
}

impl Kind {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.loader.kind(self.id).name
    }

    /// The name of its plugin.
    pub(crate) fn plugin(&self) -> &str {
        &self.loader.kind(self.id).plugin
    }

    /// As a kind of files.
    pub(crate) fn as_file(&self) -> Option<&dyn FileKind> {
        self.loader.file_kind(self.id)
    }

    /// As a kind of state of tasks.
    pub(crate) fn as_task(&self) -> Option<&dyn TaskKind> {
        self.loader.task_kind(self.id)
    }

    /// As a kind of files, where the table said that it is one.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn file(&self) -> Result<&dyn FileKind> {
        self.as_file().ok_or_else(|| self.mistaken("files"))
    }

    /// As a kind of mappings, where the table said that it is one.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn mapping(&self) -> Result<&dyn MappingKind> {
        self.loader
            .mapping_kind(self.id)
            .ok_or_else(|| self.mistaken("mappings"))
    }

    /// As a kind of state of tasks, where the table said that it is one.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn task(&self) -> Result<&dyn TaskKind> {
        self.as_task().ok_or_else(|| self.mistaken("state of tasks"))
    }

    /// As a hook, where the table said that it is one.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn hook(&self) -> Result<&dyn StageHook> {
        self.loader
            .stage_hook(self.id)
            .ok_or_else(|| self.mistaken("stages"))
    }

    fn mistaken(&self, what: &str) -> Error {
        Error::malformed(
            format!("kind {} of plugin {}", self.name(), self.plugin()),
            format!("serves no {what}"),
        )
    }
}

/// The values of a setting of the core, for [`Services::settings`].
///
/// # Errors
/// There is no such setting.
pub(crate) fn settings(opts: &Options, name: &str) -> ApiResult<Vec<String>> {
    if !crate::options::SETTING_NAMES.contains(&name) {
        return Err(ApiError::new(format!("the core has no setting {name}")));
    }
    let value = opts.setting(name);
    Ok(value
        .map(|text| text.lines().map(str::to_owned).collect())
        .unwrap_or_default())
}

/// Writes a line of a plugin to the log, for [`Services::log`].
pub(crate) fn log(level: u32, target: &str, text: &str) {
    match level {
        0 | 1 => tracing::error!(plugin = target, "{text}"),
        2 => tracing::warn!(plugin = target, "{text}"),
        3 => tracing::info!(plugin = target, "{text}"),
        _ => tracing::debug!(plugin = target, "{text}"),
    }
}
