//! timerfd_create(2): `timerfd_entry`.
//!
//! Images hold the time that was left, also of a timer that was set to a point in time (`TFD_TIMER_ABSTIME`). Points on
//! the clock of the world, `CLOCK_REALTIME`, stay what they are: they are in `timerfd-points.img` as well. On the others,
//! which begin anew with each boot of each machine, the time between the dump and the restore does not count.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use criu_plugin_api::image::{self, ImageKind};
use criu_plugin_api::message::{FileImage, FilePlan, FileRecord, FileTarget, OpenRequest};
use criu_plugin_api::restore::fown_decode;
use criu_plugin_api::{Context, Error, FileKind, Host, Opened, Progress, Refusal, Result, Verdict};
use criu_proto::images::{FdTypes, FileEntry, TimerfdEntry};

use crate::fdinfo::FdInfo;
use crate::{entry, sys};

/// Of `timerfd_settime`; the libc crate lacks the second.
const TFD_TIMER_ABSTIME: u32 = 1;
const TFD_TIMER_CANCEL_ON_SET: u32 = 2;

const SECOND: i64 = 1_000_000_000;
/// How long to wait for a timer that is due, in milliseconds.
const DUE: i32 = 10_000;
/// How long to look whether a timer is due that may as well be disarmed, in milliseconds.
const MAYBE_DUE: i32 = 10;

static POINTS: ImageKind = image::own_kind("TIMERFD_POINTS", "timerfd-points.img", 0x5446_5054);

/// When a timer is to expire next.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct PointEntry {
    /// The file id of the timer.
    #[prost(uint32, tag = "1")]
    id: u32,
    /// Seconds and nanoseconds on its clock.
    #[prost(uint64, tag = "2")]
    seconds: u64,
    #[prost(uint64, tag = "3")]
    nanoseconds: u64,
}

/// The kind `timerfd`.
#[derive(Default)]
pub struct Timerfd {
    /// Those of a dump.
    points: RefCell<Vec<PointEntry>>,
    /// Those of a restore, by file id.
    known: RefCell<HashMap<u32, libc::timespec>>,
}

impl FileKind for Timerfd {
    fn dump(&self, _: &Host<'_>, file: &FileTarget) -> Result<Verdict<FileImage>> {
        let fd = entry::local(file);
        let what = || entry::object(file);
        // Of a timer that has expired several times since it was read the kernel has counted one.
        sys::timerfd_catch_up(fd).context(what)?;
        let mut tfd = read(file)?;
        if (tfd.vsec, tfd.vnsec, tfd.ticks) == (0, 0, 0) {
            // Disarmed, or expiring right now.
            let periodic = (tfd.isec, tfd.insec) != (0, 0);
            sys::readable_within(fd, if periodic { MAYBE_DUE } else { 0 }).context(what)?;
            sys::timerfd_catch_up(fd).context(what)?;
            tfd = read(file)?;
        }
        if is_cancelled(&tfd) {
            return Ok(Verdict::Refused(Refusal {
                object: entry::object(file),
                what: "it was cancelled by a change of the clock (TFD_TIMER_CANCEL_ON_SET), and nobody has been told yet: \
                       only another change of the clock could bring that back"
                    .to_owned(),
                remedy: Some("let the program read it (ECANCELED) first".to_owned()),
            }));
        }
        if has_point(&tfd) {
            let point = plus(clock(&tfd).context(what)?, time(tfd.vsec, tfd.vnsec));
            self.points.borrow_mut().push(PointEntry {
                id: file.id,
                seconds: point.tv_sec.unsigned_abs(),
                nanoseconds: point.tv_nsec.unsigned_abs(),
            });
        }
        Ok(entry::saved(
            FdTypes::Timerfd,
            FileEntry {
                id: file.id,
                tfd: Some(tfd),
                ..FileEntry::default()
            },
        ))
    }

