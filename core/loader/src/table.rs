//! Which kind serves what, decided once from the claims.

use std::collections::{BTreeMap, HashMap};

use criu_plugin_api::{Claim, EXT, Point, Purpose, Stage};

use crate::error::{Claimant, LoadError, RefusedBecause};
use crate::loader::{KindId, KindInfo};

/// A file whose kind is asked for. What costs a system call is a closure, called when a claim needs it.
pub struct FileQuery<'a> {
    /// What readlink(2) of `/proc/PID/fd/N` says.
    pub link: &'a [u8],
    /// `st_mode`.
    pub mode: u32,
    /// `st_rdev`.
    pub rdev: u64,
    /// Family, type and protocol of a socket.
    pub socket: &'a dyn Fn() -> Option<[u32; 3]>,
    /// `f_type` of statfs(2).
    pub fs_magic: &'a dyn Fn() -> Option<u64>,
    /// Why the file is looked at: the claims of paths serve `Exe`, `Cwd`, `Root` and `Path`, and all
    /// others the rest; those of links serve `Exe` too.
    pub purpose: Purpose,
}

/// Which kind serves what.
#[derive(Debug, Default)]
pub struct ClaimTable {
    files: Vec<(Claim, KindId)>,
    by_sort: BySort,
    mappings: Vec<(Claim, KindId)>,
    statuses: HashMap<u32, KindId>,
    flags: BTreeMap<String, KindId>,
    images: HashMap<u32, KindId>,
    ext: Vec<(String, KindId)>,
    tasks: Vec<KindId>,
    stages: Vec<(Stage, KindId)>,
    features: Vec<(String, KindId)>,
}

impl ClaimTable {
    /// Builds the table; the kinds come in the order of their ids.
    pub(crate) fn new(kinds: &[KindInfo]) -> Result<Self, LoadError> {
        let mut all: Vec<(&Claim, usize)> = Vec::new();
        for (at, kind) in kinds.iter().enumerate() {
            all.extend(kind.claims.iter().map(|claim| (claim, at)));
        }
        // The sort is stable, and kinds are in the order of their plugins' and their own names.
        all.sort_by_key(|(claim, _)| std::cmp::Reverse(claim.specificity()));
        find_conflict(&all, kinds)?;
        let mut table = Self::default();
        for (claim, at) in all {
            table.add(claim, kinds[at].id);
        }
        table.by_sort = BySort::new(&table.files);
        Ok(table)
    }

    fn add(&mut self, claim: &Claim, id: KindId) {
        match claim {
            Claim::Link(_)
            | Claim::LinkPrefix(_)
            | Claim::Char(_)
            | Claim::Block(_)
            | Claim::Socket(_)
            | Claim::File(..)
            | Claim::Path(_)
            | Claim::PathPrefix(_) => self.files.push((claim.clone(), id)),
            Claim::Map(_) | Claim::MapPrefix(_) => self.mappings.push((claim.clone(), id)),
            Claim::VmaStatus(bit) => drop(self.statuses.insert(*bit, id)),
            Claim::VmaFlag(flag) => drop(self.flags.insert(flag.clone(), id)),
            Claim::Image(number) => drop(self.images.insert(*number, id)),
            Claim::ExtImage(file) => self.ext.push((file.clone(), id)),
            Claim::Feature(name) => self.features.push((name.clone(), id)),
            Claim::Task => self.tasks.push(id),
            Claim::Stages(stages) => self.stages.extend(stages.iter().map(|stage| (*stage, id))),
        }
    }

    /// The kinds that may serve a file, the one to be asked first in front.
    pub fn file_kinds(&self, file: &FileQuery<'_>) -> Vec<KindId> {
        let mut seen = Seen::default();
        let mut kinds = Vec::new();
        let mut ask = |(claim, id): &(Claim, KindId)| {
            if seen.fits(claim, file) && !kinds.contains(id) {
                kinds.push(*id);
            }
        };
        match file.purpose {
            Purpose::Exe | Purpose::Cwd | Purpose::Root | Purpose::Path => self.files.iter().for_each(ask),
            _ => self.by_sort.of(file).iter().for_each(|&at| ask(&self.files[at])),
        }
        kinds
    }

