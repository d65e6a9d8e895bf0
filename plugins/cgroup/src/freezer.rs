//! `--freeze-cgroup`: the tree is stopped by its control group before it is stopped by ptrace(2), so that it stands
//! still at one moment.
//!
//! A frozen task can be told to stop, but comes to it only when it is let go. So the group is frozen, all tasks are
//! told, and the group is thawed again: none of them has run any of its code in between. At the end the group is as
//! it was before, also when criu is killed ([`Watcher`]).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criu_plugin_api::{Context, Error, ErrorCode, Host, Result};

use crate::group;
use crate::mounts::Mounts;
use crate::set::Set;
use crate::watcher::Watcher;

/// The file of version 1, what it takes to run and to stop.
const VERSION_1: (&str, &str, &str) = ("freezer.state", "THAWED", "FROZEN");
/// The same of version 2.
const VERSION_2: (&str, &str, &str) = ("cgroup.freeze", "0", "1");
/// How often a group is looked at while it freezes.
const LOOK: Duration = Duration::from_millis(1);

/// A group that is frozen, or was.
#[derive(Debug)]
pub(crate) struct Freezer {
    dir: PathBuf,
    /// The device and inode of the group.
    id: (u64, u64),
    file: PathBuf,
    run: &'static str,
    stop: &'static str,
    /// What the file is to say in the end.
    before: &'static str,
    watcher: Watcher,
}

impl Freezer {
    /// Freezes the group of `--freeze-cgroup`, if there is one.
    pub(crate) fn freeze(host: &Host<'_>) -> Result<Option<Self>> {
        let Some(dir) = host.setting("freeze-cgroup")?.map(PathBuf::from) else {
            return refuse_frozen(host).map(|()| None);
        };
        let freezer = Self::open(dir)?;
        host.tasks_are_held()?;
        let timeout = host
            .setting("timeout")?
            .and_then(|text| text.parse().ok())
            .unwrap_or(10);
        let limit = (timeout != 0).then(|| Duration::from_secs(timeout));
        if let Err(error) = freezer.stop(limit) {
            return Err(match freezer.finish() {
                Ok(()) => error,
                Err(undoing) => error.context(undoing),
            });
        }
        Ok(Some(freezer))
    }

    /// Looks at the group; nothing is changed yet.
    fn open(dir: PathBuf) -> Result<Self> {
        let object = format!("--freeze-cgroup {}", dir.display());
        let refused = |what: &str| refusal(&object, what);
        let meta = std::fs::metadata(&dir).context(|| object.clone())?;
        let found = [VERSION_1, VERSION_2]
            .into_iter()
            .find(|(file, ..)| dir.join(file).exists());
        let Some((file, run, stop)) = found else {
            return Err(refused("is no control group that can be frozen")
                .with_remedy("name a group below the root of a freezer or version 2 hierarchy"));
        };
        let before = match frozen(&dir) {
            None => run,
            Some((Some(_), ..)) => stop,
            Some((None, ..)) => {
                return Err(refused("is frozen by a group above it").with_remedy("name that group"));
            }
        };
        if group::processes(&dir)?.contains(&std::process::id().cast_signed()) {
            return Err(refused("contains criu itself").with_remedy("start criu from outside of it"));
        }
        let file = dir.join(file);
        let watcher = Watcher::start(&file, before).context(|| format!("{object}: starting a watcher"))?;
        Ok(Self {
            dir,
            id: (meta.dev(), meta.ino()),
            file,
            run,
            stop,
            before,
            watcher,
        })
    }

    fn write(&self, text: &str) -> Result<()> {
        group::write(&self.file, text).context(|| format!("writing {text} to {}", self.file.display()))
    }

    /// Freezes and waits until all processes of the group stand still.
    fn stop(&self, limit: Option<Duration>) -> Result<()> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            // Version 1 tries anew with each writing.
            self.write(self.stop)?;
            if self.stands_still()? {
                return Ok(());
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(refusal(
                    &format!("control group {}", self.dir.display()),
                    &format!("did not freeze in {} s", limit.unwrap_or_default().as_secs()),
                )
                .with_remedy("raise --timeout, or leave out --freeze-cgroup"));
            }
            // Version 1 tells nobody when it has become frozen.
            std::thread::sleep(LOOK);
        }
    }

    fn stands_still(&self) -> Result<bool> {
        if self.stop == VERSION_1.2 {
            let state = group::read(&self.file).context(|| format!("reading {}", self.file.display()))?;
            return Ok(state == self.stop);
        }
        let events = self.dir.join("cgroup.events");
        // A group without processes is frozen at once, and says so.
        Ok(group::keyed(&events, "frozen").as_deref() == Some("1"))
    }

    /// Every task of the tree has been told to stop: they may come to it.
    pub(crate) fn let_go(&self) -> Result<()> {
        self.write(self.run)
    }

    /// Everybody in the group must be of the tree, or it would have been stopped without being saved.
    pub(crate) fn check_members(&self, host: &Host<'_>) -> Result<()> {
        let tree: Vec<i32> = host.tasks()?.iter().map(|task| task.host_pid).collect();
        let mut others = group::processes(&self.dir)?;
        others.retain(|pid| !tree.contains(pid));
        let Some(first) = others.first() else {
            return Ok(());
        };
        let name = std::fs::read_to_string(format!("/proc/{first}/comm")).unwrap_or_default();
        let more = match others.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        Err(refusal(
            &format!("process {first} ({}){more}", name.trim()),
            &format!(
                "is in the control group {} of --freeze-cgroup, and not in the tree",
                self.dir.display()
            ),
        )
        .with_remedy("move it out of the group, or name a group of the tree alone"))
    }

    /// What the freezer's file of a group said before the dump, if it is this one.
    pub(crate) fn state_before(&self, id: (u64, u64)) -> Option<String> {
        (self.id == id).then(|| self.before.to_owned())
    }

    /// The end of the dump: the group is as it was.
    pub(crate) fn finish(self) -> Result<()> {
        let written = self.write(self.before);
        self.watcher.dismiss();
        written
    }
}

