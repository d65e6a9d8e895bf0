//! Every service of the host, over the wire and back.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::Rc;

use criu_plugin_api::hosting::{HostCall, ServicesClient, serve_service};
use criu_plugin_api::message::{FileRecord, FileTarget, RemoteArg, RemoteCall, RemoteResult, Slot, TaskInfo};
use criu_plugin_api::{Error, ErrorCode, Result, Services};

/// Notes what arrives and answers something that is not a default.
#[derive(Default)]
struct Recorder(RefCell<Vec<String>>);

impl Recorder {
    fn note<T>(&self, call: String, answer: T) -> Result<T> {
        self.0.borrow_mut().push(call);
        Ok(answer)
    }
}

impl Services for Recorder {
    fn log(&self, level: u32, target: &str, text: &str) {
        self.0.borrow_mut().push(format!("log {level} {target} {text}"));
    }
    fn settings(&self, name: &str) -> Result<Vec<String>> {
        self.note(format!("settings {name}"), vec!["a".to_owned(), "b".to_owned()])
    }
    fn plugin_option(&self, plugin: &str, name: &str) -> Result<Option<String>> {
        self.note(
            format!("option {plugin} {name}"),
            (name != "none").then(|| "o".to_owned()),
        )
    }
    fn progress(&self, text: &str) {
        self.0.borrow_mut().push(format!("progress {text}"));
    }
    fn image(&self, name: &str, create: bool) -> Result<Option<RawFd>> {
        self.note(format!("image {name} {create}"), create.then_some(0))
    }
    fn tasks(&self) -> Result<Vec<TaskInfo>> {
        self.note(
            "tasks".to_owned(),
            vec![TaskInfo {
                pid: 7,
                ..TaskInfo::default()
            }],
        )
    }
    fn descriptors(&self, pid: i32) -> Result<Vec<Slot>> {
        self.note(
            format!("descriptors {pid}"),
            vec![Slot {
                fd: 3,
                file_id: 5,
                flags: 1,
                fd_type: 2,
            }],
        )
    }
    fn namespace_id(&self, pid: i32, kind: &str) -> Result<u32> {
        self.note(format!("namespace {pid} {kind}"), u32::MAX)
    }
    fn target_fd(&self, pid: i32, fd: i32) -> Result<RawFd> {
        self.note(format!("target_fd {pid} {fd}"), 11)
    }
    fn fdinfo(&self, pid: i32, fd: i32) -> Result<Vec<u8>> {
        self.note(format!("fdinfo {pid} {fd}"), b"pos:\t0\n".to_vec())
    }
    fn dump_file(&self, pid: i32, local_fd: i32) -> Result<u32> {
        self.note(format!("dump_file {pid} {local_fd}"), 12)
    }
    fn dump_path(&self, file: &FileTarget) -> Result<u32> {
        self.note(format!("dump_path {}", file.id), 13)
    }
    fn file_at(&self, pid: i32, fd: i32) -> Result<Option<u32>> {
        self.note(format!("file_at {pid} {fd}"), (fd != 0).then_some(0))
    }
    fn next_id(&self, sequence: &str) -> Result<u32> {
        self.note(format!("next_id {sequence}"), 14)
    }
    fn dump_shared_memory(&self, id: u64, local_fd: i32, size: u64) -> Result<()> {
        self.note(format!("dump_memory {id} {local_fd} {size}"), ())
    }
    fn restore_shared_memory(&self, id: u64, local_fd: i32, size: u64) -> Result<()> {
        self.note(format!("restore_memory {id} {local_fd} {size}"), ())
    }
    fn remote_call(&self, call: &RemoteCall) -> Result<RemoteResult> {
        self.note(
            format!("remote {call:?}"),
            RemoteResult {
                value: -14,
                data: vec![vec![1, 2]],
            },
        )
    }
    fn undo_on_death(&self, call: &RemoteCall) -> Result<()> {
        self.note(format!("undo {}", call.nr), ())
    }
    fn file(&self, id: u32) -> Result<FileRecord> {
        self.note(
            format!("file {id}"),
            FileRecord {
                id,
                fd_type: 16,
                entry: vec![1],
            },
        )
    }
    fn opened(&self, id: u32) -> Result<Option<RawFd>> {
        self.note(format!("opened {id}"), (id != 0).then_some(15))
    }
    fn open_path(&self, id: u32, flags: Option<u32>) -> Result<RawFd> {
        self.note(format!("open_path {id} {flags:?}"), 16)
    }
    fn inherited(&self, key: &str) -> Result<Option<RawFd>> {
        Err(Error::new(format!("no {key}")).with_remedy("give it"))
    }
    fn tasks_are_held(&self) -> Result<()> {
        self.note("held".to_owned(), ())
    }
    fn files(&self) -> Result<Vec<u32>> {
        self.note("files".to_owned(), vec![1, u32::MAX])
    }
    fn early_thread(&self, tid: i32) -> Result<()> {
        self.note(format!("early {tid}"), ())
    }
    fn let_workers(&self, pid: i32, go: bool) -> Result<()> {
        self.note(format!("workers {pid} {go}"), ())
    }
}