    fn finish_dump(&self, host: &Host<'_>) -> Result<()> {
        let points = self.points.take();
        if points.is_empty() {
            return Ok(());
        }
        let mut image = image::create(host, &POINTS)?;
        for point in &points {
            image.entry(point)?;
        }
        image.finish()?;
        Ok(())
    }

    fn prepare(&self, host: &Host<'_>, files: &[FileRecord]) -> Result<Vec<FilePlan>> {
        let mut points = HashMap::new();
        for point in image::read_all::<PointEntry>(host, &POINTS)? {
            let is_time = i64::try_from(point.seconds).is_ok() && point.nanoseconds < SECOND.cast_unsigned();
            let at = time(point.seconds, point.nanoseconds);
            if !is_time || points.insert(point.id, at).is_some() {
                let file = POINTS.file_name(0);
                let error = format!(
                    "{file}: the point in time of file {} cannot be: damaged",
                    point.id
                );
                return Err(Error::new(error));
            }
        }
        for file in files {
            let tfd = timerfd(file)?;
            if !has_point(&tfd) && points.contains_key(&file.id) {
                return Err(entry::damaged(file.id, "it does not wait for a point in time"));
            }
            let known = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
            if tfd.settime_flags & !known != 0 {
                let what = format!(
                    "its flags of timerfd_settime {:#x} are not known",
                    tfd.settime_flags
                );
                return Err(entry::damaged(file.id, what));
            }
            for (seconds, nanoseconds) in [(tfd.vsec, tfd.vnsec), (tfd.isec, tfd.insec)] {
                if i64::try_from(seconds).is_err() || nanoseconds >= SECOND.cast_unsigned() {
                    let what = format!("{seconds} s {nanoseconds} ns is not a time");
                    return Err(entry::damaged(file.id, what));
                }
            }
        }
        *self.known.borrow_mut() = points;
        Ok(Vec::new())
    }

    fn open(&self, _host: &Host<'_>, request: &OpenRequest) -> Result<Progress<Opened>> {
        let tfd = timerfd(&request.file)?;
        let what = || format!("restoring timerfd {} of clock {}", tfd.id, tfd.clockid);
        let fd = sys::timerfd_create(tfd.clockid.cast_signed()).context(what)?;
        let point = self.known.borrow().get(&request.file.id).copied();
        set(&fd, &tfd, point).context(what)?;
        let fd = entry::complete(fd, tfd.id, tfd.flags, &tfd.fown)?;
        Ok(Progress::Done(Opened::one(fd)))
    }
}

/// Whether the clock has been set and nobody has read that yet. It counts as an expiration; of a timer without a period
/// that is still to expire it is the only one there can be. With a period the two cannot be told apart.
fn is_cancelled(tfd: &TimerfdEntry) -> bool {
    let both = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
    tfd.settime_flags & both == both
        && tfd.ticks > 0
        && (tfd.isec, tfd.insec) == (0, 0)
        && (tfd.vsec, tfd.vnsec) != (0, 0)
}

/// Whether it waits for a point in time that is the same everywhere and always.
fn has_point(tfd: &TimerfdEntry) -> bool {
    let clock = tfd.clockid.cast_signed();
    tfd.settime_flags & TFD_TIMER_ABSTIME != 0
        && (tfd.vsec, tfd.vnsec) != (0, 0)
        && matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_ALARM)
}

fn timerfd(file: &FileRecord) -> Result<TimerfdEntry> {
    entry::of(file, |entry| entry.tfd)
}

fn read(file: &FileTarget) -> Result<TimerfdEntry> {
    let info = FdInfo::read_now(file)?;
    let word = |name, radix| {
        let number = info.number(name, radix)?;
        u32::try_from(number).map_err(|_| info.unknown(name, &number.to_string()))
    };
    let (vsec, vnsec) = info.time("it_value")?;
    let (isec, insec) = info.time("it_interval")?;
    Ok(TimerfdEntry {
        id: file.id,
        flags: file.flags,
        fown: fown_decode(&file.fown)?,
        clockid: word("clockid", 10)?,
        ticks: info.number("ticks", 10)?,
        settime_flags: word("settime flags", 8)?,
        vsec,
        vnsec,
        isec,
        insec,
    })
}

