//! The notes of a plugin's file: what the host reads without running any of its code.
//!
//! Each is an ELF note in the section `.note.criu` (and so in a `PT_NOTE` segment), name `criu`, type 1
//! for the plugin and type 2 for each kind. The descriptor is text, one `KEY VALUE` a line, padded with
//! NUL. Keys may be added; readers skip those they do not know.

use thiserror::Error;

use crate::claim::{Claim, ClaimError};

/// The name of the notes.
pub const NOTE_NAME: &[u8] = b"criu";
/// The type of the note of the plugin.
pub const PLUGIN_NOTE: u32 = 1;
/// The type of the note of a kind.
pub const KIND_NOTE: u32 = 2;

/// A note as it lies in the file: three words, the name padded to eight bytes, the descriptor.
#[repr(C, align(4))]
#[derive(Debug)]
pub struct Note<const N: usize> {
    name_size: u32,
    text_size: u32,
    kind: u32,
    name: [u8; 8],
    text: [u8; N],
}

impl<const N: usize> Note<N> {
    /// A note of these parts; `N` is [`padded`] of them.
    pub const fn new(kind: u32, parts: &[&str]) -> Self {
        let mut text = [0; N];
        let (mut at, mut part) = (0, 0);
        while part < parts.len() {
            let bytes = parts[part].as_bytes();
            let mut from = 0;
            while from < bytes.len() {
                text[at] = bytes[from];
                at += 1;
                from += 1;
            }
            part += 1;
        }
        assert!(N <= u32::MAX as usize, "the note is too long");
        #[expect(clippy::cast_possible_truncation, reason = "checked in the line before")]
        let text_size = N as u32;
        Self {
            name_size: 5,
            text_size,
            kind,
            name: *b"criu\0\0\0\0",
            text,
        }
    }
}

/// The length of the parts together, rounded up to the four bytes that notes are aligned to.
pub const fn padded(parts: &[&str]) -> usize {
    let (mut length, mut part) = (0, 0);
    while part < parts.len() {
        length += parts[part].len();
        part += 1;
    }
    length.next_multiple_of(4)
}

/// Checks a name at compile time.
pub const fn check_word(text: &str) {
    assert!(
        is_word(text),
        "a name consists of a-z, 0-9, _ and - and has at most 64 bytes"
    );
}

/// Checks a line of text at compile time.
pub const fn check_line(text: &str) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        assert!(
            bytes[at] >= b' ' && bytes[at] != 0x7f,
            "no control characters, please"
        );
        at += 1;
    }
}

/// Checks a claim at compile time, as far as its first word goes.
pub const fn check_claim(text: &str) {
    check_line(text);
    assert!(
        crate::claim::has_scheme(text),
        "this is not a claim; see criu_plugin_api::Claim"
    );
}

/// Checks the type of an option at compile time.
pub const fn check_option_kind(text: &str) {
    assert!(
        matches!(text.as_bytes(), b"bool" | b"int" | b"string" | b"size"),
        "the kind of an option is bool, int, string or size"
    );
}

const fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty() && bytes.len() <= 64
}

/// An extension point of this revision of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Point {
    /// [`FileKind`](crate::FileKind)
    File,
    /// [`MappingKind`](crate::MappingKind)
    Mapping,
    /// [`TaskKind`](crate::TaskKind)
    Task,
    /// [`StageHook`](crate::StageHook)
    Stage,
    /// [`FeatureProbe`](crate::FeatureProbe)
    Feature,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::File, Self::Mapping, Self::Task, Self::Stage, Self::Feature];

    /// Its id and revision.
    pub const fn id(self) -> &'static str {
        match self {
            Self::File => crate::__criu_point!(id FileKind),
            Self::Mapping => crate::__criu_point!(id MappingKind),
            Self::Task => crate::__criu_point!(id TaskKind),
            Self::Stage => crate::__criu_point!(id StageHook),
            Self::Feature => crate::__criu_point!(id FeatureProbe),
        }
    }

    /// The point of this id and revision.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.id() == id)
    }
}

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PluginNote {
    /// Its name.
    pub name: String,
    /// The version of its package.
    pub version: String,
    /// The version of this crate it was built with.
    pub api: String,
    /// The revision of the binary surface.
    pub abi: u32,
    /// The compiler and the binary surface it was built with, as one number; empty if they are not known.
    pub build: String,
    /// Whether its code unwinds on a panic.
    pub unwinds: bool,
    /// One line for people.
    pub description: String,
    /// Its options.
    pub options: Vec<OptionNote>,
}

/// An option of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionNote {
    /// Its name.
    pub name: String,
    /// bool, int, string or size.
    pub kind: String,
    /// The value when it is not set.
    pub default: Option<String>,
    /// One line for people.
    pub help: String,
}

/// What a kind says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindNote {
    /// Its name.
    pub name: String,
    /// The extension point that it implements.
    pub point: Point,
    /// What it claims.
    pub claims: Vec<Claim>,
}

