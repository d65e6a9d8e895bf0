//! The kinds that a restore needs, by what the images say.

use std::collections::BTreeMap;
use std::rc::Rc;

use criu_loader::{KindId, Loader};
use criu_plugin_api::message::FileRecord;
use criu_plugin_api::{FileKind, Host, MappingKind, Services, Stage, TaskKind};

use super::images::ImageSet;
use super::vma::Backing;
use crate::error::{Error, Result};
use crate::options::Options;

/// `fd_types` number of files of third parties.
const EXT: u32 = 16;

/// Kinds by what they serve in this set.
pub(crate) struct Kinds {
    found: crate::kinds::Kinds,
    /// By `fd_types` number.
    files: BTreeMap<u32, KindId>,
    /// Of third parties: those whose image is in the set.
    ext: Vec<KindId>,
    /// By status bit.
    mappings: BTreeMap<u32, KindId>,
    tasks: Vec<KindId>,
}

impl Kinds {
    /// Finds the plugins and those kinds that the set needs.
    ///
    /// # Errors
    /// A plugin that the set lists is not there, or nobody serves a file or mapping of the set.
    pub(crate) fn find(opts: &Options, set: &ImageSet) -> Result<Self> {
        let mut kinds = Self {
            found: crate::kinds::Kinds::find(opts)?,
            files: BTreeMap::new(),
            ext: Vec::new(),
            mappings: BTreeMap::new(),
            tasks: Vec::new(),
        };
        kinds.check_listed(set)?;
        kinds.find_files(set)?;
        kinds.find_mappings(set)?;
        kinds.tasks = kinds.loader().table().task_kinds().to_vec();
        Ok(kinds)
    }

    /// The plugins that the inventory lists are all there.
    fn check_listed(&self, set: &ImageSet) -> Result<()> {
        let found = |name: &&String| self.loader().plugins().any(|plugin| plugin.name == **name);
        let Some(missing) = set.plugins.iter().find(|name| !found(name)) else {
            return Ok(());
        };
        Err(Error::Refused {
            object: "the image set".to_owned(),
            what: format!("was written with plugin {missing}, which was not found"),
            remedy: Some(format!(
                "install plugin {missing} or name its directory with --plugin-dir; `criu plugin list` shows what is found"
            )),
        })
    }

    fn find_files(&mut self, set: &ImageSet) -> Result<()> {
        for record in set.files.all() {
            if record.fd_type == EXT || self.files.contains_key(&record.fd_type) {
                continue;
            }
            let Some(&kind) = self.loader().table().by_image(record.fd_type).first() else {
                let object = format!("file {} of the image set, {}", record.id, users(set, record.id));
                let (why, remedy) = self.found.nobody_for_image(record.fd_type);
                let what = format!("is of type {}: {why}", type_name(record.fd_type));
                return Err(Error::Refused { object, what, remedy });
            };
            self.files.insert(record.fd_type, kind);
        }
        if set.files.all().iter().any(|record| record.fd_type == EXT) {
            let table = self.loader().table();
            let mut ext = Vec::new();
            for (image, kind) in table.ext_kinds() {
                if set.dir.exists(image)? {
                    ext.push(*kind);
                }
            }
            self.ext = ext;
        }
        Ok(())
    }

    fn find_mappings(&mut self, set: &ImageSet) -> Result<()> {
        for task in &set.tasks {
            for vma in task.live.iter().flat_map(|live| &live.vmas) {
                let Backing::Kind(bit) = vma.backing else { continue };
                let Some(kind) = self.loader().table().by_vma_status(bit) else {
                    let object = format!(
                        "the mapping {:#x}-{:#x} of process {}",
                        vma.start, vma.end, task.pid
                    );
                    let (what, remedy) = self.found.nobody_for_vma_status(bit);
                    return Err(Error::Refused { object, what, remedy });
                };
                self.mappings.insert(bit, kind);
            }
        }
        Ok(())
    }

    fn loader(&self) -> &Loader {
        self.found.loader()
    }

