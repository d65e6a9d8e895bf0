use criu_plugin_api::message::{RemoteCall, RemoteResult, TaskInfo};
use criu_plugin_api::testing::MockHost;
use criu_plugin_api::{Context, Host, TaskKind, TaskPoint, image};

use crate::Task;
use crate::entry::{Attributes, IMAGE, Policy, Range, Thread};

fn me() -> i32 {
    nix::unistd::gettid().as_raw()
}

/// A host whose tree is the calling thread, with threads that are said to be those of its process.
fn host(tid: i32) -> MockHost {
    let mut mock = MockHost::new();
    mock.tasks.push(TaskInfo {
        pid: std::process::id().cast_signed(),
        host_pid: std::process::id().cast_signed(),
        sid: 1,
        threads: vec![tid],
        ..TaskInfo::default()
    });
    mock
}

fn dump(mock: &MockHost) -> Vec<Attributes> {
    let host = Host::new(mock, "task");
    let kind = Task::default();
    kind.dump(&host, &mock.tasks[0]).unwrap();
    kind.finish_dump(&host).unwrap();
    image::read_all(&host, &IMAGE).unwrap()
}

#[test]
fn what_is_as_at_first_needs_no_image() {
    std::thread::spawn(|| {
        let mock = host(me());
        assert_eq!(dump(&mock), []);
        assert!(mock.images().is_empty());
    })
    .join()
    .unwrap();
}

#[test]
fn a_thread_comes_back_as_it_was() {
    std::thread::spawn(|| {
        let tid = me();
        let mock = host(tid);
        crate::sys::set_affinity(tid, &[1]).unwrap();
        crate::sys::set_io_priority(tid, 2 << 13 | 6).unwrap();
        let saved = dump(&mock);
        let thread = &saved[0].threads[0];
        assert_eq!(thread.io_priority, Some(2 << 13 | 6));
        assert!(thread.processors.as_ref().is_some_and(|mask| mask[0] == 1));
        // Another thread gets the same.
        crate::sys::set_affinity(tid, &[0xff]).unwrap();
        crate::sys::set_io_priority(tid, 0).unwrap();
        let host = Host::new(&mock, "task");
        let kind = Task::default();
        kind.prepare(&host).unwrap();
        kind.restore(&host, &mock.tasks[0], TaskPoint::BeforeFiles)
            .unwrap();
        assert_eq!(crate::sys::io_priority(tid).unwrap(), 0);
        kind.restore(&host, &mock.tasks[0], TaskPoint::Caught).unwrap();
        assert_eq!(crate::sys::io_priority(tid).unwrap(), 2 << 13 | 6);
        assert_eq!(crate::sys::affinity(tid).unwrap()[0], 1);
    })
    .join()
    .unwrap();
}

fn put(mock: &MockHost, attributes: &Attributes) {
    let mut writer = image::create(&Host::new(mock, "task"), &IMAGE).unwrap();
    writer.entry(attributes).unwrap();
    writer.finish().unwrap();
}

#[test]
fn images_of_strangers_are_checked() {
    let tid = me();
    let pid = std::process::id().cast_signed();
    let thread = |tid| Thread {
        tid,
        ..Thread::default()
    };
    let good = || Attributes {
        pid,
        threads: vec![thread(tid)],
        ..Attributes::default()
    };
    let wrong = |change: fn(&mut Attributes)| {
        let mock = host(tid);
        let mut attributes = good();
        change(&mut attributes);
        put(&mock, &attributes);
        let kind = Task::default();
        kind.prepare(&Host::new(&mock, "task")).unwrap_err().message
    };
    assert!(wrong(|a| a.pid = 1).contains("none of the set"));
    assert!(wrong(|a| a.threads[0].tid = 1).contains("no thread 1"));
    let policy = |a: &mut Attributes| {
        a.ranges.push(Range {
            start: 0,
            end: 4096,
            policy: Policy {
                mode: 77,
                ..Policy::default()
            },
        });
    };
    assert!(wrong(policy).contains("policy"));
}

#[test]
fn policies_are_set_by_the_thread_itself() {
    let tid = me();
    let mut mock = host(tid);
    let called = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let calls = std::rc::Rc::clone(&called);
    mock.remote = Some(Box::new(move |call: &RemoteCall| {
        calls.borrow_mut().push((call.pid, call.nr));
        Ok(RemoteResult::default())
    }));
    let bind = Policy {
        mode: 2,
        flags: 0,
        nodes: vec![1],
    };
    put(
        &mock,
        &Attributes {
            pid: mock.tasks[0].pid,
            threads: vec![Thread {
                tid,
                policy: Some(bind.clone()),
                ..Thread::default()
            }],
            ranges: vec![Range {
                start: 0x1000,
                end: 0x2000,
                policy: bind,
            }],
            ..Attributes::default()
        },
    );
    let host = Host::new(&mock, "task");
    let kind = Task::default();
    kind.prepare(&host).unwrap();
    kind.restore(&host, &mock.tasks[0], TaskPoint::Caught)
        .context(|| "restoring")
        .unwrap();
    let pid = mock.tasks[0].pid;
    assert_eq!(
        *called.borrow(),
        [(pid, libc::SYS_mbind), (tid, libc::SYS_set_mempolicy)]
    );
}
