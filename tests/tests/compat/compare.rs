//! Compares two sets and lists what differs.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::rules;
use super::set::{Image, Set};
use super::tree::{self, Fields, Value};

/// All differences between CRIU's set of a case and ours, one a line.
pub(crate) fn compare(case: &str, theirs: &Set, ours: &Set) -> Vec<String> {
    let mut found = Vec::new();
    let names: BTreeSet<&String> = theirs.images.keys().chain(ours.images.keys()).collect();
    for name in names {
        let image = |kind, found| Comparison {
            case,
            name,
            kind,
            found,
        };
        match (theirs.images.get(name), ours.images.get(name)) {
            (Some(their), Some(our)) if their.kind.name == "PAGEMAP" => {
                let (their_runs, our_runs) = (runs(theirs, name, their), runs(ours, name, our));
                let poked = first_executable(theirs, name);
                let only_theirs = their_runs.difference(&our_runs);
                for run in only_theirs.filter(|run| run.mapping != poked) {
                    found.push(format!("{name}: only CRIU has {run:?}"));
                }
                for run in our_runs.difference(&their_runs) {
                    found.push(format!("{name}: CRIU does not have {run:?}"));
                }
                let head = |image: &Image| image.entries.first().map(|(fields, _)| fields.clone());
                let (their, our) = (head(their).unwrap_or_default(), head(our).unwrap_or_default());
                image("PAGEMAP", &mut found).fields(" head", "", &their, &our);
            }
            (Some(their), Some(our)) => image(our.kind.name, &mut found).run(their, our),
            (Some(_), None) => found.push(format!("{name}: only CRIU writes it")),
            (None, _) => found.push(format!("{name}: CRIU does not write it")),
        }
    }
    found
}

/// The comparison of one image.
struct Comparison<'a> {
    case: &'a str,
    name: &'a str,
    kind: &'static str,
    found: &'a mut Vec<String>,
}

impl Comparison<'_> {
    fn differs(&mut self, place: &str, what: &str, theirs: impl Display, ours: impl Display) {
        let name = self.name;
        self.found
            .push(format!("{name}{place}{what}: {theirs} with CRIU, here {ours}"));
    }

    fn run(mut self, theirs: &Image, ours: &Image) {
        if (theirs.raw == 0) != (ours.raw == 0) {
            self.differs("", " bytes", theirs.raw, ours.raw);
        }
        if theirs.entries.len() != ours.entries.len() {
            self.differs("", " entries", theirs.entries.len(), ours.entries.len());
        }
        for (index, (their, our)) in theirs.entries.iter().zip(&ours.entries).enumerate() {
            let place = match ours.entries.len() {
                1 => String::new(),
                _ => format!(" entry {index}"),
            };
            self.fields(&place, "", &their.0, &our.0);
            if their.1 != our.1 {
                self.differs(&place, " data", their.1.escape_ascii(), our.1.escape_ascii());
            }
        }
    }

    fn fields(&mut self, place: &str, path: &str, theirs: &Fields, ours: &Fields) {
        let names: BTreeSet<&str> = theirs.keys().chain(ours.keys()).copied().collect();
        for name in names {
            let path = match path {
                "" => name.to_owned(),
                _ => format!("{path}.{name}"),
            };
            let place = format!("{place} {name}");
            match (theirs.get(name), ours.get(name)) {
                (Some(theirs), Some(ours)) => self.values(&place, &path, theirs, ours),
                (theirs, ours) => {
                    let show = |v: Option<&Vec<Value>>| v.map_or("absent".to_owned(), |v| v[0].to_string());
                    self.differs(&place, "", show(theirs), show(ours));
                }
            }
        }
    }

    fn values(&mut self, place: &str, path: &str, theirs: &[Value], ours: &[Value]) {
        if theirs.len() != ours.len() {
            self.differs(place, " values", theirs.len(), ours.len());
        }
        for (index, (their, our)) in theirs.iter().zip(ours).enumerate() {
            let place = match ours.len() {
                1 => place.to_owned(),
                _ => format!("{place}[{index}]"),
            };
            match (their, our) {
                (Value::Message(their), Value::Message(our)) => self.fields(&place, path, their, our),
                _ if their == our || rules::varies(self.kind, path, index, their, our) => {}
                _ if rules::races(self.case, self.name, path) => {}
                _ => self.differs(&place, "", their, our),
            }
        }
    }
}

/// Some pages of a mapping. How many they are and where they lie in it is the C library's doing as much as the
/// guest's.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    /// The mapping's place in the list; `None` where there is none.
    mapping: Option<usize>,
    flags: u64,
    fields: Vec<&'static str>,
}

