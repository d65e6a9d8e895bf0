use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd};

use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{FileKind, Host, MappingKind, Verdict};
use criu_proto::images::VmaEntry;
use proptest::prelude::*;
use prost::Message;

use super::dump::{Told, parts_of, told};
use super::owner::largest_hole;
use super::pages::surplus;
use super::restore::check;
use super::sys::{MINOR, MISSING, WP};
use super::*;
use crate::fdinfo::FdInfo;
use crate::testing::tree;

fn api(text: &str) -> Option<Told> {
    told(&FdInfo::of(text, "a test")).ok()
}

fn run(start: u64, end: u64, state: u32) -> RunEntry {
    RunEntry {
        start: start * PAGE,
        end: end * PAGE,
        state,
    }
}

fn range(modes: u32, runs: Vec<RunEntry>) -> RangeEntry {
    RangeEntry {
        id: 1,
        start: 16 * PAGE,
        end: 32 * PAGE,
        modes,
        shared: false,
        runs,
    }
}

/// None where this kernel or user may make none.
fn fresh(features: Option<u64>) -> Option<OwnedFd> {
    let fd = sys::userfaultfd()
        .inspect_err(|errno| println!("skipped: userfaultfd: {errno}"))
        .ok()?;
    if let Some(features) = features {
        sys::api(&fd, features).unwrap();
    }
    Some(fd)
}

