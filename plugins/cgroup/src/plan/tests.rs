use std::path::Path;

use criu_plugin_api::image::ImageWriter;
use criu_plugin_api::message::TaskInfo;
use criu_plugin_api::testing::MockHost;
use criu_proto::images::{CgMemberEntry, CgSetEntry, TaskCoreEntry, ThreadCoreEntry};

use super::*;

pub(crate) fn dir(name: &str, children: Vec<CgroupDirEntry>) -> CgroupDirEntry {
    CgroupDirEntry {
        dir_name: name.as_bytes().to_vec(),
        children,
        ..CgroupDirEntry::default()
    }
}

pub(crate) fn entry(paths: &[&str], dirs: Vec<CgroupDirEntry>) -> CgroupEntry {
    CgroupEntry {
        sets: paths
            .iter()
            .zip(1..)
            .map(|(path, id)| CgSetEntry {
                id,
                ctls: vec![CgMemberEntry {
                    name: "name=x".to_owned(),
                    path: path.as_bytes().to_vec(),
                    cgns_prefix: None,
                }],
            })
            .collect(),
        controllers: vec![CgControllerEntry {
            cnames: vec!["name=x".to_owned()],
            dirs,
            is_threaded: Some(false),
        }],
    }
}

fn put(mock: &MockHost, kind: &image::ImageKind, id: u64, message: &impl Message) {
    let name = kind.file_name(id);
    let mut bytes = Vec::new();
    let mut writer = ImageWriter::new(&mut bytes, name.clone(), kind).unwrap();
    writer.entry(message).unwrap();
    writer.finish().unwrap();
    mock.put_image(&name, &bytes).unwrap();
}

/// Threads 10 (leader, set 1), 11 (set 2) and 12 (none of its own).
pub(crate) fn host(yard: &Path, mode: &str, entry: &CgroupEntry) -> MockHost {
    let mut mock = MockHost::new();
    mock.settings
        .insert("manage-cgroups".to_owned(), vec![mode.to_owned()]);
    mock.settings
        .insert("cgroup-yard".to_owned(), vec![yard.to_str().unwrap().to_owned()]);
    mock.tasks.push(TaskInfo {
        pid: 10,
        threads: vec![10, 11, 12],
        ..TaskInfo::default()
    });
    put(&mock, &magic::CGROUP, 0, entry);
    for (tid, process, thread) in [(10, Some(1), None), (11, None, Some(2)), (12, None, None)] {
        let core = CoreEntry {
            mtype: 1,
            tc: process.map(|set| TaskCoreEntry {
                cg_set: Some(set),
                ..TaskCoreEntry::default()
            }),
            thread_core: Some(ThreadCoreEntry {
                cg_set: thread,
                ..ThreadCoreEntry::default()
            }),
            ..CoreEntry::default()
        };
        put(&mock, &magic::CORE, tid, &core);
    }
    mock
}

fn read(mock: &MockHost) -> Result<Option<Plan>> {
    Plan::read(&Host::new(mock, "cgroup"))
}

pub(crate) fn yard(groups: &[&str]) -> tempfile::TempDir {
    let yard = tempfile::tempdir().unwrap();
    std::fs::create_dir(yard.path().join("x")).unwrap();
    for group in groups {
        std::fs::create_dir_all(yard.path().join("x").join(group)).unwrap();
    }
    yard
}

fn paths(plan: &Plan) -> Vec<String> {
    plan.groups
        .iter()
        .map(|group| String::from_utf8(group.path.clone()).unwrap())
        .collect()
}

#[test]
fn threads_fall_back_to_their_process_and_groups_come_in_order() {
    let yard = yard(&[]);
    let tree = vec![dir("a/b", vec![dir("c", vec![dir("d", Vec::new())])])];
    let plan = read(&host(yard.path(), "soft", &entry(&["/a/b", "/a/b/c"], tree)));
    let plan = plan.unwrap().unwrap();
    assert_eq!(paths(&plan), ["/a/b", "/a/b/c", "/a/b/c/d"]);
    assert_eq!(plan.threads, HashMap::from([(10, 1), (11, 2), (12, 1)]));
    assert_eq!(plan.sets[&2], [(0, b"/a/b/c".to_vec())]);
}

#[test]
fn another_root_moves_groups_and_sets() {
    let yard = yard(&[]);
    let tree = vec![dir("a/b", vec![dir("c", Vec::new())])];
    let mut mock = host(yard.path(), "soft", &entry(&["/a/b", "/a/b/c"], tree));
    mock.settings
        .insert("cgroup-root".to_owned(), vec!["x:/new".to_owned()]);
    let plan = read(&mock).unwrap().unwrap();
    assert_eq!(paths(&plan), ["/new", "/new/c"]);
    assert_eq!(plan.sets[&2], [(0, b"/new/c".to_vec())]);
}

#[test]
fn existence_is_as_the_mode_wants_it() {
    let yard = yard(&["a"]);
    let tree = || entry(&["/a", "/a/b"], vec![dir("a", vec![dir("b", Vec::new())])]);
    let error = |mode| read(&host(yard.path(), mode, &tree())).unwrap_err();
    for mode in ["none", "props"] {
        let error = error(mode);
        assert!(error.message.contains("x/a/b: does not exist"), "{error}");
    }
    assert!(error("strict").message.contains("x/a: exists already"));
    for mode in ["soft", "full"] {
        let plan = read(&host(yard.path(), mode, &tree())).unwrap().unwrap();
        let existed: Vec<bool> = plan.groups.iter().map(|group| group.existed).collect();
        assert_eq!(existed, [true, false]);
    }
    assert!(read(&host(yard.path(), "ignore", &tree())).unwrap().is_none());
}

#[test]
fn what_contradicts_itself_is_refused() {
    let yard = yard(&[]);
    let wrong = |entry: &CgroupEntry| read(&host(yard.path(), "soft", entry)).unwrap_err().message;
    let good = || entry(&["/a", "/a"], vec![dir("a", Vec::new())]);
    let mut one = good();
    one.sets.truncate(1);
    assert!(wrong(&one).contains("set 2"));
    let mut two = good();
    two.sets[1].id = 1;
    assert!(wrong(&two).contains("set 1 twice"));
    let mut up = good();
    up.controllers[0].dirs[0].dir_name = b"../a".to_vec();
    assert!(wrong(&up).contains("../a"));
    let mut deep = good();
    deep.controllers[0].dirs[0].children.push(dir("b/c", Vec::new()));
    assert!(wrong(&deep).contains("b/c"));
    let mut property = good();
    property.controllers[0].dirs[0].properties.push(CgroupPropEntry {
        name: "../x".to_owned(),
        ..CgroupPropEntry::default()
    });
    assert!(wrong(&property).contains("../x"));
}
