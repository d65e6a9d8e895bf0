//! Sets of this process. The tests share one descriptor table, so what has to be at a certain number is
//! put there by dup(2), and numbers that have to be free are large.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use criu_plugin_api::message::{FileRecord, Slot, TaskInfo};
use criu_plugin_api::testing::{MockHost, file_target};

use super::*;
use criu_proto::images::FdTypes;

use crate::sys;
use crate::testing::{dump, entry_of, me, restore, tree};

const IN: u32 = libc::EPOLLIN.cast_unsigned();
const OUT: u32 = libc::EPOLLOUT.cast_unsigned();
const EDGE: u32 = libc::EPOLLET.cast_unsigned();
const ONCE: u32 = libc::EPOLLONESHOT.cast_unsigned();
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE.cast_unsigned();

fn set(targets: &[(i32, u32, u64)]) -> OwnedFd {
    let epoll = sys::epoll_create().unwrap();
    for &(fd, events, data) in targets {
        sys::epoll_ctl(&epoll, libc::EPOLL_CTL_ADD, fd, events, data).unwrap();
    }
    epoll
}

fn eventfd(count: u64) -> OwnedFd {
    let fd = sys::eventfd(0, false).unwrap();
    if count > 0 {
        sys::write_word(&fd, count).unwrap();
    }
    fd
}

/// Closes a number that a test has put a copy at.
fn close(number: i32) {
    // SAFETY: what is closed is that copy alone.
    unsafe { libc::close(number) };
}

fn pipe() -> (OwnedFd, OwnedFd) {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap()
}

/// The data of the next event.
fn take(epoll: &OwnedFd) -> Option<u64> {
    sys::epoll_take(epoll).unwrap().map(|(_, data)| data)
}

/// The targets as the kernel shows them.
fn targets(fd: &impl AsRawFd) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("tfd:"))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

fn host(slots: &[(i32, u32, u32)]) -> MockHost {
    let mut mock = tree();
    let slots = slots.iter().map(|&(fd, file_id, fd_type)| Slot {
        fd,
        file_id,
        fd_type,
        flags: 0,
    });
    mock.descriptors.insert(me(), slots.collect());
    mock
}

/// Restores one set with its targets.
fn back(mock: &MockHost, records: &[FileRecord]) -> Result<OwnedFd> {
    let kind = Epoll::default();
    let opened = restore(&kind, mock, records)?.remove(0);
    let host = Host::new(mock, "events");
    assert_eq!(
        kind.attach(&host, &records[0], opened.as_raw_fd())?,
        Progress::Done(())
    );
    Ok(opened.into())
}

#[test]
fn targets_come_back_with_all_their_bits() {
    let mock = host(&[]);
    let (event, (read, write)) = (eventfd(0), pipe());
    let twin = entry::copy(&read).unwrap();
    let inner = set(&[]);
    let epoll = set(&[
        (event.as_raw_fd(), IN | EDGE, 0x11_2233_4455),
        (read.as_raw_fd(), IN, u64::MAX),
        (twin.as_raw_fd(), IN | ONCE, 2),
        (write.as_raw_fd(), OUT | EXCLUSIVE, 3),
        (inner.as_raw_fd(), IN, 4),
    ]);
    let records = dump(&Epoll::default(), &mock, &[&epoll]);
    let saved = entry_of(&records[0]).epfd.unwrap();
    assert_eq!((saved.flags, saved.tfd.len()), (2, 5));
    let first = saved.tfd.iter().find(|t| t.data == 0x11_2233_4455).unwrap();
    let meta = file_target(&event).unwrap();
    assert_eq!((first.id, first.tfd), (0, event.as_raw_fd().cast_unsigned()));
    assert_eq!(
        first.events,
        IN | EDGE | 0x18,
        "errors and hang-ups are always reported"
    );
    assert_eq!(
        (first.dev, first.inode, first.pos),
        (Some(u32::try_from(meta.dev).unwrap()), Some(meta.ino), Some(0))
    );
    assert_eq!(mock.images(), Vec::<String>::new());
    let again = back(&mock, &records).unwrap();
    assert_eq!(targets(&again), targets(&epoll));
}