fn refusal(object: &str, what: &str) -> Error {
    Error {
        code: ErrorCode::Refused,
        ..Error::new(format!("{object}: {what}"))
    }
}

/// The file by which a frozen group is let go (none if one above it holds it), what it takes to run and to stop;
/// nothing for a group that is not frozen.
pub(crate) fn frozen(dir: &Path) -> Option<(Option<PathBuf>, &'static str, &'static str)> {
    let says = |file: &str, value: &str| group::read(&dir.join(file)).is_ok_and(|text| text == value);
    let (file, run, stop) = VERSION_1;
    if says("freezer.self_freezing", "1") {
        return Some((Some(dir.join(file)), run, stop));
    }
    if says("freezer.parent_freezing", "1") {
        return Some((None, run, stop));
    }
    let (file, run, stop) = VERSION_2;
    if says(file, stop) {
        return Some((Some(dir.join(file)), run, stop));
    }
    let held = group::keyed(&dir.join("cgroup.events"), "frozen").as_deref() == Some("1");
    held.then_some((None, run, stop))
}

/// Tasks that stand in a freezer would never come to their stop.
fn refuse_frozen(host: &Host<'_>) -> Result<()> {
    let Some(pid) = host.setting("tree")? else {
        return Ok(());
    };
    let Ok(set) = Set::of(&pid) else { return Ok(()) };
    let freezer = |name: &str| name.is_empty() || name.split(',').any(|part| part == "freezer");
    let members = set.0.iter().filter(|m| freezer(&m.hierarchy) && m.path != b"/");
    let mut mounts = None;
    for member in members {
        if mounts.is_none() {
            mounts = Some(Mounts::read()?);
        }
        let Some(base) = mounts.as_ref().and_then(|mounts| mounts.find(&member.hierarchy)) else {
            continue;
        };
        let dir = crate::hierarchy::Hierarchy::at(&member.hierarchy, base).dir(&member.path);
        if frozen(&dir).is_some() {
            let what = format!("is frozen by its control group {}", dir.display());
            return Err(refusal(&format!("process {pid}"), &what)
                .with_remedy(format!("thaw it, or dump with --freeze-cgroup {}", dir.display())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use criu_plugin_api::message::TaskInfo;
    use criu_plugin_api::testing::MockHost;

    /// A group of version 1 made of plain files.
    fn plain(state: &str, processes: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        put("freezer.state", state);
        put(
            "freezer.self_freezing",
            if state == "FROZEN" { "1\n" } else { "0\n" },
        );
        put("freezer.parent_freezing", "0\n");
        put("cgroup.procs", processes);
        dir
    }

    fn host(dir: &Path) -> MockHost {
        let mut mock = MockHost::new();
        let path = dir.to_str().unwrap().to_owned();
        mock.settings.insert("freeze-cgroup".to_owned(), vec![path]);
        mock.settings.insert("timeout".to_owned(), vec!["1".to_owned()]);
        mock
    }

    #[test]
    fn the_group_is_as_before_in_the_end() {
        for before in ["THAWED", "FROZEN"] {
            let dir = plain(before, "77\n");
            let state = || group::read(&dir.path().join("freezer.state")).unwrap();
            let mock = host(dir.path());
            let freezer = Freezer::freeze(&Host::new(&mock, "cgroup")).unwrap().unwrap();
            assert!(mock.held.get());
            assert_eq!(state(), "FROZEN");
            freezer.let_go().unwrap();
            assert_eq!(state(), "THAWED");
            let meta = std::fs::metadata(dir.path()).unwrap();
            assert_eq!(
                freezer.state_before((meta.dev(), meta.ino())).as_deref(),
                Some(before)
            );
            freezer.finish().unwrap();
            assert_eq!(state(), before);
        }
    }

    #[test]
    fn strangers_in_the_group_are_named() {
        let dir = plain("THAWED", "77\n78\n");
        let mut mock = host(dir.path());
        mock.tasks.push(TaskInfo {
            pid: 77,
            host_pid: 77,
            ..TaskInfo::default()
        });
        let host = Host::new(&mock, "cgroup");
        let freezer = Freezer::freeze(&host).unwrap().unwrap();
        let error = freezer.check_members(&host).unwrap_err();
        assert!(error.message.contains("process 78"), "{error}");
        freezer.finish().unwrap();
    }

    #[test]
    fn what_cannot_be_frozen_is_refused() {
        let refused = |dir: &Path| {
            let mock = host(dir);
            Freezer::freeze(&Host::new(&mock, "cgroup")).unwrap_err().message
        };
        let empty = tempfile::tempdir().unwrap();
        assert!(refused(empty.path()).contains("no control group"));
        let own = plain("THAWED", &format!("{}\n", std::process::id()));
        assert!(refused(own.path()).contains("criu itself"));
        let above = plain("THAWED", "");
        std::fs::write(above.path().join("freezer.parent_freezing"), "1\n").unwrap();
        assert!(refused(above.path()).contains("above"));
    }
}