    /// The kinds that may serve a mapping of this name, the one to be asked first in front.
    pub fn mapping_kinds(&self, name: &[u8]) -> Vec<KindId> {
        let mut kinds = Vec::new();
        for (claim, id) in &self.mappings {
            let fits = match claim {
                Claim::Map(text) => name == text.as_bytes(),
                Claim::MapPrefix(prefix) => name.starts_with(prefix.as_bytes()),
                _ => false,
            };
            if fits && !kinds.contains(id) {
                kinds.push(*id);
            }
        }
        kinds
    }

    /// The kinds that restore files of a number of `fd_types`: one at most, but all third-party kinds
    /// for EXT. See [`ext_kinds`](Self::ext_kinds).
    pub fn by_image(&self, number: u32) -> Vec<KindId> {
        if number == EXT {
            return self.ext.iter().map(|(_, id)| *id).collect();
        }
        self.images.get(&number).copied().into_iter().collect()
    }

    /// The third-party kinds, with the image in which each describes its files. Files of the type EXT
    /// carry nothing but an id: those kinds whose image is in the set get all of them at `prepare`, and
    /// each answers with a plan for every file that its image describes, and no other. A file with no
    /// plan, or with two, has no owner.
    pub fn ext_kinds(&self) -> &[(String, KindId)] {
        &self.ext
    }

    /// The kind that restores mappings with this bit in their status.
    pub fn by_vma_status(&self, bit: u32) -> Option<KindId> {
        self.statuses.get(&bit).copied()
    }

    /// The flags of mappings that kinds see to.
    pub fn vma_flags(&self) -> impl Iterator<Item = (&str, KindId)> {
        self.flags.iter().map(|(flag, id)| (flag.as_str(), *id))
    }

    /// The kinds of state of tasks.
    pub fn task_kinds(&self) -> &[KindId] {
        &self.tasks
    }

    /// The features that plugins can probe, and who does it.
    pub fn features(&self) -> &[(String, KindId)] {
        &self.features
    }

    /// The hooks of a stage.
    pub fn stage_hooks(&self, stage: Stage) -> Vec<KindId> {
        self.stages
            .iter()
            .filter(|(at, _)| *at == stage)
            .map(|(_, id)| *id)
            .collect()
    }
}

/// The places of the claims that may fit descriptors of a sort, ascending: most of many are out of question at once.
#[derive(Debug, Default)]
struct BySort {
    /// First bytes of links that claims name.
    firsts: Vec<u8>,
    /// By format (`S_IFMT`), for each of those first bytes and then for all others.
    lists: Vec<Vec<usize>>,
}

const FORMATS: u32 = 16;

impl BySort {
    fn new(claims: &[(Claim, KindId)]) -> Self {
        let link = |claim: &Claim| match claim {
            Claim::Link(text) | Claim::LinkPrefix(text) => Some(text.as_bytes().first().copied()),
            _ => None,
        };
        let mut firsts: Vec<u8> = claims.iter().filter_map(|(claim, _)| link(claim)?).collect();
        firsts.sort_unstable();
        firsts.dedup();
        let may_fit = |claim: &Claim, format: u32, first: Option<u8>| match claim {
            // An empty prefix is one of every link.
            Claim::Link(_) | Claim::LinkPrefix(_) => {
                link(claim).flatten().is_none_or(|own| Some(own) == first)
            }
            Claim::Char(_) => format == libc::S_IFCHR,
            Claim::Block(_) => format == libc::S_IFBLK,
            Claim::Socket(_) => format == libc::S_IFSOCK,
            Claim::File(wanted, _) => format == *wanted,
            _ => false,
        };
        let mut lists = Vec::new();
        for first in firsts.iter().copied().map(Some).chain([None]) {
            for format in 0..FORMATS {
                let fits = |at: &usize| may_fit(&claims[*at].0, format << FORMAT_SHIFT, first);
                lists.push((0..claims.len()).filter(fits).collect());
            }
        }
        Self { firsts, lists }
    }