    /// Gives the plugins the services of this run and starts those that are needed.
    pub(crate) fn start(&self, services: Rc<dyn Services>) -> Result<()> {
        self.found.connect(services);
        let mut needed: Vec<KindId> = self
            .files
            .values()
            .chain(self.mappings.values())
            .copied()
            .collect();
        needed.extend(&self.ext);
        needed.extend(&self.tasks);
        needed.extend(self.found.hooks_of_their_own());
        self.found.load(&needed)
    }

    /// Takes the services away again.
    pub(crate) fn stop(&self) {
        self.found.disconnect();
    }

    /// All kinds of files that are needed, with the `fd_types` numbers each serves (EXT among them).
    pub(crate) fn file_kinds(&self) -> Vec<(KindId, Vec<u32>)> {
        let mut by_kind: BTreeMap<KindId, Vec<u32>> = BTreeMap::new();
        for (&number, &kind) in &self.files {
            by_kind.entry(kind).or_default().push(number);
        }
        for &kind in &self.ext {
            by_kind.entry(kind).or_default().push(EXT);
        }
        by_kind.into_iter().collect()
    }

    /// The kind of a file that is not of a third party.
    pub(crate) fn of(&self, record: &FileRecord) -> Option<KindId> {
        self.files.get(&record.fd_type).copied()
    }

    /// A file kind by its id.
    pub(crate) fn file(&self, id: KindId) -> Result<&dyn FileKind> {
        let missing = || Error::Task(format!("kind {} is no file kind", self.name(id)));
        self.loader().file_kind(id).ok_or_else(missing)
    }

    /// The kind of mappings with a status bit.
    pub(crate) fn mapping(&self, bit: u32) -> Option<(KindId, &dyn MappingKind)> {
        let id = *self.mappings.get(&bit)?;
        Some((id, self.loader().mapping_kind(id)?))
    }

    /// The kinds of state of tasks.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (KindId, &dyn TaskKind)> {
        self.tasks
            .iter()
            .filter_map(|&id| Some((id, self.loader().task_kind(id)?)))
    }

    /// Runs the hooks of a stage, those of plugins that this run has started.
    pub(crate) fn hooks(&self, services: &dyn Services, stage: Stage) -> Result<()> {
        for hook in self.found.hooks(stage) {
            hook.hook()?
                .at(&Host::new(services, hook.plugin()), stage)
                .map_err(|error| {
                    error.context(format!("hook {}/{} at {stage:?}", hook.plugin(), hook.name()))
                })?;
        }
        Ok(())
    }

    /// The host as a kind sees it.
    pub(crate) fn host<'a>(&'a self, services: &'a dyn Services, id: KindId) -> Host<'a> {
        Host::new(services, &self.loader().kind(id).plugin)
    }

    /// `plugin/kind`, for messages.
    pub(crate) fn name(&self, id: KindId) -> String {
        let info = self.loader().kind(id);
        format!("{}/{}", info.plugin, info.name)
    }

    /// The value of a plugin's option.
    pub(crate) fn option(&self, plugin: &str, name: &str) -> criu_plugin_api::Result<Option<String>> {
        self.found.plugin_option(plugin, name)
    }
}

/// Who uses a file: the first descriptor, for messages.
fn users(set: &ImageSet, id: u32) -> String {
    let descriptor = set.tasks.iter().find_map(|task| {
        let fd = task.live.as_ref()?.fds.iter().find(|entry| entry.id == id)?.fd;
        Some(format!("descriptor {fd} of process {}", task.pid))
    });
    descriptor.unwrap_or_else(|| "no descriptor".to_owned())
}

/// The schema's name of an `fd_types` number.
fn type_name(number: u32) -> String {
    let name = i32::try_from(number)
        .ok()
        .and_then(|n| criu_proto::images::FdTypes::try_from(n).ok());
    name.map_or_else(
        || number.to_string(),
        |name| format!("{} ({number})", name.as_str_name()),
    )
}
