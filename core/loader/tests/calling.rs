//! Calls into plugins and back.

#![allow(clippy::unwrap_used, reason = "a failure of a helper is one of the test")]

mod common;

use std::rc::Rc;

use common::{directory, find, patched};
use criu_loader::{Loader, PluginOptions};
use criu_plugin_api::message::{
    FileImage, FileRecord, FileTarget, MappingRecord, MappingTarget, OpenRequest, TaskInfo,
};
use criu_plugin_api::testing::{MockHost, memory_file};
use criu_plugin_api::{
    ErrorCode, FileKind, Host, Outcome, Progress, Refusal, Services, Stage, TaskPoint, Verdict,
};

struct Run {
    loader: Loader,
    host: Rc<MockHost>,
    /// What the target's descriptor refers to.
    file: std::fs::File,
    _directory: tempfile::TempDir,
}

impl Run {
    fn new(fill: impl FnOnce(&mut MockHost)) -> Self {
        let directory = directory(&["lamp"]);
        let loader = find(&[directory.path()]).unwrap();
        let mut host = MockHost::new();
        fill(&mut host);
        let host = Rc::new(host);
        loader.set_services(Some(host.clone()));
        Self {
            loader,
            host,
            file: memory_file("source").unwrap(),
            _directory: directory,
        }
    }

    fn host(&self) -> Host<'_> {
        Host::new(&*self.host, "test")
    }

    fn lamp(&self) -> &dyn FileKind {
        let id = self.loader.table().by_image(16)[0];
        self.loader.file_kind(id).unwrap()
    }

    fn dump(&self, link: &str) -> criu_plugin_api::Result<Verdict<FileImage>> {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.file);
        let file = FileTarget {
            id: 12,
            pid: 7,
            fd,
            link: link.into(),
            ..FileTarget::default()
        };
        self.lamp().dump(&self.host(), &file)
    }
}

#[test]
fn verdicts_cross() {
    let run = Run::new(|_| {});
    let entry = |count| {
        Verdict::Entry(FileImage {
            fd_type: 16,
            entry: vec![count, 0, 0, 0],
            ..FileImage::default()
        })
    };
    assert_eq!(run.dump("lamp:1").unwrap(), entry(1));
    assert_eq!(run.dump("lamp:other").unwrap(), Verdict::NotMine);
    let refusal = Refusal {
        object: "lamp 3".to_owned(),
        what: "it glows".to_owned(),
        remedy: Some("--cold".to_owned()),
    };
    assert_eq!(run.dump("lamp:refuse").unwrap(), Verdict::Refused(refusal));
    // The kind keeps its state from call to call.
    assert_eq!(run.dump("lamp:1").unwrap(), entry(4));
}

#[test]
fn services_are_reached_and_their_descriptors_owned() {
    let run = Run::new(|host| {
        host.options.insert("watts".to_owned(), "75".to_owned());
        host.tasks = vec![
            TaskInfo {
                pid: 7,
                ..TaskInfo::default()
            };
            3
        ];
    });
    let Verdict::Entry(image) = run.dump("lamp:services").unwrap() else {
        panic!("no entry")
    };
    assert_eq!(String::from_utf8(image.entry).unwrap(), "75 1 3 true");
}

#[test]
fn without_a_run_services_fail_and_say_so() {
    let run = Run::new(|_| {});
    run.loader.set_services(None);
    let error = run.dump("lamp:services").unwrap_err();
    assert!(error.message.contains("outside of a run"), "{error}");
}

#[test]
fn progress_crosses_with_its_descriptor() {
    let run = Run::new(|host| {
        host.opened.insert(5, memory_file("five").unwrap().into());
    });
    let open = |id| {
        let file = FileRecord {
            id,
            ..FileRecord::default()
        };
        run.lamp()
            .open(
                &run.host(),
                &OpenRequest {
                    file,
                    ..OpenRequest::default()
                },
            )
            .unwrap()
    };
    assert_eq!(open(4), Progress::NotYet("the switch".to_owned()));
    let Progress::Done(opened) = open(5) else {
        panic!("not opened")
    };
    let link = std::fs::read_link(format!("/proc/self/fd/{}", opened.fd)).unwrap();
    assert!(link.to_string_lossy().contains("five"));
    nix::unistd::close(opened.fd).unwrap();
    let plans = run
        .lamp()
        .prepare(
            &run.host(),
            &[FileRecord {
                id: 9,
                ..FileRecord::default()
            }],
        )
        .unwrap();
    assert!(matches!(plans.as_slice(), [plan] if plan.id == 9 && plan.attach));
    assert_eq!(
        run.lamp().attach(&run.host(), &FileRecord::default(), 3).unwrap(),
        Progress::Done(())
    );
    run.lamp().finish_restore(&run.host(), Outcome::Failure).unwrap();
}