    fn of(&self, file: &FileQuery<'_>) -> &[usize] {
        let first = file
            .link
            .first()
            .and_then(|first| self.firsts.binary_search(first).ok());
        let format = (file.mode & libc::S_IFMT) >> FORMAT_SHIFT;
        let at = first.unwrap_or(self.firsts.len()) * FORMATS as usize + format as usize;
        self.lists.get(at).map_or(&[], Vec::as_slice)
    }
}

/// Where `S_IFMT` begins.
const FORMAT_SHIFT: u32 = 12;

/// What has been asked of a file so far.
#[derive(Default)]
pub(crate) struct Seen {
    socket: Option<Option<[u32; 3]>>,
    magic: Option<Option<u64>>,
}

impl Seen {
    /// Whether a claim fits.
    pub(crate) fn fits(&mut self, claim: &Claim, file: &FileQuery<'_>) -> bool {
        let kind = file.mode & libc::S_IFMT;
        let as_path = matches!(
            file.purpose,
            Purpose::Exe | Purpose::Cwd | Purpose::Root | Purpose::Path
        );
        match claim {
            Claim::Path(text) => as_path && file.link == text.as_bytes(),
            Claim::PathPrefix(prefix) => as_path && file.link.starts_with(prefix.as_bytes()),
            Claim::Link(text) => (!as_path || file.purpose == Purpose::Exe) && file.link == text.as_bytes(),
            Claim::LinkPrefix(prefix) => {
                (!as_path || file.purpose == Purpose::Exe) && file.link.starts_with(prefix.as_bytes())
            }
            _ if as_path => false,
            Claim::Char(device) => {
                kind == libc::S_IFCHR
                    && device.major.contains(libc::major(file.rdev))
                    && device.minor.contains(libc::minor(file.rdev))
            }
            Claim::Block(device) => {
                kind == libc::S_IFBLK
                    && device.major.contains(libc::major(file.rdev))
                    && device.minor.contains(libc::minor(file.rdev))
            }
            Claim::Socket(parts) => {
                kind == libc::S_IFSOCK
                    && self
                        .socket
                        .get_or_insert_with(|| (file.socket)())
                        .is_some_and(|socket| {
                            parts
                                .iter()
                                .zip(socket)
                                .all(|(part, number)| part.is_none_or(|part| part == number))
                        })
            }
            Claim::File(wanted, None) => kind == *wanted,
            Claim::File(wanted, magic) => {
                kind == *wanted && self.magic.get_or_insert_with(|| (file.fs_magic)()) == magic
            }
            _ => false,
        }
    }
}

/// Claims of which no one can say which is asked first. Within one plugin kinds are asked in the order
/// of their names, but what must be one kind's alone is so there too.
fn find_conflict(sorted: &[(&Claim, usize)], kinds: &[KindInfo]) -> Result<(), LoadError> {
    for (at, (claim, first)) in sorted.iter().enumerate() {
        let rest = sorted[at + 1..].iter();
        for (other, second) in rest.take_while(|(other, _)| other.specificity() == claim.specificity()) {
            let (first, second) = (&kinds[*first], &kinds[*second]);
            let sole = matches!(
                claim,
                Claim::VmaStatus(_)
                    | Claim::VmaFlag(_)
                    | Claim::Image(_)
                    | Claim::ExtImage(_)
                    | Claim::Feature(_)
            );
            if !claim.conflicts(other) || (first.plugin == second.plugin && !(sole && first.id != second.id))
            {
                continue;
            }
            let side = |kind: &KindInfo, claim: &Claim| Claimant {
                plugin: kind.plugin.clone(),
                origin: kind.origin.to_string(),
                kind: kind.name.clone(),
                claim: claim.to_string(),
            };
            return Err(LoadError::Conflict(Box::new([
                side(first, claim),
                side(second, other),
            ])));
        }
    }
    Ok(())
}

