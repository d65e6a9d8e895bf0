use criu_plugin_api::message::TaskInfo;
use criu_plugin_api::testing::MockHost;
use criu_plugin_api::{Host, Progress, Stage, StageHook, TaskKind, TaskPoint, Verdict};
use criu_proto::images::CgroupPropEntry;

use crate::Cgroup;
use crate::plan::tests::{dir, entry, host, yard};

#[test]
fn without_the_option_nothing_is_done() {
    let mut mock = MockHost::new();
    mock.tasks.push(TaskInfo {
        pid: 7,
        threads: vec![7],
        ..TaskInfo::default()
    });
    let host = Host::new(&mock, "cgroup");
    let kind = Cgroup::default();
    assert_eq!(kind.dump(&host, &mock.tasks[0]).unwrap(), Verdict::NotMine);
    kind.finish_dump(&host).unwrap();
    kind.prepare(&host).unwrap();
    let done = kind.restore(&host, &mock.tasks[0], TaskPoint::Born).unwrap();
    assert_eq!(done, Progress::Done(()));
    for stage in [
        Stage::BeforeFreeze,
        Stage::Frozen,
        Stage::Cured,
        Stage::RestoreFailed,
    ] {
        kind.at(&host, stage).unwrap();
    }
    assert!(mock.images().is_empty() && !mock.held.get());
}

/// Groups are plain directories here, so a property is a file that has to be there.
#[test]
fn groups_are_made_get_their_properties_and_go_after_a_failure() {
    let yard = yard(&["a"]);
    let old = yard.path().join("x/a");
    std::fs::write(old.join("pids.max"), "9\n").unwrap();
    let mut tree = dir("a", vec![dir("b", Vec::new())]);
    tree.properties.push(CgroupPropEntry {
        name: "pids.max".to_owned(),
        value: "5".to_owned(),
        perms: None,
    });
    let mock = host(yard.path(), "full", &entry(&["/a", "/a/b"], vec![tree]));
    // The root of the hierarchy needs no file by which it is left.
    let host = Host::new(&mock, "cgroup");
    let kind = Cgroup::default();
    kind.prepare(&host).unwrap();
    assert!(old.join("b").is_dir());
    let limit = || std::fs::read_to_string(old.join("pids.max")).unwrap();
    assert_eq!(limit(), "9\n");
    kind.at(&host, Stage::BeforeResume).unwrap();
    assert_eq!(limit().trim(), "5");
    kind.at(&host, Stage::Complete).unwrap();
    kind.at(&host, Stage::RestoreFailed).unwrap();
    assert_eq!(limit().trim(), "9");
    assert!(old.is_dir() && !old.join("b").exists());
}

#[test]
fn a_task_and_its_threads_enter_their_groups() {
    let yard = yard(&["a/b"]);
    let base = yard.path().join("x/a");
    for (group, file) in [("", "cgroup.procs"), ("b", "tasks")] {
        std::fs::write(base.join(group).join(file), "").unwrap();
    }
    let tree = vec![dir("a", vec![dir("b", Vec::new())])];
    let mock = host(yard.path(), "none", &entry(&["/a", "/a/b"], tree));
    let host = Host::new(&mock, "cgroup");
    let kind = Cgroup::default();
    kind.prepare(&host).unwrap();
    kind.restore(&host, &mock.tasks[0], TaskPoint::Born).unwrap();
    kind.restore(&host, &mock.tasks[0], TaskPoint::Caught).unwrap();
    let text = |file: &str| std::fs::read_to_string(base.join(file)).unwrap();
    assert_eq!(
        (text("cgroup.procs"), text("b/tasks")),
        ("0".to_owned(), "11".to_owned())
    );
}