struct Direct(Rc<Recorder>);

impl HostCall for Direct {
    fn call(&self, service: u32, request: &[u8]) -> Result<Vec<u8>> {
        serve_service(&*self.0, service, request)
    }
}

fn both() -> (ServicesClient, Rc<Recorder>) {
    let recorder = Rc::new(Recorder::default());
    (
        ServicesClient::new(Box::new(Direct(Rc::clone(&recorder)))),
        recorder,
    )
}

#[test]
fn surroundings_and_queries() {
    let (client, recorder) = both();
    client.log(2, "t", "x");
    client.progress("p");
    assert_eq!(client.settings("s").unwrap(), ["a", "b"]);
    assert_eq!(client.plugin_option("p", "n").unwrap().as_deref(), Some("o"));
    assert_eq!(client.plugin_option("p", "none").unwrap(), None);
    assert_eq!(client.image("i", true).unwrap(), Some(0));
    assert_eq!(client.image("i", false).unwrap(), None);
    assert_eq!(client.tasks().unwrap()[0].pid, 7);
    assert_eq!(client.descriptors(7).unwrap()[0].file_id, 5);
    assert_eq!(client.namespace_id(7, "net").unwrap(), u32::MAX);
    assert_eq!(client.target_fd(7, 3).unwrap(), 11);
    assert_eq!(client.fdinfo(7, 3).unwrap(), b"pos:\t0\n");
    assert_eq!(client.file_at(7, 3).unwrap(), Some(0));
    assert_eq!(client.file_at(7, 0).unwrap(), None);
    assert_eq!(client.next_id("q").unwrap(), 14);
    let expected = [
        "log 2 t x",
        "progress p",
        "settings s",
        "option p n",
        "option p none",
        "image i true",
        "image i false",
        "tasks",
        "descriptors 7",
        "namespace 7 net",
        "target_fd 7 3",
        "fdinfo 7 3",
        "file_at 7 3",
        "file_at 7 0",
        "next_id q",
    ];
    assert_eq!(*recorder.0.borrow(), expected);
}

#[test]
fn work() {
    let (client, recorder) = both();
    assert_eq!(client.dump_file(7, 9).unwrap(), 12);
    assert_eq!(
        client
            .dump_path(&FileTarget {
                id: 4,
                ..FileTarget::default()
            })
            .unwrap(),
        13
    );
    client.dump_shared_memory(u64::MAX, 9, 1 << 40).unwrap();
    client.restore_shared_memory(1, 9, 2).unwrap();
    let args = vec![RemoteArg {
        value: u64::MAX,
        data: Some(vec![3]),
        room: 2,
    }];
    let call = RemoteCall {
        pid: 7,
        nr: 257,
        args,
    };
    let result = client.remote_call(&call).unwrap();
    assert_eq!((result.value, result.data), (-14, vec![vec![1, 2]]));
    client.undo_on_death(&call).unwrap();
    assert_eq!(client.file(8).unwrap().id, 8);
    assert_eq!(client.opened(8).unwrap(), Some(15));
    assert_eq!(client.opened(0).unwrap(), None);
    assert_eq!(client.open_path(8, Some(2)).unwrap(), 16);
    assert_eq!(client.open_path(8, None).unwrap(), 16);
    let error = client.inherited("key").unwrap_err();
    assert_eq!(error.to_string(), "no key (give it)");
    client.tasks_are_held().unwrap();
    assert_eq!(client.files().unwrap(), [1, u32::MAX]);
    client.early_thread(9).unwrap();
    let results = client.remote_calls(&[call.clone(), call.clone()]).unwrap();
    assert_eq!(results.len(), 2);
    client.let_workers(7, true).unwrap();
    let remote = format!("remote {call:?}");
    let memory = format!("dump_memory {} 9 {}", u64::MAX, 1_u64 << 40);
    let expected = [
        "dump_file 7 9",
        "dump_path 4",
        &memory,
        "restore_memory 1 9 2",
        &remote,
        "undo 257",
        "file 8",
        "opened 8",
        "opened 0",
        "open_path 8 Some(2)",
        "open_path 8 None",
        "held",
        "files",
        "early 9",
        &remote,
        &remote,
        "workers 7 true",
    ];
    assert_eq!(*recorder.0.borrow(), expected);
}

#[test]
fn an_unknown_service_is_unsupported_and_garbage_malformed() {
    let recorder = Recorder::default();
    assert_eq!(
        serve_service(&recorder, 9999, &[]).unwrap_err().code,
        ErrorCode::Unsupported
    );
    for service in 1..=22 {
        if service == 6 {
            continue; // its request is empty
        }
        let error = serve_service(&recorder, service, &[0xff]).unwrap_err();
        assert_eq!(error.code, ErrorCode::Malformed, "service {service}");
    }
    assert!(recorder.0.borrow().is_empty());
}