#[test]
fn a_target_whose_number_was_taken_is_found() {
    let (event, other, keep) = (eventfd(0), eventfd(7), eventfd(0));
    let number = event.as_raw_fd();
    sys::dup_to(&keep, number).unwrap();
    let epoll = set(&[(number, IN, 77)]);
    sys::dup_to(&other, number).unwrap();
    let before = targets(&epoll);
    let mut mock = host(&[(keep.as_raw_fd(), 5, 6)]);
    let records = dump(&Epoll::default(), &mock, &[&epoll]);
    assert_eq!(mock.images(), ["eventpoll-moved.img"]);
    let saved = entry_of(&records[0]).epfd.unwrap();
    assert_eq!(
        saved.tfd[0].tfd,
        keep.as_raw_fd().cast_unsigned(),
        "where others find it"
    );
    mock.opened.insert(5, entry::copy(&keep).unwrap());
    let again = back(&mock, &records).unwrap();
    assert_eq!(targets(&again), before);
    assert_eq!(take(&again), None);
    assert!(
        sys::readable_within(&event, 0).unwrap(),
        "what stands at the number stays there"
    );
    sys::write_word(&keep, 1).unwrap();
    assert_eq!(take(&again), Some(77));
}

#[test]
fn a_target_whose_number_was_closed_is_found_and_waited_for() {
    let number = 905;
    let keep = eventfd(1);
    sys::dup_to(&keep, number).unwrap();
    let epoll = set(&[(number, IN, 78), (keep.as_raw_fd(), OUT, 79)]);
    close(number);
    let mut mock = host(&[(keep.as_raw_fd(), 5, 6), (epoll.as_raw_fd(), 1, 7)]);
    let records = dump(&Epoll::default(), &mock, &[&epoll]);
    let kind = Epoll::default();
    let fresh = restore(&kind, &mock, &records).unwrap().remove(0);
    let waits = kind.attach(&Host::new(&mock, "events"), &records[0], fresh.as_raw_fd());
    assert!(matches!(waits, Ok(Progress::NotYet(_))));
    assert_eq!(
        targets(&fresh),
        Vec::<String>::new(),
        "nothing is added until all are there"
    );
    mock.opened.insert(5, entry::copy(&keep).unwrap());
    let again = back(&mock, &records).unwrap();
    assert_eq!(targets(&again), targets(&epoll));
    let link = format!("/proc/self/fd/{number}");
    assert!(std::fs::read_link(link).is_err(), "the number is free again");
}

#[test]
fn two_targets_of_one_number_are_told_apart() {
    let number = 906;
    let (first, second) = (eventfd(0), eventfd(0));
    sys::dup_to(&first, number).unwrap();
    let epoll = set(&[(number, IN, 1)]);
    sys::dup_to(&second, number).unwrap();
    sys::epoll_ctl(&epoll, libc::EPOLL_CTL_ADD, number, IN, 2).unwrap();
    let mut mock = host(&[(first.as_raw_fd(), 5, 6), (second.as_raw_fd(), 6, 6)]);
    let records = dump(&Epoll::default(), &mock, &[&epoll]);
    mock.opened.insert(5, entry::copy(&first).unwrap());
    mock.opened.insert(6, entry::copy(&second).unwrap());
    let again = back(&mock, &records).unwrap();
    close(number);
    assert_eq!(targets(&again), targets(&epoll));
    for (fd, data) in [(&first, 1), (&second, 2)] {
        sys::write_word(fd, 1).unwrap();
        assert_eq!(take(&again), Some(data));
        std::fs::File::from(entry::copy(fd).unwrap())
            .read_exact(&mut [0; 8])
            .unwrap();
    }
}