/// A time of the entry, which `prepare` has checked.
fn time(seconds: u64, nanoseconds: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    }
}

fn plus(a: libc::timespec, b: libc::timespec) -> libc::timespec {
    let nanoseconds = a.tv_nsec + b.tv_nsec;
    libc::timespec {
        tv_sec: a
            .tv_sec
            .saturating_add(b.tv_sec)
            .saturating_add(nanoseconds / SECOND),
        tv_nsec: nanoseconds % SECOND,
    }
}

fn is_less(a: libc::timespec, b: libc::timespec) -> bool {
    (a.tv_sec, a.tv_nsec) < (b.tv_sec, b.tv_nsec)
}

/// Sets the timer of a fresh descriptor and the expirations that were not read. `point` is when it expires next, if that
/// does not follow from the time that is left.
fn set(fd: &OwnedFd, tfd: &TimerfdEntry, point: Option<libc::timespec>) -> Result<()> {
    let none = time(0, 0);
    let value = time(tfd.vsec, tfd.vnsec);
    let interval = time(tfd.isec, tfd.insec);
    let has_value = (tfd.vsec, tfd.vnsec) != (0, 0);
    let has_interval = (tfd.isec, tfd.insec) != (0, 0);
    if let Some(point) = point {
        return set_to_point(fd, tfd, point, interval);
    }
    if has_value && tfd.ticks > 0 {
        return set_with_ticks(fd, tfd, value, interval);
    }
    if has_value {
        arm(fd, tfd, value, interval)?;
    } else if has_interval && tfd.ticks > 0 {
        // It has expired, and goes on counting when it is read.
        arm(fd, tfd, time(0, 1), interval)?;
        if !sys::readable_within(fd, DUE).context(|| "waiting for it to expire")? {
            return Err(Error::new(format!("it did not expire within {DUE} ms")));
        }
    } else if has_interval || tfd.settime_flags != 0 {
        let flags = tfd.settime_flags.cast_signed();
        sys::timerfd_settime(fd, flags, none, interval).context(|| "disarming it")?;
    }
    if tfd.ticks > 0 {
        set_ticks(fd, tfd)?;
    }
    Ok(())
}

/// Arms the timer and sets its expirations. Arming forgets those, and setting them forgets one that comes
/// in between; so if it took long enough for that, it is done again with more time left.
fn set_with_ticks(
    fd: &OwnedFd,
    tfd: &TimerfdEntry,
    left: libc::timespec,
    interval: libc::timespec,
) -> Result<()> {
    let mut left = left;
    for milliseconds in [1, 10, 100, 1000, 10_000] {
        let begin = clock(tfd)?;
        arm(fd, tfd, left, interval)?;
        set_ticks(fd, tfd)?;
        if is_less(clock(tfd)?, plus(begin, left)) {
            return Ok(());
        }
        left = plus(left, time(0, milliseconds * 1_000_000));
    }
    Err(Error::new(
        "it expired each time before its expirations could be set",
    ))
}

/// Arms the timer for a point in time, which may have passed, and sets its expirations. Those forget one that has come
/// by then, so it is counted with them.
fn set_to_point(
    fd: &OwnedFd,
    tfd: &TimerfdEntry,
    point: libc::timespec,
    interval: libc::timespec,
) -> Result<()> {
    let arm = || {
        sys::timerfd_settime(fd, tfd.settime_flags.cast_signed(), point, interval)
            .context(|| format!("setting it to {} s {} ns", point.tv_sec, point.tv_nsec))
    };
    arm()?;
    if tfd.ticks == 0 {
        return Ok(());
    }
    if is_less(clock(tfd)?, point) {
        set_ticks(fd, tfd)?;
        if is_less(clock(tfd)?, point) {
            return Ok(());
        }
        // It may have come before or after that.
        arm()?;
    }
    if !sys::readable_within(fd, DUE).context(|| "waiting for it to expire")? {
        return Err(Error::new(format!("it did not expire within {DUE} ms")));
    }
    let ticks = tfd.ticks.saturating_add(1);
    set_ticks(fd, &TimerfdEntry { ticks, ..*tfd })
}