/// Whether a kind of this extension point can serve the claim.
pub(crate) fn check_point(point: Point, kind: &str, claims: &[Claim]) -> Result<(), RefusedBecause> {
    for claim in claims {
        let fits = match claim {
            Claim::Map(_) | Claim::MapPrefix(_) | Claim::VmaStatus(_) | Claim::VmaFlag(_) => {
                point == Point::Mapping
            }
            Claim::Feature(_) => point == Point::Feature,
            Claim::Task => point == Point::Task,
            Claim::Stages(_) => point == Point::Stage,
            _ => point == Point::File,
        };
        if !fits {
            let what = "its extension point does not serve such things";
            let source = criu_plugin_api::ClaimError {
                claim: claim.to_string(),
                what,
            };
            return Err(RefusedBecause::Claim {
                kind: kind.to_owned(),
                source,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::loader::Origin;

    fn kinds(list: &[(&str, &str, &[&str])]) -> Vec<KindInfo> {
        list.iter()
            .enumerate()
            .map(|(at, (plugin, name, claims))| KindInfo {
                id: KindId::for_test(at),
                name: (*name).to_owned(),
                plugin: (*plugin).to_owned(),
                origin: Origin::BuiltIn,
                point: Point::File,
                claims: claims.iter().map(|claim| claim.parse().unwrap()).collect(),
            })
            .collect()
    }

    #[test]
    fn the_most_specific_is_asked_first_and_costly_questions_once() {
        let kinds = kinds(&[
            ("a", "any", &["file:sock", "file:reg", "path:*"]),
            ("b", "family", &["socket:1:*:*", "file:reg@1021994"]),
            ("c", "exact", &["socket:1:2:*", "link:/x", "link:/*"]),
        ]);
        let table = ClaimTable::new(&kinds).unwrap();
        let asked = Cell::new(0);
        let ask = |link: &[u8], mode, socket, magic, purpose| {
            let socket = || {
                asked.set(asked.get() + 1);
                socket
            };
            let file = FileQuery {
                link,
                mode,
                rdev: 0,
                socket: &socket,
                fs_magic: &|| magic,
                purpose,
            };
            let found = table.file_kinds(&file);
            found
                .iter()
                .map(|id| kinds.iter().find(|kind| kind.id == *id).unwrap().name.as_str())
                .collect::<Vec<_>>()
        };
        let (sock, reg) = (libc::S_IFSOCK, libc::S_IFREG);
        let fd = Purpose::Descriptor;
        assert_eq!(
            ask(b"s", sock, Some([1, 2, 0]), None, fd),
            ["exact", "family", "any"]
        );
        assert_eq!(asked.get(), 1);
        assert_eq!(ask(b"s", sock, Some([1, 5, 0]), None, fd), ["family", "any"]);
        assert_eq!(ask(b"s", sock, None, None, fd), ["any"]);
        assert_eq!(
            ask(b"/x", reg, None, Some(0x0102_1994), fd),
            ["exact", "family", "any"]
        );
        assert_eq!(ask(b"y", reg, None, Some(1), Purpose::Mapping), ["any"]);
        assert_eq!(ask(b"/x", reg, None, None, Purpose::Exe), ["exact", "any"]);
        assert_eq!(ask(b"/x", reg, None, None, Purpose::Path), ["any"]);
        assert_eq!(asked.get(), 3);
    }

    #[test]
    fn one_plugin_may_claim_a_thing_twice_but_not_an_image() {
        let twice = kinds(&[("a", "one", &["file:reg"]), ("a", "two", &["file:reg"])]);
        assert!(ClaimTable::new(&twice).is_ok());
        let image = kinds(&[("a", "one", &["image:3"]), ("a", "two", &["image:3"])]);
        assert!(matches!(ClaimTable::new(&image), Err(LoadError::Conflict(_))));
        let ext = kinds(&[
            ("a", "one", &["image:16:x.img"]),
            ("b", "two", &["image:16:x.img"]),
        ]);
        assert!(matches!(ClaimTable::new(&ext), Err(LoadError::Conflict(_))));
    }
}
