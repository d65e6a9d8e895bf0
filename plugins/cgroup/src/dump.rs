//! Saves sets and groups: `cgroup.img`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use criu_plugin_api::message::{TaskImage, TaskInfo, ThreadImage};
use criu_plugin_api::{Context, Error, Host, Result, image};
use criu_proto::images::{CgControllerEntry, CgroupDirEntry, CgroupEntry, CgroupPropEntry};
use criu_proto::magic;

use crate::freezer::Freezer;
use crate::group;
use crate::hierarchy::{Finder, Hierarchy};
use crate::props::Properties;
use crate::roots::Roots;
use crate::set::{Member, Set, is_within};

/// Most groups that are saved of one hierarchy.
const MOST_GROUPS: usize = 1 << 16;
/// The number of `thread_core` in `core_entry`, of `cg_set` in `thread_core_entry`.
const THREAD_CORE: u32 = 5;
const CG_SET: u32 = 16;

/// The sets that tasks were found in; numbered from 1, that of the root task, as the inventory says.
#[derive(Debug, Default)]
pub(crate) struct Dump {
    sets: Vec<Set>,
}

impl Dump {
    /// Looks where the threads of a task are.
    pub(crate) fn task(&mut self, task: &TaskInfo) -> Result<TaskImage> {
        let mut image = TaskImage::default();
        for &tid in &task.threads {
            let set = Set::of(&format!("{}/task/{tid}", task.pid))?;
            let core_fields = fields(self.number(set)?);
            if tid == task.pid {
                image.core_fields = core_fields;
            } else {
                image.threads.push(ThreadImage { tid, core_fields });
            }
        }
        Ok(image)
    }

    fn number(&mut self, set: Set) -> Result<u32> {
        let known = self.sets.iter().position(|known| *known == set);
        let index = known.unwrap_or_else(|| {
            self.sets.push(set);
            self.sets.len() - 1
        });
        u32::try_from(index + 1).map_err(|_| Error::new("there are too many sets of control groups"))
    }

    /// Writes the image, unless all tasks are where criu itself is: then there is nothing to say.
    pub(crate) fn finish(mut self, host: &Host<'_>, freezer: Option<&Freezer>) -> Result<()> {
        let own = Set::of("self")?;
        if self.sets.iter().all(|set| *set == own) {
            return Ok(());
        }
        let properties = Properties::of(host)?;
        for set in &mut self.sets {
            set.0.retain(|member| properties.wants(&member.hierarchy));
        }
        let mut saver = Saver {
            finder: Finder::new(host)?,
            properties,
            roots: Roots::of(host)?,
            freezer,
            left: MOST_GROUPS,
        };
        let mut entry = CgroupEntry::default();
        for member in self.sets.first().map(|root| root.0.clone()).unwrap_or_default() {
            entry.controllers.push(saver.controller(&member, &self.sets)?);
        }
        for (set, id) in self.sets.iter().zip(1..) {
            entry.sets.push(set.to_entry(id));
        }
        let mut writer = image::create(host, &magic::CGROUP)?;
        writer.entry(&entry)?;
        writer.finish()?;
        Ok(())
    }
}

/// Finds what is wrong with the options before anything is stopped.
pub(crate) fn check_options(host: &Host<'_>) -> Result<()> {
    Properties::of(host)?;
    Roots::of(host).map(drop)
}

/// `thread_core.cg_set` alone: a whole entry would carry its required fields along.
fn fields(set: u32) -> Vec<u8> {
    let mut inner = Vec::new();
    prost::encoding::uint32::encode(CG_SET, &set, &mut inner);
    let mut outer = Vec::new();
    prost::encoding::bytes::encode(THREAD_CORE, &inner, &mut outer);
    outer
}

/// The groups of a hierarchy that there are to be looked at.
#[derive(Clone, Copy)]
struct View<'a> {
    hierarchy: &'a Hierarchy,
    /// Those that tasks are in.
    used: &'a [&'a [u8]],
    /// Whether also those that the tree has nothing to do with.
    all: bool,
}

/// What it takes to save the groups of a hierarchy.
struct Saver<'a> {
    finder: Finder,
    properties: Properties,
    roots: Roots,
    freezer: Option<&'a Freezer>,
    left: usize,
}