fn set_ticks(fd: &OwnedFd, tfd: &TimerfdEntry) -> Result<()> {
    sys::timerfd_set_ticks(fd, tfd.ticks).context(|| format!("setting its {} expirations", tfd.ticks))
}

/// The time on the clock of a timer. The clocks that wake a machine show the same as those that do not,
/// but cannot be read on every machine.
fn clock(tfd: &TimerfdEntry) -> Result<libc::timespec> {
    let clock = match tfd.clockid.cast_signed() {
        libc::CLOCK_REALTIME_ALARM => libc::CLOCK_REALTIME,
        libc::CLOCK_BOOTTIME_ALARM => libc::CLOCK_BOOTTIME,
        other => other,
    };
    sys::now(clock).context(|| format!("reading clock {clock}"))
}

fn arm(fd: impl AsFd, tfd: &TimerfdEntry, left: libc::timespec, interval: libc::timespec) -> Result<()> {
    let value = if tfd.settime_flags & TFD_TIMER_ABSTIME == 0 {
        left
    } else {
        plus(clock(tfd)?, left)
    };
    sys::timerfd_settime(fd, tfd.settime_flags.cast_signed(), value, interval)
        .context(|| format!("setting it to {} s {} ns from now", left.tv_sec, left.tv_nsec))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use criu_plugin_api::testing::MockHost;

    use super::*;
    use crate::testing::{dump, entry_of, restore};

    fn timer(clock: i32, flags: u32, value: (u64, u64), interval: (u64, u64)) -> OwnedFd {
        let fd = sys::timerfd_create(clock).unwrap();
        let value = time(value.0, value.1);
        sys::timerfd_settime(&fd, flags.cast_signed(), value, time(interval.0, interval.1)).unwrap();
        fd
    }

    /// Saves a timer, restores it, and saves what came of it.
    fn round(fd: &OwnedFd) -> (TimerfdEntry, TimerfdEntry, File) {
        let mock = MockHost::new();
        let records = dump(&Timerfd::default(), &mock, &[fd]);
        let mut opened = restore(&Timerfd::default(), &mock, &records).unwrap();
        let again = dump(&Timerfd::default(), &mock, &[&opened[0]]);
        let entries = [&records[0], &again[0]].map(|record| entry_of(record).tfd.unwrap());
        let [before, after] = entries;
        (before, after, opened.remove(0))
    }

    fn ticks(file: &mut File) -> u64 {
        let mut word = [0; 8];
        file.read_exact(&mut word).unwrap();
        u64::from_ne_bytes(word)
    }

    fn about(entry: &TimerfdEntry, seconds: u64) -> bool {
        entry.vsec <= seconds && entry.vsec + 60 > seconds
    }

    #[test]
    fn what_is_left_and_the_interval_come_back() {
        for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME] {
            let (before, after, _) = round(&timer(clock, 0, (1000, 0), (10, 5)));
            assert_eq!((before.flags, before.clockid), (2, clock.cast_unsigned()));
            assert!(about(&before, 1000) && about(&after, 1000), "{after:?}");
            assert_eq!((after.isec, after.insec), (10, 5));
            assert_eq!((after.ticks, after.settime_flags), (0, 0));
        }
    }

    #[test]
    fn a_point_in_time_stays_one() {
        let now = sys::now(libc::CLOCK_REALTIME).unwrap();
        let at = now.tv_sec.cast_unsigned() + 5000;
        let flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
        let (before, after, _) = round(&timer(libc::CLOCK_REALTIME, flags, (at, 0), (0, 0)));
        assert!(about(&before, 5000) && about(&after, 5000), "{after:?}");
        assert_eq!(after.settime_flags, flags);
    }

    #[test]
    fn one_that_was_cancelled_is_told_from_one_that_expired() {
        let cancelled = TimerfdEntry {
            settime_flags: TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET,
            ticks: 1,
            vsec: 100,
            ..TimerfdEntry::default()
        };
        assert!(is_cancelled(&cancelled));
        for other in [
            TimerfdEntry {
                ticks: 0,
                ..cancelled
            },
            TimerfdEntry { vsec: 0, ..cancelled },
            TimerfdEntry { isec: 1, ..cancelled },
            TimerfdEntry {
                settime_flags: TFD_TIMER_ABSTIME,
                ..cancelled
            },
        ] {
            assert!(!is_cancelled(&other), "{other:?}");
        }
    }

    #[test]
    fn a_timer_that_was_never_set_stays_so() {
        let (before, after, _) = round(&sys::timerfd_create(libc::CLOCK_MONOTONIC).unwrap());
        assert_eq!(before, after);
        // Disarmed, yet with an interval and flags.
        let (before, after, _) = round(&timer(libc::CLOCK_MONOTONIC, TFD_TIMER_ABSTIME, (0, 0), (7, 0)));
        assert_eq!((before.vsec, before.isec, before.settime_flags), (0, 7, 1));
        assert_eq!(before, after);
    }

    #[test]
    fn expirations_that_were_not_read_come_back() {
        let once = timer(libc::CLOCK_MONOTONIC, 0, (0, 1), (0, 0));
        let then_long = timer(libc::CLOCK_MONOTONIC, 0, (0, 1), (1000, 0));
        for fd in [&once, &then_long] {
            assert!(sys::readable_within(fd, DUE).unwrap());
        }
        let (before, after, mut file) = round(&once);
        assert_eq!((before.ticks, before.vsec, before.vnsec), (1, 0, 0));
        assert_eq!(before, after);
        assert_eq!(ticks(&mut file), 1);
        let (before, after, mut file) = round(&then_long);
        assert_eq!((before.ticks, after.ticks), (1, 1));
        assert!(about(&after, 1000));
        assert_eq!(ticks(&mut file), 1);
    }

    #[test]
    fn each_expiration_of_a_fast_timer_is_counted() {
        let fd = timer(libc::CLOCK_MONOTONIC, 0, (0, 1_000_000), (0, 1_000_000));
        let begin = std::time::Instant::now();
        while begin.elapsed().as_millis() < 20 {
            std::hint::spin_loop();
        }
        let (before, _, mut file) = round(&fd);
        assert!(before.ticks >= 20, "{}", before.ticks);
        assert!(ticks(&mut file) >= before.ticks);
        assert!(ticks(&mut file) >= 1, "it goes on");
    }

    #[test]
    fn an_expired_periodic_timer_of_another_writer_goes_on() {
        let mock = MockHost::new();
        let record = FileRecord {
            id: 1,
            fd_type: FdTypes::Timerfd as u32,
            entry: prost::Message::encode_to_vec(&FileEntry {
                r#type: FdTypes::Timerfd as i32,
                id: 1,
                tfd: Some(TimerfdEntry {
                    id: 1,
                    clockid: 1,
                    ticks: 3,
                    insec: 1_000_000,
                    ..TimerfdEntry::default()
                }),
                ..FileEntry::default()
            }),
        };
        let mut opened = restore(&Timerfd::default(), &mock, &[record]).unwrap();
        assert!(ticks(&mut opened[0]) >= 3);
        assert!(ticks(&mut opened[0]) >= 1);
    }

    #[test]
    fn what_is_no_time_is_refused_early() {
        let bad = |entry: TimerfdEntry| {
            let record = FileRecord {
                id: 1,
                fd_type: FdTypes::Timerfd as u32,
                entry: prost::Message::encode_to_vec(&FileEntry {
                    tfd: Some(entry),
                    ..FileEntry::default()
                }),
            };
            let host = MockHost::new();
            let error = Timerfd::default().prepare(&Host::new(&host, "events"), &[record]);
            error.unwrap_err().message
        };
        let base = TimerfdEntry::default();
        let nanoseconds = TimerfdEntry {
            vnsec: 1_000_000_000,
            ..base
        };
        assert!(bad(nanoseconds).contains("is not a time"));
        assert!(
            bad(TimerfdEntry {
                isec: u64::MAX,
                ..base
            })
            .contains("is not a time")
        );
        assert!(
            bad(TimerfdEntry {
                settime_flags: 4,
                ..base
            })
            .contains("not known")
        );
    }

    /// Saves a timer, has its point in time moved by some seconds, and restores it.
    fn moved(fd: &OwnedFd, seconds: i64) -> File {
        let mock = MockHost::new();
        let records = dump(&Timerfd::default(), &mock, &[fd]);
        let host = Host::new(&mock, "events");
        let mut points: Vec<PointEntry> = image::read_all(&host, &POINTS).unwrap();
        points[0].seconds = points[0].seconds.checked_add_signed(seconds).unwrap();
        let mut image = image::create(&host, &POINTS).unwrap();
        image.entry(&points[0]).unwrap();
        image.finish().unwrap();
        restore(&Timerfd::default(), &mock, &records).unwrap().remove(0)
    }

    #[test]
    fn a_point_in_time_is_what_counts() {
        let now = sys::now(libc::CLOCK_REALTIME).unwrap().tv_sec.cast_unsigned();
        let absolute = |at, interval| timer(libc::CLOCK_REALTIME, TFD_TIMER_ABSTIME, (at, 0), (interval, 0));
        let left = |file: &File| {
            entry_of(&dump(&Timerfd::default(), &MockHost::new(), &[file])[0])
                .tfd
                .unwrap()
        };
        // As if 3000 seconds had gone by.
        assert!(about(&left(&moved(&absolute(now + 5000, 0), -3000)), 2000));
        assert_eq!(ticks(&mut moved(&absolute(now + 5000, 0), -6000)), 1);
        // One has been counted, and more come.
        let expired = absolute(now - 1, 5000);
        assert!(sys::readable_within(&expired, DUE).unwrap());
        assert_eq!(ticks(&mut moved(&expired, -12_000)), 3);
        assert_eq!(ticks(&mut moved(&expired, 0)), 1);
        let mut later = moved(&expired, -2000);
        assert!(about(&left(&later), 2999));
        assert_eq!(ticks(&mut later), 1);
    }

    #[test]
    fn points_that_cannot_be_are_refused() {
        let mock = MockHost::new();
        let host = Host::new(&mock, "events");
        let records = dump(
            &Timerfd::default(),
            &mock,
            &[&timer(
                libc::CLOCK_MONOTONIC,
                TFD_TIMER_ABSTIME,
                (1 << 40, 0),
                (0, 0),
            )],
        );
        let point = |id, seconds, nanoseconds| PointEntry {
            id,
            seconds,
            nanoseconds,
        };
        for points in [
            vec![point(1, 5, 0)],
            vec![point(1, u64::MAX, 0)],
            vec![point(2, 5, 1_000_000_000)],
            vec![point(2, 5, 0), point(2, 5, 0)],
        ] {
            let mut image = image::create(&host, &POINTS).unwrap();
            for point in &points {
                image.entry(point).unwrap();
            }
            image.finish().unwrap();
            assert!(Timerfd::default().prepare(&host, &records).is_err(), "{points:?}");
        }
    }
}