/// Which mappings have pages in the set, and with which flags.
fn runs(set: &Set, name: &str, pagemap: &Image) -> BTreeSet<Run> {
    let runs = pagemap.entries.iter().skip(1).map(|(entry, _)| {
        let at = tree::number(entry, "vaddr").unwrap_or(0);
        let mapping = mappings(set, name).position(|vma| {
            // `end` is the length here.
            let field = |name| tree::number(vma, name).unwrap_or(0);
            at >= field("start") && at - field("start") < field("end")
        });
        Run {
            mapping,
            flags: tree::number(entry, "flags").unwrap_or(0),
            fields: entry.keys().copied().collect(),
        }
    });
    runs.collect()
}

/// The mapping whose first page CRIU writes code over to make system calls in a task: the executable one of the
/// lowest address. It puts back what was there, but the page is the task's own from then on, and so in the image.
fn first_executable(set: &Set, name: &str) -> Option<usize> {
    const EXECUTABLE: u64 = 4;
    let executable = mappings(set, name)
        .enumerate()
        .filter(|(_, vma)| tree::number(vma, "prot").unwrap_or(0) & EXECUTABLE != 0);
    executable
        .min_by_key(|(_, vma)| tree::number(vma, "start"))
        .map(|(place, _)| place)
}

/// The mappings of the process of a pagemap.
fn mappings<'a>(set: &'a Set, pagemap: &str) -> impl Iterator<Item = &'a Fields> + use<'a> {
    let mm = set.images.get(&pagemap.replace("PAGEMAP", "MM"));
    let vmas = mm.and_then(|mm| mm.entries.first()?.0.get("vmas"));
    vmas.into_iter().flatten().filter_map(|vma| match vma {
        Value::Message(vma) => Some(vma),
        _ => None,
    })
}

/// The paths of all fields of a message, `fields` below `path`.
fn paths(fields: &Fields, path: &[&'static str], found: &mut BTreeSet<Vec<&'static str>>) {
    for (name, values) in fields {
        let path = [path, &[name]].concat();
        for value in values {
            if let Value::Message(nested) = value {
                paths(nested, &path, found);
            }
        }
        found.insert(path);
    }
}

/// Takes away the first field of this path; what it was.
fn take(fields: &mut Fields, path: &[&'static str]) -> Option<Vec<Value>> {
    let (name, rest) = path.split_first()?;
    if rest.is_empty() {
        return fields.remove(name);
    }
    fields.get_mut(name)?.iter_mut().find_map(|value| match value {
        Value::Message(nested) => take(nested, rest),
        _ => None,
    })
}

/// So that a comparison that sees nothing is no success: each field that is taken away is missed.
#[test]
fn a_lost_field_is_noticed() {
    let mut lost = 0;
    for case in ["files", "unixsk", "tty"] {
        let folder = super::cases::unpacked(case);
        let whole = Set::read(folder.path());
        let mut other = Set::read(folder.path());
        assert_eq!(compare(case, &whole, &other), Vec::<String>::new(), "{case}");
        for (name, image) in &whole.images {
            let mut all = BTreeSet::new();
            for (fields, _) in &image.entries {
                paths(fields, &[], &mut all);
            }
            for path in all {
                let entries = &mut other.images.get_mut(name).unwrap().entries;
                // The head of a pagemap is in no run of pages.
                let first = usize::from(image.kind.name == "PAGEMAP" && path != ["pages_id"]);
                let kept = entries
                    .iter()
                    .map(|(fields, _)| fields.clone())
                    .collect::<Vec<_>>();
                let taken = entries[first..]
                    .iter_mut()
                    .find_map(|(fields, _)| take(fields, &path));
                assert!(taken.is_some(), "{case}: {name} has no {path:?}");
                assert!(
                    !compare(case, &whole, &other).is_empty(),
                    "{case}: {name} without {path:?}"
                );
                for (entry, fields) in other.images.get_mut(name).unwrap().entries.iter_mut().zip(kept) {
                    entry.0 = fields;
                }
                lost += 1;
            }
        }
    }
    assert!(lost > 500, "{lost} fields were taken away");
}

#[test]
fn a_lost_image_or_entry_is_noticed() {
    let folder = super::cases::unpacked("pipes");
    let whole = Set::read(folder.path());
    for name in whole.images.keys() {
        let mut other = Set::read(folder.path());
        let image = other.images.get_mut(name).unwrap();
        if image.entries.pop().is_some() {
            assert!(
                !compare("pipes", &whole, &other).is_empty(),
                "{name} with an entry less"
            );
        }
        other.images.remove(name);
        assert!(!compare("pipes", &whole, &other).is_empty(), "without {name}");
    }
}