/// What is wrong with a note.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoteError {
    /// Not text.
    #[error("the note is not valid UTF-8")]
    NotText,
    /// A line is missing.
    #[error("the note has no line `{0}`")]
    Missing(&'static str),
    /// A line does not say what it should.
    #[error("the note's line `{key} {value}` is not understood")]
    Line {
        /// The key.
        key: String,
        /// What follows it.
        value: String,
    },
    /// An extension point that this version does not have.
    #[error("kind {kind} implements {point}, which this version of criu does not have")]
    Point {
        /// The kind.
        kind: String,
        /// What it implements.
        point: String,
    },
    /// A claim that is not understood.
    #[error("kind {kind}: {source}")]
    Claim {
        /// The kind.
        kind: String,
        /// What is wrong.
        source: ClaimError,
    },
}

fn lines(descriptor: &[u8]) -> Result<impl Iterator<Item = (&str, &str)>, NoteError> {
    let end = descriptor
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    let text = std::str::from_utf8(&descriptor[..end]).map_err(|_| NoteError::NotText)?;
    Ok(text
        .split('\n')
        .filter(|line| !line.is_empty())
        .map(|line| line.split_once(' ').unwrap_or((line, ""))))
}

fn bad_line(key: &str, value: &str) -> NoteError {
    NoteError::Line {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn word(key: &str, value: &str) -> Result<String, NoteError> {
    if is_word(value) {
        Ok(value.to_owned())
    } else {
        Err(bad_line(key, value))
    }
}

/// A line for people must not carry escapes to their terminal.
fn line(key: &str, value: &str) -> Result<String, NoteError> {
    if value.chars().any(char::is_control) {
        Err(bad_line(key, value))
    } else {
        Ok(value.to_owned())
    }
}

impl PluginNote {
    /// Whether it was built with the compiler and the binary surface of this program.
    pub fn is_of_this_build(&self) -> bool {
        !self.build.is_empty() && self.build == crate::__private::BUILD
    }

    /// Reads the descriptor of a note of type [`PLUGIN_NOTE`].
    ///
    /// # Errors
    /// It is not such a note.
    pub fn parse(descriptor: &[u8]) -> Result<Self, NoteError> {
        let mut note = Self::default();
        let (mut abi, mut panic) = (None, None);
        for (key, value) in lines(descriptor)? {
            match key {
                "plugin" => note.name = word(key, value)?,
                "version" => note.version = line(key, value)?,
                "api" => note.api = line(key, value)?,
                "abi" => abi = Some(value.parse().map_err(|_| bad_line(key, value))?),
                "build" => note.build = line(key, value)?,
                "panic" => panic = Some(value == "unwind"),
                "description" => note.description = line(key, value)?,
                "option" => note
                    .options
                    .push(option(value).ok_or_else(|| bad_line(key, value))?),
                _ => {}
            }
        }
        note.abi = abi.ok_or(NoteError::Missing("abi"))?;
        note.unwinds = panic.ok_or(NoteError::Missing("panic"))?;
        for (text, key) in [
            (&note.name, "plugin"),
            (&note.version, "version"),
            (&note.api, "api"),
        ] {
            if text.is_empty() {
                return Err(NoteError::Missing(key));
            }
        }
        Ok(note)
    }
}

fn option(value: &str) -> Option<OptionNote> {
    let mut parts = value.split('\t');
    let (name, kind, default, help) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let clean = |text: &str| !text.chars().any(char::is_control);
    (is_word(name)
        && matches!(kind, "bool" | "int" | "string" | "size")
        && clean(default)
        && clean(help)
        && parts.next().is_none())
    .then(|| OptionNote {
        name: name.to_owned(),
        kind: kind.to_owned(),
        default: default.strip_prefix('=').map(str::to_owned),
        help: help.to_owned(),
    })
}

impl KindNote {
    /// Reads the descriptor of a note of type [`KIND_NOTE`].
    ///
    /// # Errors
    /// It is not such a note, or speaks of what this version does not have.
    pub fn parse(descriptor: &[u8]) -> Result<Self, NoteError> {
        let (mut name, mut point, mut claims) = (None, None, Vec::new());
        for (key, value) in lines(descriptor)? {
            match key {
                "kind" => name = Some(word(key, value)?),
                "point" => point = Some(line(key, value)?),
                "claim" => claims.push(line(key, value)?),
                _ => {}
            }
        }
        let kind = name.ok_or(NoteError::Missing("kind"))?;
        let point = point.ok_or(NoteError::Missing("point"))?;
        let Some(known) = Point::from_id(&point) else {
            return Err(NoteError::Point { kind, point });
        };
        let claims = claims.iter().map(|claim| claim.parse()).collect::<Result<_, _>>();
        let claims = claims.map_err(|source| NoteError::Claim {
            kind: kind.clone(),
            source,
        })?;
        Ok(Self {
            name: kind,
            point: known,
            claims,
        })
    }

    /// The same from a registration that is linked in.
    ///
    /// # Errors
    /// A claim is not understood.
    pub fn of(registration: &crate::register::Registration) -> Result<Self, NoteError> {
        let kind = registration.name.to_owned();
        let point = registration.make.point();
        let Some(known) = Point::from_id(point) else {
            return Err(NoteError::Point {
                kind,
                point: point.to_owned(),
            });
        };
        let claims = registration
            .claims
            .iter()
            .map(|claim| claim.parse())
            .collect::<Result<_, _>>();
        let claims = claims.map_err(|source| NoteError::Claim {
            kind: kind.clone(),
            source,
        })?;
        Ok(Self {
            name: kind,
            point: known,
            claims,
        })
    }
}
