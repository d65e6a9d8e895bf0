//! Reads `cgroup.img` and decides, before anything is created, which groups there have to be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::BufReader;
use std::path::PathBuf;

use criu_plugin_api::image::{self, ImageReader};
use criu_plugin_api::{Error, ErrorCode, Host, Result};
use criu_proto::images::{
    CgControllerEntry, CgroupDirEntry, CgroupEntry, CgroupPerms, CgroupPropEntry, CoreEntry,
};
use criu_proto::{Message, magic};

use crate::hierarchy::{Finder, Hierarchy, same};
use crate::mode::Mode;
use crate::roots::{Roots, moved};
use crate::set::{Set, is_plain, is_within};

/// A group that there has to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// Its place in the list of hierarchies.
    pub(crate) hierarchy: usize,
    pub(crate) path: Vec<u8>,
    pub(crate) properties: Vec<CgroupPropEntry>,
    pub(crate) perms: Option<CgroupPerms>,
    /// Whether it was there before.
    pub(crate) existed: bool,
}

/// A group in each hierarchy: its place in the list, and the path.
pub(crate) type Places = Vec<(usize, Vec<u8>)>;

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    pub(crate) hierarchies: Vec<Hierarchy>,
    /// Groups before those inside them.
    pub(crate) groups: Vec<Group>,
    /// By number of the set.
    pub(crate) sets: BTreeMap<u32, Places>,
    /// The set of each thread.
    pub(crate) threads: HashMap<i32, u32>,
}

impl Plan {
    /// Reads and checks; nothing where groups are left alone, or the set says nothing of them.
    pub(crate) fn read(host: &Host<'_>) -> Result<Option<Self>> {
        let mode = Mode::of(host)?;
        if mode == Mode::Ignore {
            return Ok(None);
        }
        let mut entries: Vec<CgroupEntry> = image::read_all(host, &magic::CGROUP)?;
        let Some(entry) = entries.pop().filter(|_| entries.is_empty()) else {
            return Ok(None);
        };
        let threads = threads(host)?;
        let root = host.tasks()?.first().map_or(0, |task| task.pid);
        let root_set = threads.get(&root).copied().unwrap_or_default();
        let mut plan = Self {
            mode,
            hierarchies: Vec::new(),
            groups: Vec::new(),
            sets: BTreeMap::new(),
            threads,
        };
        plan.collect(&entry, root_set, &Finder::new(host)?, &Roots::of(host)?)?;
        plan.check_threads()?;
        plan.check_existence()?;
        Ok(Some(plan))
    }

