//! A description of each message, and a check of encoded messages against it.
//!
//! prost fills a missing required field with zero. An image in which a required field is missing is
//! damaged, so entries are checked here before they are decoded.

use thiserror::Error;

/// Deepest nesting of messages that is followed (prost stops at 100).
const MAX_DEPTH: u32 = 90;

/// A message of the schema.
#[derive(Debug)]
pub struct MessageSchema {
    /// Name as in the `.proto` file, `core_entry`.
    pub name: &'static str,
    /// Fields, by ascending number.
    pub fields: &'static [FieldSchema],
}

/// A field of a message.
#[derive(Debug)]
pub struct FieldSchema {
    /// Number on the wire.
    pub number: u32,
    /// Name as in the `.proto` file.
    pub name: &'static str,
    /// Required, optional or repeated.
    pub label: Label,
    /// What the field holds.
    pub kind: FieldKind,
}

/// How often a field may stand in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Exactly once.
    Required,
    /// At most once.
    Optional,
    /// Any number of times.
    Repeated,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum FieldKind {
    /// `bool`
    Bool,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `sint32` (zigzag)
    Sint32,
    /// `sint64` (zigzag)
    Sint64,
    /// `uint32`
    Uint32,
    /// `uint64`
    Uint64,
    /// `fixed32`
    Fixed32,
    /// `fixed64`
    Fixed64,
    /// `string`
    String,
    /// `bytes`
    Bytes,
    /// An enum, with its values by name.
    Enum(&'static EnumSchema),
    /// A message.
    Message(&'static MessageSchema),
}

/// An enum of the schema.
#[derive(Debug)]
pub struct EnumSchema {
    /// Name as in the `.proto` file.
    pub name: &'static str,
    /// Names and numbers of the values.
    pub values: &'static [(&'static str, i32)],
}

/// A message whose schema is known: all of [`crate::images`] and [`crate::rpc`].
pub trait Described: prost::Message + Default + 'static {
    /// The description of the message.
    fn schema() -> &'static MessageSchema;
}

/// Why encoded bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// A required field is missing.
    #[error("{message} lacks its required field {field}")]
    Missing {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field has another type than the schema says.
    #[error("field {field} of {message} is encoded as another type (wire type {wire})")]
    WireType {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
        /// The wire type found.
        wire: u8,
    },
    /// The bytes are no protobuf message.
    #[error("{message} is malformed at byte {at}")]
    Malformed {
        /// The innermost message.
        message: &'static str,
        /// Offset in that message's bytes.
        at: usize,
    },
    /// Messages are nested too deeply.
    #[error("{message} is nested more than 90 deep")]
    TooDeep {
        /// The message.
        message: &'static str,
    },
}

impl MessageSchema {
    /// The field with this number.
    #[must_use]
    pub fn field(&self, number: u32) -> Option<&'static FieldSchema> {
        self.fields.iter().find(|f| f.number == number)
    }

    /// Checks that `bytes` are a message of this schema with all required fields. Unknown fields are
    /// allowed: a later version may have added them.
    pub fn check(&self, bytes: &[u8]) -> Result<(), SchemaError> {
        self.check_nested(bytes, 0)
    }

    fn check_nested(&self, bytes: &[u8], depth: u32) -> Result<(), SchemaError> {
        if depth > MAX_DEPTH {
            return Err(SchemaError::TooDeep { message: self.name });
        }
        let mut seen = 0u128;
        let mut cursor = Cursor { bytes, at: 0 };
        while cursor.at < bytes.len() {
            let start = cursor.at;
            let malformed = SchemaError::Malformed {
                message: self.name,
                at: start,
            };
            let Some((number, wire, value)) = cursor.field() else {
                return Err(malformed);
            };
            let Some(index) = self.fields.iter().position(|f| f.number == number) else {
                continue;
            };
            let field = &self.fields[index];
            if index < 128 {
                seen |= 1 << index;
            }
            if !field.accepts(wire) {
                return Err(SchemaError::WireType {
                    message: self.name,
                    field: field.name,
                    wire,
                });
            }
            if let FieldKind::Message(nested) = field.kind {
                nested.check_nested(value, depth + 1)?;
            }
        }
        for (index, field) in self.fields.iter().enumerate().take(128) {
            if field.label == Label::Required && seen & (1 << index) == 0 {
                return Err(SchemaError::Missing {
                    message: self.name,
                    field: field.name,
                });
            }
        }
        Ok(())
    }
}

impl FieldSchema {
    fn accepts(&self, wire: u8) -> bool {
        let own = match self.kind {
            FieldKind::Fixed64 => 1,
            FieldKind::String | FieldKind::Bytes | FieldKind::Message(_) => 2,
            FieldKind::Fixed32 => 5,
            _ => 0,
        };
        // Repeated numbers may be packed.
        wire == own || (wire == 2 && self.label == Label::Repeated)
    }
}

/// Walks over the fields of one message.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        let value = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(value)
    }

    /// Number, wire type, and the contents when the field is delimited by a length.
    fn field(&mut self) -> Option<(u32, u8, &'a [u8])> {
        let key = u32::try_from(self.varint()?).ok()?;
        let (number, wire) = (key >> 3, (key & 7) as u8);
        if number == 0 {
            return None;
        }
        let value = match wire {
            0 => {
                self.varint()?;
                &[]
            }
            1 => self.take(8)?,
            2 => {
                let length = self.varint()?;
                self.take(length)?
            }
            5 => self.take(4)?,
            _ => return None,
        };
        Some((number, wire, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{CgroupDirEntry, FdinfoEntry, PstreeEntry};
    use prost::Message;

    #[test]
    fn required_fields() {
        let entry = PstreeEntry {
            pid: 1,
            ppid: 0,
            pgid: 1,
            sid: 1,
            threads: vec![1, 2],
        };
        let bytes = entry.encode_to_vec();
        assert_eq!(PstreeEntry::schema().check(&bytes), Ok(()));
        assert_eq!(
            PstreeEntry::schema().check(&bytes[2..]),
            Err(SchemaError::Missing {
                message: "pstree_entry",
                field: "pid"
            })
        );
        assert!(matches!(
            PstreeEntry::schema().check(&bytes[..bytes.len() - 1]),
            Err(SchemaError::Malformed { .. })
        ));
        assert!(FdinfoEntry::schema().check(&[]).is_err());
    }

    #[test]
    fn packed_numbers_and_unknown_fields_are_read() {
        // pid, ppid, pgid, sid = 1; threads packed: 3 and 4; field 15 is of the future.
        let bytes = [8, 1, 16, 1, 24, 1, 32, 1, 42, 2, 3, 4, 120, 9];
        assert_eq!(PstreeEntry::schema().check(&bytes), Ok(()));
        assert_eq!(PstreeEntry::decode(&bytes[..]).unwrap().threads, [3, 4]);
        assert!(matches!(
            PstreeEntry::schema().check(&[9, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(SchemaError::WireType {
                field: "pid",
                wire: 1,
                ..
            })
        ));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut entry = CgroupDirEntry {
            dir_name: "d".into(),
            ..Default::default()
        };
        for _ in 0..200 {
            entry = CgroupDirEntry {
                dir_name: "d".into(),
                children: vec![entry],
                ..Default::default()
            };
        }
        let result = CgroupDirEntry::schema().check(&entry.encode_to_vec());
        assert!(matches!(result, Err(SchemaError::TooDeep { .. })), "{result:?}");
    }
}