#[test]
fn the_other_extension_points_cross() {
    let run = Run::new(|_| {});
    let table = run.loader.table();
    let mapping = run
        .loader
        .mapping_kind(table.mapping_kinds(b"/dev/lamp")[0])
        .unwrap();
    let target = MappingTarget {
        name: b"/dev/lamp".to_vec(),
        ..MappingTarget::default()
    };
    assert!(
        matches!(mapping.dump(&run.host(), &target).unwrap(), Verdict::Entry(image) if image.vma == target.name)
    );
    let error = mapping
        .restore(&run.host(), &MappingRecord::default())
        .unwrap_err();
    assert_eq!(
        (error.message.as_str(), error.remedy.as_deref()),
        ("no wall", Some("build one"))
    );

    let task = run.loader.task_kind(table.task_kinds()[0]).unwrap();
    let info = TaskInfo::default();
    assert!(matches!(
        task.restore(&run.host(), &info, TaskPoint::BeforeFiles).unwrap(),
        Progress::NotYet(_)
    ));
    assert_eq!(
        task.restore(&run.host(), &info, TaskPoint::Caught).unwrap(),
        Progress::Done(())
    );
    task.prepare(&run.host()).unwrap();

    let hook = run
        .loader
        .stage_hook(table.stage_hooks(Stage::Dumped)[0])
        .unwrap();
    assert_eq!(hook.at(&run.host(), Stage::Dumped).unwrap_err().message, "Dumped");
}

#[test]
fn unsupported_from_a_callback_is_a_failure_and_no_missing_callback() {
    let run = Run::new(|_| {});
    assert_eq!(run.dump("lamp:unsupported").unwrap_err().code, ErrorCode::Failed);
    // Taken for a missing callback, this would pass for the default: success.
    assert!(run.lamp().finish_dump(&run.host()).is_err());
}

#[test]
fn a_panic_is_contained_and_the_plugin_called_no_more() {
    let run = Run::new(|_| {});
    let error = run.dump("lamp:panic").unwrap_err();
    assert_eq!(error.code, ErrorCode::Panicked);
    for part in [
        "plugin lamp",
        "kind lamp",
        "file 12",
        "descriptor ",
        "process 7",
        "lamp.rs:",
        "the lamp broke at 12",
    ] {
        assert!(error.message.contains(part), "{error}");
    }
    let error = run.dump("lamp:1").unwrap_err();
    assert!(error.message.contains("not called again"), "{error}");
}

#[test]
fn a_panic_in_a_constructor_is_contained() {
    let directory = directory(&["fuse"]);
    let loader = find(&[directory.path()]).unwrap();
    let error = loader.load_all().unwrap_err();
    for part in ["plugin fuse", "kind fuse", "blown", "libfixture_fuse.so"] {
        assert!(error.message.contains(part), "{error}");
    }
}

#[test]
fn a_panic_of_the_host_does_not_cross_the_plugin() {
    let run = Run::new(|host| host.remote = Some(Box::new(|_| panic!("the host broke"))));
    let error = run.dump("lamp:remote").unwrap_err();
    assert_eq!(error.code, ErrorCode::Failed);
    assert!(error.message.contains("criu itself panicked"), "{error}");
    // That is no fault of the plugin.
    run.dump("lamp:1").unwrap();
}

#[test]
fn events_and_spans_reach_the_log_of_the_host() {
    let run = Run::new(|_| {});
    // The level is that of this process at the start: none without a subscriber.
    run.dump("lamp:log").unwrap();
    assert!(run.host.lines.borrow().is_empty());

    struct Debug;
    impl tracing::Subscriber for Debug {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            *metadata.level() <= tracing::Level::DEBUG
        }
        fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
            Some(tracing::level_filters::LevelFilter::DEBUG)
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    tracing::subscriber::with_default(Debug, || {
        // Another file is another copy of the plugin, which is started with the level of now.
        let run = Run::new(|_| {});
        run.dump("lamp:log").unwrap();
        let lines = run.host.lines.borrow();
        assert!(
            matches!(lines.as_slice(), [line] if line.ends_with("lamp id=12: switched watts=60")
            && line.starts_with("4 ")),
            "{lines:?}"
        );
    });
}

#[test]
fn a_second_run_has_services_of_its_own() {
    let run = Run::new(|host| {
        host.options.insert("watts".to_owned(), "1".to_owned());
    });
    let mut second = MockHost::new();
    second.options.insert("watts".to_owned(), "2".to_owned());
    let watts = |run: &Run| match run.dump("lamp:services") {
        Ok(Verdict::Entry(image)) => String::from_utf8(image.entry).unwrap().remove(0),
        other => panic!("{other:?}"),
    };
    assert_eq!(watts(&run), '1');
    let second: Rc<dyn Services> = Rc::new(second);
    run.loader.set_services(Some(second));
    assert_eq!(watts(&run), '2');
}

#[test]
fn a_wrong_symbol_is_an_error() {
    let directory = directory(&[]);
    patched(directory.path(), "lamp", "plugin lamp\n", "plugin lump\n");
    let loader = find(&[directory.path()]).unwrap();
    let error = loader.load_all().unwrap_err();
    assert!(error.message.contains("criu_plugin_root_1_lump"), "{error}");
    PluginOptions::new(&loader, &[]).unwrap();
}
