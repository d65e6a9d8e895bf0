//! An image set with everything in it named so that two sets of one guest compare: processes by their place in
//! the tree, files by their path or type, inodes and other ids by the order in which they are first met.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use criu_images::ImageDir;
use criu_proto::framing::ImageReader;
use criu_proto::magic::{Header, Id, ImageKind, kind_of};

use super::payload;
use super::rules::{self, Class};
use super::tree::{self, Fields, Value};

/// `vma_entry.status`: a mapping of a file, private or shared (its `shmid` is a file's id then).
const VMA_FILE: u64 = 1 << 6 | 1 << 7;

/// One image file.
pub(crate) struct Image {
    pub(crate) kind: &'static ImageKind,
    id: Option<u64>,
    /// The entries, each with the raw bytes that follow it.
    pub(crate) entries: Vec<(Fields, Vec<u8>)>,
    /// Length of a file without entries.
    pub(crate) raw: u64,
}

/// A whole set, its files by their names in both sets.
pub(crate) struct Set {
    pub(crate) images: BTreeMap<String, Image>,
}

/// What the numbers of one set mean.
struct Names {
    pids: BTreeMap<u64, String>,
    files: BTreeMap<u64, String>,
    others: BTreeMap<(Class, u64), String>,
    /// The folder in which the guest and its working directory lie.
    place: Vec<u8>,
}

impl Set {
    /// Reads all images of a folder.
    pub(crate) fn read(folder: &Path) -> Set {
        let dir = ImageDir::open(folder).unwrap();
        let names = dir.list().unwrap();
        let known = names.iter().filter(|name| !rules::is_addition(name));
        let mut images: Vec<Image> = known.map(|name| read(folder, name)).collect();
        let places = places(&images);
        images.sort_by_key(|image| {
            // Pids are given in the order of the calls of several processes; their places in the tree are not.
            let place = match rules::file_class(image.kind.name) {
                Some(Class::Process) => image.id.and_then(|pid| places.get(&pid).copied()),
                _ => image.id,
            };
            (order(image.kind), place)
        });
        let mut names = Names::of(&images);
        let tables = link(&images);
        if let Some(files) = images.iter_mut().find(|i| i.kind.name == "FILES") {
            // In which order files are written tells nothing.
            files
                .entries
                .sort_by_key(|(e, _)| tree::number(e, "id").and_then(|id| names.files.get(&id).cloned()));
        }
        for image in &mut images {
            let kind = image.kind.name;
            for (fields, _) in &mut image.entries {
                names.name(kind, "", fields);
            }
        }
        let images = images
            .into_iter()
            .map(|image| (names.file_name(&image, &tables), image));
        Set {
            images: images.collect(),
        }
    }
}

/// Sorts mappings by what they are: which gap the kernel takes for one depends on where it put the others, and
/// that is random. Mappings that are alike stay in the order of their addresses.
fn sort_mappings(mm: &mut Fields) {
    for vma in mm.get_mut("vmas").into_iter().flatten() {
        if let Value::Message(vma) = vma {
            let address = |name| tree::number(vma, name).unwrap();
            // Where a mapping ends says how long it is.
            let length = address("end") - address("start");
            vma.insert("end", vec![Value::Number(length)]);
        }
    }
    let key = |vma: &Value| match vma {
        Value::Message(vma) => {
            ["status", "pgoff", "prot", "flags", "madv", "end"].map(|field| tree::number(vma, field))
        }
        _ => [None; 6],
    };
    if let Some(vmas) = mm.get_mut("vmas") {
        vmas.sort_by_key(key);
    }
}

/// Sorts what an epoll watches by its descriptor: the kernel lists it by its own addresses.
fn sort_watched(file: &mut Fields) {
    if let Some(Value::Message(epoll)) = file.get_mut("epfd").and_then(|list| list.first_mut())
        && let Some(watched) = epoll.get_mut("tfd")
    {
        watched.sort_by_key(|entry| match entry {
            Value::Message(entry) => tree::number(entry, "tfd"),
            _ => None,
        });
    }
}

/// The place of each task in the tree and in its process.
fn places(images: &[Image]) -> BTreeMap<u64, u64> {
    let trees = images.iter().filter(|i| i.kind.name == "PSTREE");
    let tasks = trees.flat_map(|i| i.entries.iter().map(|(fields, _)| fields));
    let threads = tasks.flat_map(|task| {
        let rest = task.get("threads").into_iter().flatten().skip(1);
        tree::number(task, "pid")
            .into_iter()
            .chain(rest.filter_map(Value::number))
    });
    threads.zip(0..).collect()
}

/// The order in which images are walked, so that ids are first met in the same order in both sets.
fn order(kind: &ImageKind) -> usize {
    const FIRST: [&str; 8] = [
        "PSTREE",
        "CORE",
        "IDS",
        "FDINFO",
        "MM",
        "FS",
        "FILES",
        "MEMFD_INODE",
    ];
    FIRST
        .iter()
        .position(|name| *name == kind.name)
        .unwrap_or(FIRST.len())
}

