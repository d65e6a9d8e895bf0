//! Terminals saved and made again, in one process.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use criu_plugin_api::message::{FileRecord, OpenRequest, Purpose};
use criu_plugin_api::testing::{MockHost, file_target};
use criu_plugin_api::{FileKind, Host, Outcome, Progress, Verdict, image};
use criu_proto::images::{FdTypes, FileEntry, RegFileEntry, TtyDataEntry, TtyInfoEntry, TtyType};
use criu_proto::magic;
use prost::Message;

use crate::sys::{self, Termios, Winsize};
use crate::{Tty, device};

/// Restores need the numbers that others could take: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

struct Pair {
    master: File,
    slave: File,
    index: u32,
}

/// A master whose number is not among the next that others get.
fn master() -> OwnedFd {
    let open = || sys::open_with("/dev/ptmx", libc::O_RDWR).unwrap();
    let _lower: Vec<OwnedFd> = (0..32).map(|_| open()).collect();
    open()
}

impl Pair {
    fn new() -> Self {
        let master = master();
        sys::set_lock(master.as_fd(), false).unwrap();
        let index = sys::pty_index(master.as_fd()).unwrap();
        let slave = sys::open_peer(master.as_fd(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC).unwrap();
        Self {
            master: File::from(master),
            slave: File::from(slave),
            index,
        }
    }

    fn raw(self) -> Self {
        let mut termios = self.termios();
        termios.lflag &= !(libc::ICANON | libc::ECHO | libc::ISIG | libc::IEXTEN);
        termios.iflag = 0;
        termios.oflag = 0;
        sys::set_termios(self.slave.as_fd(), termios).unwrap();
        self
    }

    fn termios(&self) -> Termios {
        sys::termios(self.slave.as_fd()).unwrap()
    }
}

/// One dump and restore.
struct Run {
    host: MockHost,
    kind: Tty,
    records: Vec<FileRecord>,
    _turn: MutexGuard<'static, ()>,
}

impl Run {
    fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            host: MockHost::new(),
            kind: Tty::default(),
            records: Vec::new(),
            _turn: turn,
        }
    }

    fn services(&self) -> Host<'_> {
        Host::new(&self.host, "tty")
    }

    fn verdict(&mut self, file: impl AsFd, rdev: Option<u64>) -> Verdict<()> {
        let mut target = file_target(file).unwrap();
        target.rdev = rdev.unwrap_or(target.rdev);
        target.id = u32::try_from(self.records.len()).unwrap() + 100;
        match self.kind.dump(&self.services(), &target).unwrap() {
            Verdict::Entry(image) => {
                let (id, fd_type) = (target.id, image.fd_type);
                let regf = FileEntry::decode(image.entry.as_slice())
                    .unwrap()
                    .tty
                    .unwrap()
                    .regf_id;
                if let Some(regf) = regf {
                    let reg = RegFileEntry {
                        id: regf,
                        name: target.link,
                        mode: Some(target.mode),
                        ..RegFileEntry::default()
                    };
                    let entry = FileEntry {
                        r#type: FdTypes::Reg as i32,
                        id: regf,
                        reg: Some(reg),
                        ..FileEntry::default()
                    };
                    let record = FileRecord {
                        id: regf,
                        fd_type: 1,
                        entry: entry.encode_to_vec(),
                    };
                    self.host.files.insert(regf, record);
                }
                self.records.push(FileRecord {
                    id,
                    fd_type,
                    entry: image.entry,
                });
                Verdict::Entry(())
            }
            Verdict::NotMine => Verdict::NotMine,
            Verdict::Refused(refusal) => Verdict::Refused(refusal),
        }
    }

    fn save(&mut self, file: impl AsFd) {
        self.save_as(file, None);
    }

    /// Saves it as if its node were that of another device.
    fn save_as(&mut self, file: impl AsFd, rdev: Option<u64>) {
        assert_eq!(self.verdict(file, rdev), Verdict::Entry(()));
    }

    fn finish(&self) -> criu_plugin_api::Result<()> {
        self.kind.finish_dump(&self.services())
    }

    fn infos(&self) -> Vec<TtyInfoEntry> {
        image::read_all(&self.services(), &magic::TTY_INFO).unwrap()
    }

    fn data(&self) -> Vec<(u32, Vec<u8>)> {
        let entries: Vec<TtyDataEntry> = image::read_all(&self.services(), &magic::TTY_DATA).unwrap();
        entries
            .into_iter()
            .map(|entry| (entry.tty_id, entry.data))
            .collect()
    }

    /// The files again, in the order of their dumps.
    fn restore(&self) -> criu_plugin_api::Result<Vec<File>> {
        let services = self.services();
        let plans = self.kind.prepare(&services, &self.records)?;
        let mut opened: HashMap<u32, File> = HashMap::new();
        for record in &self.records {
            if opened.contains_key(&record.id) {
                continue;
            }
            let request = OpenRequest {
                file: record.clone(),
                pid: 1,
                purpose: Purpose::Descriptor as i32,
                flags: None,
            };
            let Progress::Done(fds) = self.kind.open(&services, &request)? else {
                panic!("waits");
            };
            for (id, fd) in
                std::iter::once((record.id, fds.fd)).chain(fds.also.iter().map(|also| (also.id, also.fd)))
            {
                // SAFETY: the descriptor was just opened and handed over.
                opened.insert(id, unsafe { File::from_raw_fd(fd) });
            }
        }
        assert_eq!(plans.len(), self.records.len());
        self.kind.finish_restore(&services, Outcome::Success)?;
        Ok(self
            .records
            .iter()
            .map(|record| opened.remove(&record.id).unwrap())
            .collect())
    }
}

