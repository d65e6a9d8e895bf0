//! Compiles the `.proto` files into Rust, without an installed `protoc`, and writes a description of
//! each message beside them (`criu.images.schema.rs`; the types are those of `src/schema.rs`).

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=proto");
    let mut files = Vec::new();
    for folder in ["images", "rpc"] {
        for entry in std::fs::read_dir(root.join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut descriptors = protox::compile(&files, [&root])?;
    for package in ["criu.images", "criu.rpc"] {
        std::fs::write(
            out.join(format!("{package}.schema.rs")),
            schema(&descriptors, package)?,
        )?;
    }
    byte_strings(&mut descriptors)?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}

/// Fields of type `string` that hold what the kernel treats as bytes: paths, command names. A Rust
/// `String` must be UTF-8 and these need not be, so their type in Rust is `Vec<u8>`. Both types are
/// encoded alike.
const BYTE_STRINGS: &[(&str, &[&str])] = &[
    ("cg_member_entry", &["path"]),
    ("cgroup_dir_entry", &["dir_name"]),
    ("fanotify_mount_mark_entry", &["path"]),
    ("fh_entry", &["path"]),
    ("ghost_file_entry", &["symlnk_target"]),
    ("irmap_cache_entry", &["path"]),
    ("memfd_inode_entry", &["name"]),
    ("mnt_entry", &["root", "mountpoint", "source", "options"]),
    ("reg_file_entry", &["name"]),
    ("task_core_entry", &["comm"]),
    ("thread_core_entry", &["comm"]),
    ("unix_sk_entry", &["name_dir"]),
    ("utsns_entry", &["nodename", "domainname"]),
];

fn byte_strings(set: &mut FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    let files = set.file.iter_mut().filter(|f| f.package() == "criu.images");
    let mut messages: Vec<&mut DescriptorProto> = files.flat_map(|f| &mut f.message_type).collect();
    for (message, fields) in BYTE_STRINGS {
        let found = messages.iter_mut().find(|m| m.name() == *message);
        let found = found.ok_or_else(|| format!("no message {message}"))?;
        for name in *fields {
            let field = found.field.iter_mut().find(|f| f.name() == *name);
            let field = field.filter(|f| f.r#type() == Type::String);
            field
                .ok_or_else(|| format!("no string {message}.{name}"))?
                .set_type(Type::Bytes);
        }
    }
    Ok(())
}

/// The static descriptions of all messages and enums of a package.
fn schema(set: &FileDescriptorSet, package: &str) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for file in set.file.iter().filter(|f| f.package() == package) {
        for e in &file.enum_type {
            enum_schema(&mut text, e.name(), e)?;
        }
        for message in &file.message_type {
            for e in &message.enum_type {
                enum_schema(&mut text, &format!("{}.{}", message.name(), e.name()), e)?;
            }
            message_schema(&mut text, message)?;
        }
    }
    Ok(text)
}

/// `.criu.images.core_entry.march` or `core_entry.march` to `CORE_ENTRY_MARCH`.
fn constant(name: &str) -> String {
    let bare = name
        .trim_start_matches(".criu.images.")
        .trim_start_matches(".criu.rpc.");
    bare.replace('.', "_").to_uppercase()
}

/// As prost names types: `core_entry` to `CoreEntry`.
fn upper_camel(name: &str) -> String {
    let mut out = String::new();
    for word in name.split('_') {
        let mut chars = word.chars();
        out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}

fn enum_schema(text: &mut String, name: &str, e: &EnumDescriptorProto) -> std::fmt::Result {
    let values: Vec<_> = e.value.iter().map(|v| (v.name(), v.number())).collect();
    let symbol = constant(name);
    writeln!(
        text,
        "static {symbol}: EnumSchema = EnumSchema {{ name: {name:?}, values: &{values:?} }};"
    )
}

fn message_schema(text: &mut String, message: &DescriptorProto) -> Result<(), Box<dyn Error>> {
    let (name, symbol) = (message.name(), constant(message.name()));
    writeln!(
        text,
        "static {symbol}: MessageSchema = MessageSchema {{ name: {name:?}, fields: &["
    )?;
    let mut fields: Vec<&FieldDescriptorProto> = message.field.iter().collect();
    fields.sort_by_key(|f| f.number());
    if fields.len() > 128 {
        return Err(format!("{name} has more than 128 fields: src/schema.rs counts to 128").into());
    }
    for field in fields {
        let label = match field.label() {
            Label::Required => "Required",
            Label::Optional => "Optional",
            Label::Repeated => "Repeated",
        };
        let kind = match field.r#type() {
            Type::Enum => format!("Enum(&{})", constant(field.type_name())),
            Type::Message => format!("Message(&{})", constant(field.type_name())),
            scalar => upper_camel(&scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase()),
        };
        writeln!(
            text,
            "    FieldSchema {{ number: {}, name: {:?}, label: Label::{label}, kind: FieldKind::{kind} }},",
            field.number(),
            field.name(),
        )?;
    }
    writeln!(text, "] }};")?;
    let rust = upper_camel(name);
    writeln!(
        text,
        "impl Described for {rust} {{ fn schema() -> &'static MessageSchema {{ &{symbol} }} }}"
    )?;
    Ok(())
}