fn read(folder: &Path, name: &str) -> Image {
    let (kind, id) = kind_of(name).unwrap_or_else(|| panic!("{name}: no image of a known kind"));
    let id = match id {
        Id::Number(n) => Some(n),
        _ => None,
    };
    let bytes = fs::read(folder.join(name)).unwrap();
    if kind.header == Header::Raw {
        return Image {
            kind,
            id,
            entries: Vec::new(),
            raw: bytes.len() as u64,
        };
    }
    let mut reader = ImageReader::new(bytes.as_slice(), name, Some(bytes.len() as u64), kind).unwrap();
    let entries = payload::entries(kind, &mut reader).unwrap_or_else(|e| panic!("{name}: {e}"));
    reader.finish().unwrap_or_else(|e| panic!("{name}: {e}"));
    // What stands between an entry and the next one is its payload.
    let mut starts = Vec::new();
    let mut at = 0;
    for (_, entry) in &entries {
        let framed = [
            &u32::try_from(entry.len()).unwrap().to_le_bytes(),
            entry.as_slice(),
        ]
        .concat();
        let found = bytes[at..]
            .windows(framed.len())
            .position(|window| window == framed);
        let start = at + found.unwrap_or_else(|| panic!("{name}: an entry is not where it was read"));
        at = start + framed.len();
        starts.push((start, at));
    }
    let ends = starts
        .iter()
        .skip(1)
        .map(|(start, _)| *start)
        .chain([bytes.len()]);
    let payloads = starts
        .iter()
        .zip(ends)
        .map(|((_, after), end)| bytes[*after..end].to_vec());
    let mut entries: Vec<_> = entries
        .iter()
        .map(|(schema, bytes)| tree::decode(schema, bytes))
        .zip(payloads)
        .collect();
    for (fields, _) in &mut entries {
        match kind.name {
            "MM" => sort_mappings(fields),
            "FILES" => sort_watched(fields),
            _ => {}
        }
    }
    Image {
        kind,
        id,
        entries,
        raw: 0,
    }
}

/// Which process each table of descriptors, and which mappings' image each file of pages, belongs to.
fn link(images: &[Image]) -> BTreeMap<(&'static str, u64), (&'static str, u64)> {
    let mut owners = BTreeMap::new();
    for image in images {
        let Some(id) = image.id else { continue };
        for (fields, _) in &image.entries {
            if image.kind.name == "IDS"
                && let Some(files) = tree::number(fields, "files_id")
            {
                owners.entry(("FDINFO", files)).or_insert((image.kind.name, id));
            }
            if let Some(pages) = tree::number(fields, "pages_id") {
                owners.entry(("PAGES", pages)).or_insert((image.kind.name, id));
            }
        }
    }
    owners
}

impl Names {
    fn of(images: &[Image]) -> Names {
        let mut names = Names {
            pids: BTreeMap::new(),
            files: BTreeMap::new(),
            others: BTreeMap::new(),
            place: Vec::new(),
        };
        let kind = |name: &'static str| images.iter().filter(move |i| i.kind.name == name);
        let entries = |name| kind(name).flat_map(|i| i.entries.iter().map(|(fields, _)| fields));
        for (index, task) in entries("PSTREE").enumerate() {
            names
                .pids
                .insert(tree::number(task, "pid").unwrap(), format!("process {index}"));
            for (number, thread) in task["threads"].iter().enumerate().skip(1) {
                names.pids.insert(
                    thread.number().unwrap(),
                    format!("process {index} thread {number}"),
                );
            }
        }
        let mut met: Vec<u64> = Vec::new();
        met.extend(entries("FDINFO").filter_map(|e| tree::number(e, "id")));
        for mm in entries("MM") {
            let mappings = mm.get("vmas").into_iter().flatten();
            met.extend(mappings.filter_map(|vma| match vma {
                Value::Message(vma) if tree::number(vma, "status")? & VMA_FILE != 0 => {
                    tree::number(vma, "shmid")
                }
                _ => None,
            }));
            met.extend(tree::number(mm, "exe_file_id"));
        }
        for fs in entries("FS") {
            met.extend(["cwd_id", "root_id"].iter().filter_map(|f| tree::number(fs, f)));
        }
        let files: BTreeMap<u64, &Fields> = entries("FILES")
            .map(|e| (tree::number(e, "id").unwrap(), e))
            .collect();
        // The guest lies beside its working directory.
        let cwd = entries("FS").find_map(|fs| path_of(files.get(&tree::number(fs, "cwd_id")?)?));
        if let Some(cwd) = cwd {
            names.place = cwd[..cwd.iter().rposition(|b| *b == b'/').unwrap_or(0)].to_vec();
        }
        met.extend(files.keys());
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for id in met {
            let Some(file) = files.get(&id) else { continue };
            if names.files.contains_key(&id) {
                continue;
            }
            let path = path_of(file).map(|p| names.shorten(&p));
            let name = path.map_or_else(
                || format!("file of type {}", tree::number(file, "type").unwrap_or(0)),
                |p| p.escape_ascii().to_string(),
            );
            let name = format!("{name} flags {:#x}", flags_of(file));
            let count = counts.entry(name.clone()).or_default();
            *count += 1;
            names.files.insert(id, format!("{name} #{count}"));
        }
        names
    }