#[test]
fn a_target_that_nobody_holds_is_refused() {
    let number = 907;
    let keep = eventfd(0);
    sys::dup_to(&keep, number).unwrap();
    let epoll = set(&[(number, IN, 1)]);
    close(number);
    let mock = MockHost::new();
    let verdict = Epoll::default().dump(&Host::new(&mock, "events"), &file_target(&epoll).unwrap());
    let Verdict::Refused(refusal) = verdict.unwrap() else {
        panic!("it was saved");
    };
    assert!(
        refusal.object.contains(&format!("fd {}", epoll.as_raw_fd())),
        "{}",
        refusal.object
    );
    assert!(refusal.what.contains("number 907"), "{}", refusal.what);
}

#[test]
fn a_used_up_target_stays_used_up() {
    let mock = host(&[]);
    let (ready, (read, write)) = (eventfd(1), pipe());
    let epoll = set(&[(ready.as_raw_fd(), IN | ONCE, 1)]);
    assert_eq!(take(&epoll), Some(1));
    sys::epoll_ctl(&epoll, libc::EPOLL_CTL_ADD, read.as_raw_fd(), IN | ONCE, 2).unwrap();
    nix::unistd::write(&write, b"x").unwrap();
    assert_eq!(take(&epoll), Some(2));
    nix::unistd::read(&read, &mut [0]).unwrap();
    let live = eventfd(1);
    sys::epoll_ctl(&epoll, libc::EPOLL_CTL_ADD, live.as_raw_fd(), IN | EDGE, 3).unwrap();
    let records = dump(&Epoll::default(), &mock, &[&epoll]);
    let again = back(&mock, &records).unwrap();
    let armed: Vec<_> = targets(&again)
        .into_iter()
        .filter(|t| t.contains(" events: 40000000"))
        .collect();
    assert_eq!(
        armed.len(),
        1,
        "the one that was ready for something: {:?}",
        targets(&again)
    );
    sys::write_word(&ready, 1).unwrap();
    nix::unistd::write(&write, b"x").unwrap();
    assert_eq!(take(&again), Some(3));
    assert_eq!(take(&again), None);
}

#[test]
fn many_targets_are_looked_at_at_once() {
    let mock = host(&[]);
    let pairs: Vec<_> = (0..70).map(|_| UnixStream::pair().unwrap()).collect();
    let numbers: Vec<_> = (0..)
        .zip(pairs.iter().flat_map(|(a, b)| [a, b]))
        .map(|(data, socket)| (socket.as_raw_fd(), IN, data))
        .collect();
    let epoll = set(&numbers);
    let records = dump(&Epoll::default(), &mock, &[&epoll]);
    assert_eq!(mock.images(), Vec::<String>::new());
    let again = back(&mock, &records).unwrap();
    assert_eq!(targets(&again), targets(&epoll));
}

#[test]
fn what_stands_at_a_number_is_told_without_a_change() {
    let (inside, outside) = (eventfd(0), eventfd(0));
    let epoll = set(&[(inside.as_raw_fd(), IN, 1)]);
    let before = targets(&epoll);
    let numbers = [inside.as_raw_fd(), outside.as_raw_fd(), 5000];
    let stand = sys::stand_at_numbers(me(), &epoll, &numbers).unwrap();
    assert_eq!(stand, [true, false, false]);
    assert_eq!(targets(&epoll), before);
}

#[test]
fn the_task_with_the_numbers_opens_the_set() {
    let (event, epoll_number) = (eventfd(0), 20);
    let mock = host(&[]);
    let records = dump(&Epoll::default(), &mock, &[&set(&[(event.as_raw_fd(), IN, 1)])]);
    let mut mock = host(&[(epoll_number, 1, FdTypes::Eventpoll as u32)]);
    mock.tasks.push(TaskInfo {
        pid: 77,
        files_id: 2,
        ..TaskInfo::default()
    });
    let mut table = mock.descriptors[&me()].clone();
    table.push(Slot {
        fd: event.as_raw_fd(),
        file_id: 9,
        ..Slot::default()
    });
    mock.descriptors.insert(77, table);
    let plans = Epoll::default()
        .prepare(&Host::new(&mock, "events"), &records)
        .unwrap();
    assert_eq!((plans[0].opener, plans[0].attach), (Some(77), true));
}