    /// Takes the groups and sets of the image, where `--cgroup-root` puts them.
    fn collect(&mut self, entry: &CgroupEntry, root_set: u32, finder: &Finder, roots: &Roots) -> Result<()> {
        let mut sets = BTreeMap::new();
        for set in &entry.sets {
            if sets.insert(set.id, Set::from_entry(set)?).is_some() {
                return Err(Error::new(format!("cgroup.img has set {} twice", set.id)));
            }
            self.sets.insert(set.id, Vec::new());
        }
        let mut names: Vec<String> = entry.controllers.iter().map(name).collect();
        for member in sets.values().flat_map(|set| &set.0) {
            if !names.iter().any(|name| same(name, &member.hierarchy)) {
                names.push(member.hierarchy.clone());
            }
        }
        for name in &names {
            let heads = entry
                .controllers
                .iter()
                .filter(|controller| self::name(controller) == *name);
            let heads: Vec<&CgroupDirEntry> = heads.flat_map(|controller| &controller.dirs).collect();
            let used: BTreeMap<u32, &[u8]> = sets
                .iter()
                .filter_map(|(&id, set)| {
                    let member = set.0.iter().find(|member| same(&member.hierarchy, name))?;
                    Some((id, member.path.as_slice()))
                })
                .collect();
            let root = used.get(&root_set).copied().unwrap_or(b"/");
            let old = heads.iter().map(|head| absolute(b"", &head.dir_name));
            let old = old.filter(|head| is_within(root, head)).max_by_key(Vec::len);
            let old = old.unwrap_or_else(|| root.to_vec());
            let new = roots.find(name).unwrap_or(&old).to_vec();
            let place = |path: &[u8]| match is_within(path, &old) {
                true => moved(path, &old, &new),
                false => path.to_vec(),
            };
            let hierarchy = match finder.find(name) {
                Ok(hierarchy) => hierarchy,
                // Everybody is in its root, which is as good as not being in it.
                Err(error) if used.values().all(|path| place(path) == b"/") => {
                    tracing::debug!("{error}");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let index = self.hierarchies.len();
            self.hierarchies.push(hierarchy);
            for head in heads {
                self.add(index, b"", head, &place)?;
            }
            for (id, path) in used {
                let path = place(path);
                if !self.groups.iter().any(|g| g.hierarchy == index && g.path == path) {
                    self.groups.push(Group {
                        hierarchy: index,
                        path: path.clone(),
                        properties: Vec::new(),
                        perms: None,
                        existed: false,
                    });
                }
                self.sets.entry(id).or_default().push((index, path));
            }
        }
        Ok(())
    }

    /// A group of the image and those below it.
    fn add(
        &mut self,
        hierarchy: usize,
        above: &[u8],
        dir: &CgroupDirEntry,
        place: &impl Fn(&[u8]) -> Vec<u8>,
    ) -> Result<()> {
        let name = String::from_utf8_lossy(&dir.dir_name);
        let single = above.is_empty() || (!name.is_empty() && !name.contains('/'));
        let path = absolute(above, &dir.dir_name);
        if !single || !is_plain(&path) {
            return Err(Error::new(format!(
                "cgroup.img has a group of the name {name:?}, which is none"
            )));
        }
        for property in &dir.properties {
            if property.name.contains('/') || !is_plain(property.name.as_bytes()) || property.name.is_empty()
            {
                return Err(Error::new(format!(
                    "cgroup.img has a property of the name {:?}, which is none",
                    property.name
                )));
            }
        }
        // The root of a hierarchy has the machine's properties, which are nobody's to be set elsewhere.
        let root = path == b"/";
        self.groups.push(Group {
            hierarchy,
            path: place(&path),
            properties: if root { Vec::new() } else { dir.properties.clone() },
            perms: dir.dir_perms.filter(|_| !root),
            existed: false,
        });
        for child in &dir.children {
            self.add(hierarchy, &path, child, place)?;
        }
        Ok(())
    }

    fn check_threads(&self) -> Result<()> {
        let mut missing = self
            .threads
            .iter()
            .filter(|(_, set)| !self.sets.contains_key(set));
        match missing.next() {
            None => Ok(()),
            Some((tid, set)) => Err(Error::new(format!(
                "thread {tid} is in the set {set} of control groups, which cgroup.img does not have"
            ))),
        }
    }

    /// What there must be is there, and what must not be is not.
    fn check_existence(&mut self) -> Result<()> {
        let mut wrong = BTreeSet::new();
        for index in 0..self.groups.len() {
            let dir = self.dir(&self.groups[index]);
            let group = &mut self.groups[index];
            group.existed = dir.is_dir();
            // The root of a hierarchy is always there, and nobody's.
            let bad = match self.mode {
                Mode::Strict => group.existed && group.path != b"/",
                mode => !group.existed && !mode.makes(),
            };
            if bad {
                wrong.insert(dir.display().to_string());
            }
        }
        let Some(first) = wrong.first() else {
            return Ok(());
        };
        let more = match wrong.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let (what, remedy) = match self.mode {
            Mode::Strict => (
                "exists already",
                "remove it, or restore with --manage-cgroups=soft or full",
            ),
            _ => (
                "does not exist",
                "make it, or restore with --manage-cgroups=soft, full or strict",
            ),
        };
        Err(Error {
            code: ErrorCode::Refused,
            ..Error::new(format!("control group {first}{more}: {what}"))
        }
        .with_remedy(remedy))
    }

    /// The directory of a group.
    pub(crate) fn dir(&self, group: &Group) -> PathBuf {
        self.hierarchies[group.hierarchy].dir(&group.path)
    }
}

/// The name of a hierarchy, as `/proc/PID/cgroup` has it.
fn name(controller: &CgControllerEntry) -> String {
    controller.cnames.join(",")
}

/// The path of a group in another, from the root of the hierarchy.
fn absolute(above: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = above.strip_suffix(b"/").unwrap_or(above).to_vec();
    path.push(b'/');
    path.extend_from_slice(name.strip_prefix(b"/").unwrap_or(name));
    path
}

/// The set of each thread of the image set: its own, or that of its process in older sets.
fn threads(host: &Host<'_>) -> Result<HashMap<i32, u32>> {
    let mut sets = HashMap::new();
    for task in host.tasks()?.iter().filter(|task| !task.dead) {
        let mut of_process = None;
        for &tid in &task.threads {
            let core = core(host, tid)?;
            let own = core.thread_core.as_ref().and_then(|thread| thread.cg_set);
            let set = own.or(core.tc.as_ref().and_then(|tc| tc.cg_set)).or(of_process);
            if tid == task.pid {
                of_process = set;
            }
            if let Some(set) = set {
                sets.insert(tid, set);
            }
        }
    }
    Ok(sets)
}

fn core(host: &Host<'_>, tid: i32) -> Result<CoreEntry> {
    let name = magic::CORE.file_name(u64::from(tid.unsigned_abs()));
    let missing = || Error::new(format!("the set has no image {name}"));
    let file = host.open_image(&name)?.ok_or_else(missing)?;
    let size = file.metadata().map(|meta| meta.len()).ok();
    let mut reader = ImageReader::new(BufReader::new(file), name.clone(), size, &magic::CORE)?;
    let bytes = reader.next_bytes()?.ok_or_else(missing)?;
    CoreEntry::decode(bytes).map_err(|cause| Error::new(format!("{name} is damaged: {cause}")))
}

#[cfg(test)]
pub(crate) mod tests;
