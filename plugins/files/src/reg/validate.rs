//! Checks before a restore that the files are still those that were dumped.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use criu_plugin_api::{Context, Error, Result};
use criu_proto::images::RegFileEntry;
use nix::errno::Errno;
use nix::sys::stat::{FileStat, lstat, stat};

use super::build_id;
use super::name::path_of;
use super::settings::Settings;
use crate::sys;

/// The permission bits that `--skip-file-rwx-check` leaves out.
const RWX: u32 = 0o777;

/// The checks, with what they have seen: many entries may name one path.
#[derive(Default)]
pub(super) struct Validator {
    stats: HashMap<PathBuf, FileStat>,
    build_ids: HashMap<PathBuf, Vec<u32>>,
}

impl Validator {
    /// Checks the file at `path` against what was saved of it.
    pub(super) fn check(&mut self, entry: &RegFileEntry, path: &Path, settings: &Settings) -> Result<()> {
        let is_link = entry.mode.is_some_and(|m| m & libc::S_IFMT == libc::S_IFLNK);
        let stat = self
            .stat(path, is_link)
            .context(|| format!("file {}", path.display()))?;
        if let Some(mode) = entry.mode {
            check_mode(entry, mode, stat.st_mode, settings.skip_rwx)?;
        }
        let here = stat.st_size.unsigned_abs();
        if let Some(saved) = entry.size
            && saved != here
        {
            return Err(Error::new(format!(
                "file {} has changed: saved size {saved}, here {here} bytes",
                path_of(&entry.name).display()
            )));
        }
        if settings.build_id && !entry.build_id.is_empty() {
            self.check_build_id(entry, path)?;
        }
        Ok(())
    }

    fn stat(&mut self, path: &Path, is_link: bool) -> Result<FileStat> {
        if let Some(known) = self.stats.get(path) {
            return Ok(*known);
        }
        let found = if is_link { lstat(path) } else { stat(path) };
        let found = found.map_err(|errno| match errno {
            Errno::ENOENT => Error::new("it does not exist here").with_remedy("copy it to this path"),
            other => Error::new(other.desc()),
        })?;
        self.stats.insert(path.to_path_buf(), found);
        Ok(found)
    }

    fn check_build_id(&mut self, entry: &RegFileEntry, path: &Path) -> Result<()> {
        if !self.build_ids.contains_key(path) {
            let what = || format!("reading the build-id of {}", path.display());
            let file = sys::open_with(path, libc::O_RDONLY | libc::O_NONBLOCK).context(what)?;
            self.build_ids
                .insert(path.to_path_buf(), build_id::read(&file.into()).context(what)?);
        }
        let here = &self.build_ids[path];
        if *here == entry.build_id {
            return Ok(());
        }
        Err(Error::new(format!(
            "file {} has changed: saved build-id {}, here {}",
            path_of(&entry.name).display(),
            hex(&entry.build_id),
            hex(here)
        ))
        .with_remedy("install the version that was dumped, or use --file-validation filesize"))
    }
}

fn check_mode(entry: &RegFileEntry, saved: u32, here: u32, skip_rwx: bool) -> Result<()> {
    let format = |mode: u32| mode & libc::S_IFMT;
    if format(saved) != format(here) {
        return Err(Error::new(format!(
            "file {} has changed: saved as a {}, here it is a {}",
            path_of(&entry.name).display(),
            type_name(saved),
            type_name(here)
        )));
    }
    let ignored = if skip_rwx { RWX } else { 0 };
    if (saved ^ here) & 0o7777 & !ignored == 0 {
        return Ok(());
    }
    let error = Error::new(format!(
        "file {} has changed: saved mode {:04o}, here {:04o}",
        path_of(&entry.name).display(),
        saved & 0o7777,
        here & 0o7777
    ));
    Err(error.with_remedy("--skip-file-rwx-check leaves the permissions out"))
}

fn type_name(mode: u32) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFREG => "regular file",
        libc::S_IFDIR => "directory",
        libc::S_IFLNK => "symbolic link",
        libc::S_IFCHR => "character device",
        libc::S_IFBLK => "block device",
        libc::S_IFIFO => "fifo",
        libc::S_IFSOCK => "socket",
        _ => "file of an unknown type",
    }
}

fn hex(build_id: &[u32]) -> String {
    if build_id.is_empty() {
        return "none".to_owned();
    }
    build_id
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use std::os::unix::fs::MetadataExt;

    fn entry(dir: &Scratch, name: &str) -> RegFileEntry {
        let meta = std::fs::metadata(dir.path(name)).unwrap();
        RegFileEntry {
            name: dir.path(name).into_os_string().into_encoded_bytes(),
            size: Some(meta.size()),
            mode: Some(meta.mode()),
            ..RegFileEntry::default()
        }
    }

    fn check(entry: &RegFileEntry, settings: &Settings) -> Result<()> {
        Validator::default().check(entry, path_of(&entry.name), settings)
    }

    #[test]
    fn an_unchanged_file_passes_and_each_change_is_named() {
        let dir = Scratch::new();
        dir.file("f", b"12345");
        let saved = entry(&dir, "f");
        let settings = Settings::default();
        assert_eq!(check(&saved, &settings), Ok(()));

        let shorter = RegFileEntry {
            size: Some(4),
            ..saved.clone()
        };
        let error = check(&shorter, &settings).unwrap_err();
        assert!(error.message.contains("saved size 4, here 5"), "{error}");

        let mode = RegFileEntry {
            mode: Some(libc::S_IFREG | 0o7),
            ..saved.clone()
        };
        let error = check(&mode, &settings).unwrap_err();
        assert!(error.message.contains("saved mode 0007"), "{error}");
        assert_eq!(
            check(
                &mode,
                &Settings {
                    skip_rwx: true,
                    ..settings.clone()
                }
            ),
            Ok(())
        );

        let kind = RegFileEntry {
            mode: Some(libc::S_IFDIR | 0o7),
            ..saved.clone()
        };
        let error = check(
            &kind,
            &Settings {
                skip_rwx: true,
                ..settings.clone()
            },
        )
        .unwrap_err();
        assert!(
            error
                .message
                .contains("saved as a directory, here it is a regular file"),
            "{error}"
        );

        dir.remove("f");
        let error = check(&saved, &settings).unwrap_err();
        assert!(
            error.message.contains(dir.path("f").to_str().unwrap())
                && error.message.contains("does not exist"),
            "{error}"
        );
    }

    #[test]
    fn a_lost_build_id_is_noticed_unless_sizes_suffice() {
        let dir = Scratch::new();
        dir.file("f", b"no elf");
        let saved = RegFileEntry {
            build_id: vec![1, 2],
            ..entry(&dir, "f")
        };
        assert_eq!(check(&saved, &Settings::default()), Ok(()));
        let error = check(
            &saved,
            &Settings {
                build_id: true,
                ..Settings::default()
            },
        )
        .unwrap_err();
        assert!(
            error
                .message
                .contains("saved build-id 0100000002000000, here none"),
            "{error}"
        );
    }
}