    /// A path without the place that only this run had.
    fn shorten(&self, path: &[u8]) -> Vec<u8> {
        match path.strip_prefix(self.place.as_slice()) {
            Some(rest) if !self.place.is_empty() && (rest.is_empty() || rest[0] == b'/') => {
                [b"PLACE".as_slice(), rest].concat()
            }
            _ if path.starts_with(b"/dev/pts/") => b"/dev/pts/N".to_vec(),
            _ => path.to_vec(),
        }
    }

    /// Takes the pid out of the siginfo_t of a signal that a process of the set has sent (si_code not above 0;
    /// si_pid then stands at byte 16).
    fn sender(&self, siginfo: &mut [u8]) {
        let word = |at: usize| {
            siginfo
                .get(at..at + 4)
                .map(|b| i32::from_le_bytes(b.try_into().unwrap()))
        };
        let (Some(code), Some(pid)) = (word(8), word(16)) else {
            return;
        };
        if code <= 0 && self.pids.contains_key(&u64::try_from(pid).unwrap_or(0)) {
            siginfo[16..20].fill(0);
        }
    }

    /// Names all that the fields of a message refer to.
    fn name(&mut self, kind: &str, path: &str, fields: &mut Fields) {
        let file_mapping = tree::number(fields, "status").is_some_and(|s| s & VMA_FILE != 0);
        for (field, values) in fields.iter_mut() {
            let path = if path.is_empty() {
                (*field).to_owned()
            } else {
                format!("{path}.{field}")
            };
            let class = match rules::class(kind, &path) {
                Some(Class::Mapped) if file_mapping => Some(Class::Path),
                Some(Class::Mapped) => Some(Class::Shared),
                other => other,
            };
            for value in values {
                match value {
                    Value::Message(nested) => self.name(kind, &path, nested),
                    Value::Bytes(bytes) if *field == "siginfo" => self.sender(bytes),
                    Value::Bytes(bytes) => *bytes = self.shorten(bytes),
                    Value::Number(number) => {
                        if let Some(name) = class.and_then(|class| self.object(class, *number)) {
                            *value = Value::Object(name);
                        }
                    }
                    Value::Object(_) => {}
                }
            }
        }
    }

    /// The name of the object that a number means; none for 0, which means none.
    fn object(&mut self, class: Class, number: u64) -> Option<String> {
        if number == 0 && class != Class::Terminal {
            return None;
        }
        match class {
            Class::Process => self.pids.get(&number).cloned(),
            Class::File => self.files.get(&number).cloned(),
            Class::Path => {
                let name = self.files.get(&number)?;
                name.rsplit_once(" flags ").map(|(path, _)| path.to_owned())
            }
            _ => {
                let next = self.others.keys().filter(|(c, _)| *c == class).count();
                let name = self
                    .others
                    .entry((class, number))
                    .or_insert_with(|| format!("{class:?} {next}"));
                Some(name.clone())
            }
        }
    }

    /// The name of an image that is the same in both sets.
    fn file_name(
        &mut self,
        image: &Image,
        owners: &BTreeMap<(&'static str, u64), (&'static str, u64)>,
    ) -> String {
        let kind = image.kind.name;
        let Some(id) = image.id else {
            return kind.to_owned();
        };
        let (class, number) = match (kind, owners.get(&(kind, id))) {
            ("FDINFO" | "PAGES", Some((owner, number))) => (rules::file_class(owner), *number),
            _ => (rules::file_class(kind), id),
        };
        match class.and_then(|class| self.object(class, number)) {
            Some(name) => format!("{kind} of {name}"),
            None => format!("{kind} {id}"),
        }
    }
}

/// The flags that a file was opened with: what tells two of the same path apart.
fn flags_of(file: &Fields) -> u64 {
    let nested = file.values().flatten().find_map(|value| match value {
        Value::Message(nested) => tree::number(nested, "flags"),
        _ => None,
    });
    nested.unwrap_or(0)
}

/// The path of an open file of the types that have one.
fn path_of(file: &Fields) -> Option<Vec<u8>> {
    match tree::message(file, "reg")?.get("name")?.first()? {
        Value::Bytes(path) => Some(path.clone()),
        _ => None,
    }
}

/// How many entries an image has.
pub(crate) fn entries_of(image: &Path) -> usize {
    let (folder, name) = (image.parent().unwrap(), image.file_name().unwrap());
    read(folder, name.to_str().unwrap()).entries.len()
}