#[test]
fn a_target_that_is_not_there_is_named() {
    let mock = host(&[]);
    let number = 908;
    sys::dup_to(eventfd(0), number).unwrap();
    let epoll = set(&[(number, IN, 1)]);
    let records = dump(&Epoll::default(), &mock, &[&epoll]);
    close(number);
    let error = back(&mock, &records).unwrap_err();
    assert!(error.message.contains("target 908"), "{error}");
    let mut bad = entry_of(&records[0]);
    if let Some(epfd) = &mut bad.epfd {
        epfd.tfd[0].tfd = u32::MAX;
    }
    let record = FileRecord {
        entry: prost::Message::encode_to_vec(&bad),
        ..records[0].clone()
    };
    let error = back(&mock, &[record]).unwrap_err();
    assert!(error.message.contains("no descriptor"), "{error}");
    drop(epoll);
}

#[test]
fn edges_that_were_reported_are_not_reported_again() {
    let mock = host(&[]);
    let (event, silent, (read, write)) = (eventfd(3), eventfd(0), pipe());
    let epoll = set(&[
        (event.as_raw_fd(), IN | OUT | EDGE, 1),
        (silent.as_raw_fd(), IN | EDGE, 2),
        (write.as_raw_fd(), OUT | EDGE | EXCLUSIVE, 3),
        (read.as_raw_fd(), IN, 4),
    ]);
    let told = |mock: &MockHost| {
        let edges: Vec<EdgeEntry> = image::read_all(&Host::new(mock, "events"), &EDGES).unwrap();
        let mut told: Vec<_> = edges.iter().map(|edge| edge.told).collect();
        told.sort_unstable();
        told
    };
    // As long as there is something to report it is not known of which.
    let records = dump(&Epoll::default(), &mock, &[&epoll]);
    assert!(told(&mock).is_empty());
    let again = back(&mock, &records).unwrap();
    let mut all = [take(&again), take(&again), take(&again)];
    all.sort_unstable();
    assert_eq!(all, [None, Some(1), Some(3)]);

    assert!(take(&epoll).is_some() && take(&epoll).is_some());
    let records = dump(&Epoll::default(), &mock, &[&epoll]);
    assert_eq!(told(&mock), [OUT, IN | OUT]);
    let again = back(&mock, &records).unwrap();
    assert_eq!(take(&again), None);
    assert_eq!(targets(&again), targets(&epoll));
    // The next edge is reported, and so is what was not at the dump.
    sys::write_word(&event, 1).unwrap();
    assert_eq!(take(&again), Some(1));
    sys::write_word(&silent, 1).unwrap();
    let again = back(&mock, &records).unwrap();
    assert_eq!((take(&again), take(&again)), (Some(2), None));
    drop(read);
}

#[test]
fn edges_that_cannot_be_are_refused() {
    let mock = host(&[]);
    let event = eventfd(0);
    let epoll = set(&[(event.as_raw_fd(), IN, 1)]);
    let records = dump(&Epoll::default(), &mock, &[&epoll]);
    let host = Host::new(&mock, "events");
    let edge = |index, told| EdgeEntry {
        epoll: 1,
        index,
        told,
    };
    for edges in [vec![edge(0, IN)], vec![edge(7, IN)], vec![edge(0, EDGE)]] {
        let mut image = image::create(&host, &EDGES).unwrap();
        for edge in &edges {
            image.entry(edge).unwrap();
        }
        image.finish().unwrap();
        let error = Epoll::default().prepare(&host, &records).unwrap_err();
        assert!(error.message.contains("cannot be: damaged"), "{error}");
    }
}