fn nonblocking(file: &File) {
    criu_plugin_api::restore::apply_flags(file, libc::O_NONBLOCK.cast_unsigned()).unwrap();
}

/// What can be read at once, read by read, and an error at the end.
fn reads(file: &File) -> Vec<Vec<u8>> {
    nonblocking(file);
    let mut found = Vec::new();
    loop {
        let mut buffer = [0; 8192];
        // What is on its way arrives by this.
        sys::poll(file.as_fd()).unwrap();
        match (&*file).read(&mut buffer) {
            Ok(length) => found.push(buffer[..length].to_vec()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return found,
            Err(error) => panic!("{error}"),
        }
    }
}

fn write(mut file: &File, bytes: &[u8]) {
    file.write_all(bytes).unwrap();
    // Whatever it does at the other end is done when that one has been asked.
    sys::poll(file.as_fd()).unwrap();
}

#[test]
fn a_pair_comes_back_with_data_in_both_directions() {
    let mut run = Run::new();
    let pair = Pair::new();
    let size = Winsize {
        rows: 33,
        cols: 77,
        xpixel: 5,
        ypixel: 6,
    };
    sys::set_winsize(pair.master.as_fd(), size).unwrap();
    write(&pair.master, b"typed\n");
    sys::poll(pair.slave.as_fd()).unwrap();
    run.save(&pair.master);
    run.save(&pair.slave);
    run.finish().unwrap();

    let infos = run.infos();
    let index = pair.index;
    let facts = |i: usize| {
        (
            infos[i].id,
            infos[i].r#type(),
            infos[i].rdev,
            infos[i].pty.unwrap().index,
        )
    };
    assert_eq!(facts(0), (index << 1 | 1, TtyType::Pty, 1282, index));
    assert_eq!(
        facts(1),
        (
            index << 1,
            TtyType::Pty,
            device::short(libc::makedev(136, index)),
            index
        )
    );
    assert_eq!(infos[0].termios, infos[1].termios);
    assert_eq!(infos[0].termios.as_ref().unwrap().c_cc.len(), 19);
    assert_eq!((infos[0].sid, infos[0].pgrp), (0, 0));
    assert_eq!(
        run.data(),
        [
            (index << 1 | 1, b"typed\r\n".to_vec()),
            (index << 1, b"typed\n".to_vec())
        ]
    );
    let termios = pair.termios();
    // All is there again after the dump.
    assert_eq!(reads(&pair.slave), [b"typed\n"]);
    assert_eq!(reads(&pair.master), [b"typed\r\n"]);
    drop(pair);

    let files = run.restore().unwrap();
    assert_eq!(sys::pty_index(files[0].as_fd()).unwrap(), index);
    assert_eq!(sys::termios(files[1].as_fd()).unwrap(), termios);
    assert_eq!(sys::winsize(files[1].as_fd()).unwrap(), size);
    assert_eq!(reads(&files[1]), [b"typed\n"]);
    assert_eq!(reads(&files[0]), [b"typed\r\n"]);
    write(&files[0], b"x\n");
    assert_eq!(reads(&files[1]), [b"x\n"]);
}

#[test]
fn lines_and_what_is_none_yet_stay_what_they_are() {
    let mut run = Run::new();
    let pair = Pair::new();
    // A line, one ended by ^D, ^D alone, and an unfinished line.
    write(&pair.master, b"one\ntwo\x04\x04part");
    sys::poll(pair.slave.as_fd()).unwrap();
    let echo = b"one\r\ntwopart".to_vec();
    run.save(&pair.slave);
    run.save(&pair.master);
    run.finish().unwrap();
    let index = pair.index;
    assert_eq!(
        run.data(),
        [
            (index << 1 | 1, echo.clone()),
            (index << 1, b"one\ntwo\x04\x04part".to_vec())
        ]
    );

    let lines: [&[u8]; 3] = [b"one\n", b"two", b""];
    let finished: [&[u8]; 1] = [b"partial\n"];
    let check = |slave: &File, master: &File| {
        assert_eq!(reads(slave), lines);
        write(master, b"ial\n");
        assert_eq!(reads(slave), finished);
        assert_eq!(reads(master).concat(), [&echo[..], b"ial\r\n"].concat());
        // The user can still take back what is not finished.
        write(master, b"wrong\x15right\n");
        assert_eq!(reads(slave), [b"right\n"]);
    };
    check(&pair.slave, &pair.master);
    drop(pair);
    let files = run.restore().unwrap();
    check(&files[0], &files[1]);
}

#[test]
fn raw_bytes_pass_unprocessed() {
    let mut run = Run::new();
    let pair = Pair::new().raw();
    let every: Vec<u8> = (0..=255).collect();
    write(&pair.master, &every);
    write(&pair.slave, &every);
    let termios = pair.termios();
    run.save(&pair.master);
    run.save(&pair.slave);
    run.finish().unwrap();
    assert_eq!(pair.termios(), termios);
    assert_eq!(reads(&pair.slave).concat(), every);
    assert_eq!(reads(&pair.master).concat(), every);
    drop(pair);
    let files = run.restore().unwrap();
    assert_eq!(reads(&files[1]).concat(), every);
    assert_eq!(reads(&files[0]).concat(), every);
    assert_eq!(sys::termios(files[1].as_fd()).unwrap(), termios);
}

#[test]
fn suspended_output_is_saved_and_stays_suspended() {
    let mut run = Run::new();
    let pair = Pair::new();
    write(&pair.slave, b"before");
    sys::poll(pair.master.as_fd()).unwrap();
    // ^S
    sys::type_byte(pair.slave.as_fd(), 0x13).unwrap();
    run.save(&pair.master);
    run.save(&pair.slave);
    run.finish().unwrap();
    assert_eq!(run.data(), [(pair.index << 1 | 1, b"before".to_vec())]);
    assert_eq!(reads(&pair.master), [b"before"]);
    nonblocking(&pair.slave);
    assert_eq!(
        (&pair.slave).write(b"x").unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    sys::type_byte(pair.slave.as_fd(), 0x11).unwrap();
    assert_eq!((&pair.slave).write(b"x").unwrap(), 1);
}

#[test]
fn modes_locks_and_flags_come_back() {
    let mut run = Run::new();
    let pair = Pair::new();
    let again = sys::open_peer(
        pair.master.as_fd(),
        libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY,
    )
    .unwrap();
    sys::set_packets(pair.master.as_fd(), true).unwrap();
    write(&pair.slave, b"packet");
    sys::poll(pair.master.as_fd()).unwrap();
    sys::set_exclusive(pair.slave.as_fd()).unwrap();
    sys::set_lock(pair.master.as_fd(), true).unwrap();
    nonblocking(&pair.master);
    run.save(&pair.master);
    run.save(&pair.slave);
    run.save(&again);
    run.finish().unwrap();
    assert!(sys::is_locked(pair.master.as_fd()).unwrap());
    assert_eq!(reads(&pair.master), [b"\0packet"]);
    drop((pair, again));
    let files = run.restore().unwrap();
    let flags =
        |file: &File| file_target(file).unwrap().flags.cast_signed() & (libc::O_ACCMODE | libc::O_NONBLOCK);
    assert_eq!(
        [flags(&files[0]), flags(&files[1]), flags(&files[2])],
        [libc::O_RDWR | libc::O_NONBLOCK, libc::O_RDWR, libc::O_NONBLOCK]
    );
    assert!(sys::has_packets(files[0].as_fd()).unwrap());
    assert!(sys::is_locked(files[0].as_fd()).unwrap());
    assert!(sys::is_exclusive(files[1].as_fd()).unwrap());
    assert!(!sys::is_exclusive(files[0].as_fd()).unwrap());
    assert_eq!(reads(&files[0]), [b"\0packet"]);
}

#[test]
fn masters_alone_tell_closed_slaves_from_unopened_ones() {
    let mut run = Run::new();
    let open = |locked: bool| {
        let master = master();
        sys::set_lock(master.as_fd(), locked).unwrap();
        File::from(master)
    };
    let (locked, fresh, closed) = (open(true), open(false), open(false));
    let slave = File::from(sys::open_peer(closed.as_fd(), libc::O_RDWR | libc::O_NOCTTY).unwrap());
    write(&slave, b"last words");
    drop(slave);
    for master in [&locked, &fresh, &closed] {
        run.save(master);
    }
    run.finish().unwrap();
    drop((locked, fresh, closed));
    let files = run.restore().unwrap();
    assert!(sys::is_locked(files[0].as_fd()).unwrap());
    assert_eq!(sys::poll(files[0].as_fd()).unwrap(), (false, false));
    assert!(!sys::is_locked(files[1].as_fd()).unwrap());
    assert_eq!(sys::poll(files[1].as_fd()).unwrap(), (false, false));
    let mut buffer = [0; 16];
    assert_eq!((&files[2]).read(&mut buffer).unwrap(), 10);
    assert_eq!(
        (&files[2]).read(&mut buffer).unwrap_err().raw_os_error(),
        Some(libc::EIO)
    );
}

#[test]
fn a_slave_whose_master_is_gone_has_hung_up_again() {
    let mut run = Run::new();
    let Pair { master, slave, .. } = Pair::new();
    drop(master);
    run.save(&slave);
    run.finish().unwrap();
    assert_eq!(run.infos()[0].termios, None);
    let files = run.restore().unwrap();
    assert_eq!((&files[0]).read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(
        (&files[0]).write(b"x").unwrap_err().raw_os_error(),
        Some(libc::EIO)
    );
}

#[test]
fn a_terminal_from_outside_needs_an_option() {
    let pair = Pair::new();
    let refused = || {
        let mut run = Run::new();
        run.save(&pair.slave);
        run.finish().unwrap_err()
    };
    let error = refused();
    assert!(
        error.message.contains("whose master is outside of the tree"),
        "{error}"
    );
    let target = file_target(&pair.slave).unwrap();
    let key = device::key(device::short(target.rdev), device::short(target.dev));
    let remedy = error.remedy.unwrap();
    assert!(
        remedy.contains("--shell-job") && remedy.contains(&key),
        "{remedy}"
    );

    let mut run = Run::new();
    run.host.settings.insert("external".to_owned(), vec![key.clone()]);
    run.save(&pair.slave);
    run.finish().unwrap();
    assert_eq!(run.infos()[0].r#type(), TtyType::ExtTty);
    let error = run.restore().unwrap_err();
    assert!(
        error
            .remedy
            .unwrap()
            .contains(&format!("--inherit-fd 'fd[N]:{key}'"))
    );
    let other = Pair::new();
    let copy = OwnedFd::from(other.slave.try_clone().unwrap());
    run.host.inherited.insert(key, copy);
    let files = run.restore().unwrap();
    write(&files[0], b"here");
    assert_eq!(reads(&other.master), [b"here"]);
}

#[test]
fn a_taken_number_is_named() {
    let mut run = Run::new();
    let pair = Pair::new();
    run.save(&pair.master);
    run.save(&pair.slave);
    run.finish().unwrap();
    let error = run.restore().unwrap_err();
    let name = format!("/dev/pts/{}", pair.index);
    assert!(
        error
            .message
            .contains(&format!("{name} is in use: process {}", std::process::id())),
        "{error}"
    );
}

#[test]
fn damage_and_strange_things_are_named() {
    let mut run = Run::new();
    assert_eq!(
        run.verdict(File::open("/dev/null").unwrap(), None),
        Verdict::NotMine
    );
    let pair = Pair::new();
    run.save(&pair.master);
    let error = run.kind.prepare(&run.services(), &run.records).unwrap_err();
    assert!(
        error
            .message
            .contains("file 100: its terminal is not in tty-info.img"),
        "{error}"
    );

    assert!(pair.master.as_raw_fd() >= 0);
}

/// A slave, said to be a serial line: the machine may have none.
#[test]
fn a_serial_line_is_opened_again_by_its_path() {
    let pair = Pair::new();
    let size = Winsize {
        rows: 33,
        cols: 77,
        ..Winsize::default()
    };
    sys::set_winsize(pair.slave.as_fd(), size).unwrap();
    let termios = pair.termios();
    for (major, minor) in [(4, 64), (166, 0), (188, 0), (204, 64), (229, 0)] {
        let mut run = Run::new();
        run.save_as(&pair.slave, Some(libc::makedev(major, minor)));
        run.finish().unwrap();
        let info = &run.infos()[0];
        let rdev = device::short(libc::makedev(major, minor));
        assert_eq!((info.r#type(), info.rdev), (TtyType::Serial, rdev));
        assert!(info.pty.is_none() && info.termios.is_some());
        assert_eq!(info.winsize.unwrap().ws_row, 33);
        // What stands at the path is another device.
        let error = run.restore().unwrap_err();
        assert!(
            error.message.contains(&format!("was device {rdev:#x}")),
            "{error}"
        );

        // As a set of another writer has it, of the device at hand.
        let slave = TtyInfoEntry {
            rdev: device::short(file_target(&pair.slave).unwrap().rdev),
            ..info.clone()
        };
        let mut image = image::create(&run.services(), &magic::TTY_INFO).unwrap();
        image.entry(&slave).unwrap();
        image.finish().unwrap();
        let mut other = termios;
        other.cc[libc::VINTR] = 7;
        sys::set_termios(pair.slave.as_fd(), other).unwrap();
        sys::set_winsize(pair.slave.as_fd(), Winsize::default()).unwrap();
        let files = run.restore().unwrap();
        assert_eq!(sys::termios(files[0].as_fd()).unwrap(), termios);
        assert_eq!(sys::winsize(files[0].as_fd()).unwrap(), size);
    }
}