#[test]
fn fdinfo_is_read() {
    let text = "pos:\t0\nflags:\t02004000\npending:\t3\ntotal:\t4\nAPI:\taa:0:80000000000001ff\n";
    assert_eq!(
        api(text),
        Some(Told {
            pending: 3,
            features: None
        })
    );
    let text = "pending:\t0\ntotal:\t0\nAPI:\taa:80002001:80000000000001ff\n";
    assert_eq!(api(text).unwrap().features, Some(0x2001));
    for wrong in [
        "pending:\t0\nAPI:\tab:80000000:1\n",
        "pending:\t0\nAPI:\taa\n",
        "pending:\t0\nAPI:\taa:x:1\n",
        "pending:\tx\nAPI:\taa:0:1\n",
        "API:\taa:0:1\n",
        "pending:\t0\n",
    ] {
        assert_eq!(api(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn any_fdinfo_is_survived(text in "(pending|total|API|[a-z]{0,4}):?[\t ]?(aa)?[:0-9a-fx]{0,24}\n?.{0,20}") {
        let _ = api(&text);
    }

    #[test]
    fn numbers_of_fdinfo_come_back(pending: u64, features in 0..1_u64 << 31, ioctls: u64) {
        let text = format!("pending:\t{pending}\ntotal:\t0\nAPI:\taa:{:x}:{ioctls:x}\n", features | 1 << 31);
        prop_assert_eq!(api(&text), Some(Told { pending, features: Some(features) }));
    }

    #[test]
    fn surplus_is_what_was_not_saved(now: u32, saved: u32) {
        let runs = |bits: u32| {
            let set = (0..32).filter(move |bit| bits >> bit & 1 != 0);
            set.map(|bit| run(bit, bit + 1, FILLED)).collect::<Vec<_>>()
        };
        let mut found = 0_u32;
        for (start, end) in surplus(&runs(now), &runs(saved), FILLED) {
            for page in start / PAGE..end / PAGE {
                found |= 1 << page;
            }
        }
        prop_assert_eq!(found, now & !saved);
    }

    #[test]
    fn parts_of_a_range_are_the_range(count in 0..40_u64, most in 1..9_usize) {
        let runs: Vec<_> = (0..count).map(|at| run(20 + 2 * at, 21 + 2 * at, FILLED)).collect();
        let whole = RangeEntry { end: 200 * PAGE, ..range(MISSING, runs.clone()) };
        let parts = parts_of(whole.clone(), most);
        prop_assert_eq!(parts[0].start, whole.start);
        prop_assert_eq!(parts[parts.len() - 1].end, whole.end);
        prop_assert!(parts.windows(2).all(|two| two[0].end == two[1].start));
        for part in &parts {
            prop_assert!(part.runs.len() <= most);
            prop_assert_eq!(check(part, true), Ok(()));
        }
        let joined: Vec<_> = parts.into_iter().flat_map(|part| part.runs).collect();
        prop_assert_eq!(joined, runs);
    }

    #[test]
    fn a_hole_is_free(used in proptest::collection::vec((0..1_u64 << 40, 1..1_u64 << 36), 0..20)) {
        let used: Vec<_> = used.into_iter().map(|(start, length)| (start, start + length)).collect();
        let (start, end) = largest_hole(used.clone());
        prop_assert!(start <= end);
        prop_assert!(used.iter().all(|&(from, to)| to <= start || from >= end || start == end));
    }
}

#[test]
fn ranges_of_images_are_checked() {
    let sound = range(
        MISSING | WP | MINOR,
        vec![
            run(16, 17, ZERO),
            run(17, 20, FILLED | PROTECTED),
            run(31, 32, PROTECTED),
        ],
    );
    assert_eq!(check(&sound, true), Ok(()));
    assert!(check(&sound, false).unwrap_err().contains("file 1"));
    for wrong in [
        range(0, Vec::new()),
        range(8, Vec::new()),
        range(MISSING, vec![run(15, 17, ZERO)]),
        range(MISSING, vec![run(31, 33, ZERO)]),
        range(MISSING, vec![run(18, 19, ZERO), run(17, 18, ZERO)]),
        range(MISSING, vec![run(17, 17, ZERO)]),
        range(MISSING, vec![run(17, 18, 0)]),
        range(MISSING, vec![run(17, 18, ZERO | FILLED)]),
        range(MISSING, vec![run(17, 18, 8)]),
        range(MISSING, vec![run(17, 18, PROTECTED)]),
        RangeEntry {
            start: 1,
            ..range(MISSING, Vec::new())
        },
        RangeEntry {
            end: u64::MAX / PAGE * PAGE,
            ..range(MISSING, Vec::new())
        },
        RangeEntry {
            end: 0,
            ..range(MISSING, Vec::new())
        },
    ] {
        assert!(check(&wrong, true).is_err(), "{wrong:?}");
    }
}

/// A page of this process that a host like the real one maps and unmaps.
#[test]
fn what_watches_this_process_is_saved_and_made_again() {
    let Some(agreed) = fresh(Some(1 << 8)) else { return };
    let plain = fresh(None).unwrap();
    let mut mock = tree();
    let calls = std::rc::Rc::new(Cell::new(0));
    let counted = std::rc::Rc::clone(&calls);
    mock.remote = Some(Box::new(move |call| {
        counted.set(counted.get() + 1);
        let arg = |at: usize| call.args.get(at).map_or(0, |arg| arg.value);
        // SAFETY: the dump maps a page at a free address and unmaps it; nothing else is called.
        let value = unsafe { libc::syscall(call.nr, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
        Ok(criu_plugin_api::message::RemoteResult {
            value,
            ..Default::default()
        })
    }));
    let slot = |file_id, fd: &OwnedFd| criu_plugin_api::message::Slot {
        fd: fd.as_raw_fd(),
        file_id,
        ..Default::default()
    };
    let me = crate::testing::me();
    mock.descriptors
        .insert(me, vec![slot(1, &agreed), slot(2, &plain)]);
    let records = crate::testing::dump(&Userfaultfd::default(), &mock, &[&agreed, &plain]);
    assert_eq!(calls.get(), 2);
    assert_eq!(mock.images(), ["userfaultfd.img"]);
    let opened = crate::testing::restore(&Userfaultfd::default(), &mock, &records).unwrap();
    for (old, new) in [&agreed, &plain].into_iter().zip(&opened) {
        let line = |fd: i32| {
            let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
            text.lines()
                .find(|line| line.starts_with("API"))
                .map(str::to_owned)
        };
        assert_eq!(line(old.as_raw_fd()), line(new.as_raw_fd()));
        assert_eq!(crate::testing::flags(old), crate::testing::flags(new));
    }
    let entry: Vec<UffdEntry> = image::read_all(&Host::new(&mock, "events"), &FILES).unwrap();
    assert_eq!(
        (entry[0].pid, entry[0].features, entry[1].features),
        (me, Some(1 << 8), None)
    );
}

#[test]
fn a_set_that_contradicts_itself_is_found_early() {
    let mock = tree();
    let mut writer = image::create(&Host::new(&mock, "events"), &FILES).unwrap();
    writer
        .entry(&UffdEntry {
            id: 9,
            ..UffdEntry::default()
        })
        .unwrap();
    writer.finish().unwrap();
    let error = Userfaultfd::default()
        .prepare(&Host::new(&mock, "events"), &[])
        .unwrap_err();
    assert!(error.message.contains("file 9"), "{error}");
}

#[test]
fn what_cannot_be_restored_is_refused() {
    let target = |flags: i32, name: &[u8], page_size| MappingTarget {
        pid: 7,
        vma: VmaEntry {
            start: 0x1000,
            end: 0x2000,
            flags: flags.cast_unsigned(),
            ..VmaEntry::default()
        }
        .encode_to_vec(),
        name: name.to_vec(),
        flags: vec!["um".to_owned()],
        page_size,
    };
    let mock = MockHost::new();
    let host = Host::new(&mock, "events");
    let kind = Userfaultfd::default();
    let ask = |target: MappingTarget| MappingKind::dump(&kind, &host, &target).unwrap();
    let refused =
        |verdict: Verdict<_>| matches!(verdict, Verdict::Refused(refusal) if refusal.remedy.is_some());
    assert!(refused(ask(target(
        libc::MAP_PRIVATE,
        b"/memfd:x (deleted)",
        PAGE
    ))));
    assert!(refused(ask(target(
        libc::MAP_PRIVATE,
        b"/anon_hugepage (deleted)",
        2 << 20
    ))));
    assert!(matches!(
        ask(target(libc::MAP_PRIVATE, b"[heap]", PAGE)),
        Verdict::Entry(_)
    ));
    assert!(matches!(
        ask(target(libc::MAP_SHARED, b"/memfd:x (deleted)", PAGE)),
        Verdict::Entry(_)
    ));
    // No process of the tree has the userfaultfd of these.
    let error = FileKind::finish_dump(&kind, &host).unwrap_err();
    assert!(
        error.message.contains("no process of the tree has open"),
        "{error}"
    );
    // Nothing is kept for the next dump.
    FileKind::finish_dump(&kind, &host).unwrap();
}

#[test]
fn one_on_its_way_is_refused() {
    let Some(fd) = fresh(None) else { return };
    let (mut mock, target) = (tree(), file_target(&fd).unwrap());
    mock.descriptors.insert(crate::testing::me(), Vec::new());
    let host = Host::new(&mock, "events");
    let kind = Userfaultfd::default();
    assert!(matches!(
        FileKind::dump(&kind, &host, &target).unwrap(),
        Verdict::Entry(_)
    ));
    let error = FileKind::finish_dump(&kind, &host).unwrap_err();
    assert!(error.message.contains("on its way in a socket"), "{error}");
}