impl Saver<'_> {
    /// A hierarchy, from where the root task is on down, or from `--cgroup-root` above it.
    fn controller(&mut self, root: &Member, sets: &[Set]) -> Result<CgControllerEntry> {
        let name = &root.hierarchy;
        let hierarchy = self.finder.find(name)?;
        let used: Vec<&[u8]> = sets.iter().filter_map(|set| set.path(name)).collect();
        let mut heads: Vec<Vec<u8>> = Vec::new();
        if let Some(above) = self.roots.find(name) {
            if is_within(&root.path, above) {
                heads.push(above.to_vec());
            } else {
                let (above, path) = (
                    String::from_utf8_lossy(above),
                    String::from_utf8_lossy(&root.path),
                );
                tracing::warn!(
                    "the root task is in control group {path} of hierarchy {}, not below --cgroup-root {above}",
                    hierarchy.title()
                );
            }
        }
        for path in &used {
            if !heads.iter().any(|head| is_within(path, head)) {
                heads.push(path.to_vec());
            }
        }
        // One that was found later may lie above another.
        let all = heads.clone();
        heads.retain(|head| !all.iter().any(|other| other != head && is_within(head, other)));
        let mut entry = CgControllerEntry {
            cnames: name.split(',').map(str::to_owned).collect(),
            dirs: Vec::new(),
            is_threaded: None,
        };
        let mut threaded = false;
        for head in &heads {
            let relative = head.strip_prefix(b"/").unwrap_or(head).to_vec();
            let view = View {
                hierarchy: &hierarchy,
                used: &used,
                all: head != b"/",
            };
            let dir = self
                .group(&view, head, relative, &mut threaded)
                .context(|| format!("saving the control groups of hierarchy {}", hierarchy.title()))?;
            entry.dirs.extend(dir);
        }
        entry.is_threaded = Some(threaded);
        Ok(entry)
    }

    /// A group and those below it; nothing where it has just been removed. In the root of a hierarchy there may be
    /// all sorts of groups: of those only what the tree has to do with is saved.
    fn group(
        &mut self,
        view: &View<'_>,
        path: &[u8],
        name: Vec<u8>,
        threaded: &mut bool,
    ) -> Result<Option<CgroupDirEntry>> {
        let View { hierarchy, used, all } = *view;
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            Error::new(format!("there are more than {MOST_GROUPS} of them"))
                .with_remedy("name the controllers to be saved with --cgroup-dump-controller")
        })?;
        let dir = hierarchy.dir(path);
        let Ok(perms) = group::perms(&dir) else {
            return gone(&dir, used.contains(&path));
        };
        let mut entry = CgroupDirEntry {
            dir_name: name,
            dir_perms: Some(perms),
            ..CgroupDirEntry::default()
        };
        entry.properties = self.properties(hierarchy, &dir)?;
        *threaded |= entry
            .properties
            .iter()
            .any(|property| property.name == "cgroup.type" && property.value == "threaded");
        let children = match group::children(&dir) {
            Ok(children) => children,
            Err(_) if !dir.exists() => return gone(&dir, used.contains(&path)),
            Err(error) => return Err(error),
        };
        for child in children {
            let name = child.as_os_str().as_bytes();
            let mut below = path.strip_suffix(b"/").unwrap_or(path).to_vec();
            below.push(b'/');
            below.extend_from_slice(name);
            let ours = all
                || used
                    .iter()
                    .any(|path| *path != b"/" && (is_within(path, &below) || is_within(&below, path)));
            if ours {
                let saved = self.group(view, &below, name.to_vec(), threaded)?;
                entry.children.extend(saved);
            }
        }
        Ok(Some(entry))
    }

    fn properties(&self, hierarchy: &Hierarchy, dir: &Path) -> Result<Vec<CgroupPropEntry>> {
        let mut files = Vec::new();
        let Ok(list) = std::fs::read_dir(dir) else {
            return Ok(Vec::new());
        };
        for file in list.flatten() {
            files.extend(file.file_name().into_string());
        }
        let mut saved = Vec::new();
        for name in self.properties.names(&hierarchy.name, &files) {
            let path = dir.join(OsStr::new(&name));
            // One that cannot be read now has no value: a controller that does not support it.
            let Ok(perms) = group::perms(&path) else { continue };
            let value = match name.as_str() {
                "cgroup.procs" | "cgroup.threads" | "tasks" => String::new(),
                "freezer.state" | "cgroup.freeze" => match self.frozen_before(dir) {
                    Some(state) => state,
                    None => match group::read(&path) {
                        Ok(value) => value,
                        Err(_) => continue,
                    },
                },
                _ => match group::read(&path) {
                    Ok(value) => crate::values::saved(&name, value),
                    Err(_) => continue,
                },
            };
            saved.push(CgroupPropEntry {
                name,
                value,
                perms: Some(perms),
            });
        }
        Ok(saved)
    }

    /// What the freezer's file of this group said before the dump.
    fn frozen_before(&self, dir: &Path) -> Option<String> {
        let meta = std::fs::metadata(dir).ok()?;
        self.freezer?.state_before((meta.dev(), meta.ino()))
    }
}

fn gone(dir: &Path, used: bool) -> Result<Option<CgroupDirEntry>> {
    if used {
        return Err(Error::new(format!(
            "the group {} cannot be looked at",
            dir.display()
        )));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use criu_plugin_api::testing::MockHost;
    use criu_proto::Message;
    use criu_proto::images::{CoreEntry, ThreadCoreEntry, core_entry::March};

    #[test]
    fn the_set_is_merged_into_a_thread() {
        let mut core = CoreEntry {
            mtype: March::X8664 as i32,
            thread_core: Some(ThreadCoreEntry {
                futex_rla: 7,
                cg_set: Some(1),
                ..ThreadCoreEntry::default()
            }),
            ..CoreEntry::default()
        };
        core.merge(fields(5).as_slice()).unwrap();
        let thread = core.thread_core.unwrap();
        assert_eq!((thread.cg_set, thread.futex_rla), (Some(5), 7));
    }

    #[test]
    fn a_tree_that_is_where_criu_is_needs_no_image() {
        let mock = MockHost::new();
        let me = std::process::id().cast_signed();
        let task = TaskInfo {
            pid: me,
            threads: vec![me],
            ..TaskInfo::default()
        };
        let mut dump = Dump::default();
        assert_eq!(dump.task(&task).unwrap().core_fields, fields(1));
        dump.finish(&Host::new(&mock, "cgroup"), None).unwrap();
        assert!(mock.images().is_empty());
    }

    /// A hierarchy made of plain files.
    fn yard(groups: &[&str]) -> tempfile::TempDir {
        let yard = tempfile::tempdir().unwrap();
        for group in groups {
            let dir = yard.path().join("x").join(group);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("notify_on_release"), "0\n").unwrap();
            std::fs::write(dir.join("tasks"), "1\n").unwrap();
        }
        yard
    }

    fn save(yard: &tempfile::TempDir, paths: &[&str], root: Option<&str>) -> CgControllerEntry {
        let mut mock = MockHost::new();
        let path = yard.path().to_str().unwrap().to_owned();
        mock.settings.insert("cgroup-yard".to_owned(), vec![path]);
        if let Some(root) = root {
            mock.settings
                .insert("cgroup-root".to_owned(), vec![root.to_owned()]);
        }
        let host = Host::new(&mock, "cgroup");
        let sets: Vec<Set> = paths
            .iter()
            .map(|path| {
                Set(vec![Member {
                    hierarchy: "name=x".to_owned(),
                    path: path.as_bytes().to_vec(),
                }])
            })
            .collect();
        let mut saver = Saver {
            finder: Finder::new(&host).unwrap(),
            properties: Properties::of(&host).unwrap(),
            roots: Roots::of(&host).unwrap(),
            freezer: None,
            left: 10,
        };
        saver.controller(&sets[0].0[0], &sets).unwrap()
    }

    fn names(dirs: &[CgroupDirEntry]) -> Vec<String> {
        let mut all = Vec::new();
        for dir in dirs {
            let name = String::from_utf8(dir.dir_name.clone()).unwrap();
            all.extend(names(&dir.children).iter().map(|child| format!("{name}/{child}")));
            all.push(name);
        }
        all.sort();
        all
    }

    #[test]
    fn groups_are_saved_from_the_root_task_on_down() {
        let yard = yard(&["a/b/empty", "a/b/c", "other"]);
        let entry = save(&yard, &["/a/b", "/a/b/c"], None);
        assert_eq!(entry.cnames, ["name=x"]);
        assert_eq!(names(&entry.dirs), ["a/b", "a/b/c", "a/b/empty"]);
        let properties: Vec<_> = entry.dirs[0].children[0]
            .properties
            .iter()
            .map(|p| (p.name.as_str(), p.value.as_str()))
            .collect();
        assert_eq!(properties, [("notify_on_release", "0"), ("tasks", "")]);
        assert_eq!(
            names(&save(&yard, &["/a/b"], Some("/a")).dirs),
            ["a", "a/b", "a/b/c", "a/b/empty"]
        );
    }

    #[test]
    fn of_a_whole_hierarchy_only_what_the_tree_uses() {
        let yard = yard(&["a/b", "a/c", "other"]);
        assert_eq!(names(&save(&yard, &["/", "/a/b"], None).dirs), ["", "/a", "/a/b"]);
        assert_eq!(
            names(&save(&yard, &["/a/b", "/other"], None).dirs),
            ["a/b", "other"]
        );
    }
}
