//! How kinds and plugins make themselves known: to the program or library they are linked into by
//! [`inventory`], and to everyone else by notes in the file.

use crate::kinds::{FeatureProbe, FileKind, MappingKind, StageHook, TaskKind};

/// A kind that registered itself.
#[derive(Debug)]
pub struct Registration {
    /// Its name, unique within plugin and extension point.
    pub name: &'static str,
    /// What it claims; see [`Claim`](crate::Claim).
    pub claims: &'static [&'static str],
    /// The package it was compiled in; tells plugins apart that are linked into one program.
    pub package: &'static str,
    /// Makes it, once per start of the plugin.
    pub make: Make,
}

/// The constructor of a kind, by extension point.
#[derive(Debug, Clone, Copy)]
pub enum Make {
    /// A [`FileKind`].
    File(fn() -> Box<dyn FileKind>),
    /// A [`MappingKind`].
    Mapping(fn() -> Box<dyn MappingKind>),
    /// A [`TaskKind`].
    Task(fn() -> Box<dyn TaskKind>),
    /// A [`StageHook`].
    Stage(fn() -> Box<dyn StageHook>),
    /// A [`FeatureProbe`].
    Feature(fn() -> Box<dyn FeatureProbe>),
}

impl Make {
    /// The id and revision of the extension point.
    pub fn point(&self) -> &'static str {
        match self {
            Self::File(_) => crate::Point::File.id(),
            Self::Mapping(_) => crate::Point::Mapping.id(),
            Self::Task(_) => crate::Point::Task.id(),
            Self::Stage(_) => crate::Point::Stage.id(),
            Self::Feature(_) => crate::Point::Feature.id(),
        }
    }
}

/// A plugin that exports itself.
#[derive(Debug)]
pub struct PluginDescription {
    /// Its name.
    pub name: &'static str,
    /// The package it was compiled in.
    pub package: &'static str,
    /// The text of its note, in parts.
    pub note: &'static [&'static str],
}

inventory::collect!(Registration);
inventory::collect!(PluginDescription);

/// Registers a kind.
///
/// ```ignore
/// criu_plugin_api::register! {
///     kind: Kmsg::default(),
///     point: FileKind,
///     name: "kmsg",
///     claims: ["chr:1:11", "image:16:kmsg.img"],
/// }
/// ```
///
/// `kind` is an expression that makes the kind; it runs once, when the plugin is started. `point` is one
/// of `FileKind`, `MappingKind`, `TaskKind`, `StageHook`, `FeatureProbe`. A type that serves two points is registered
/// twice; when both must share state, keep it in a `thread_local!` and register `Rc`s of it (the traits
/// are implemented for `Rc`). `name` is a word of `[a-z0-9_-]`. The claims are described at
/// [`Claim`](crate::Claim).
#[macro_export]
macro_rules! register {
    (kind: $kind:expr, point: $point:ident, name: $name:literal, claims: [$($claim:literal),* $(,)?] $(,)?) => {
        const _: () = {
            const PARTS: &[&str] = &[
                "kind ", $name, "\n",
                "point ", $crate::__criu_point!(id $point), "\n",
                $("claim ", $claim, "\n",)*
            ];
            $crate::__private::check_word($name);
            $($crate::__private::check_claim($claim);)*

            #[used]
            #[unsafe(link_section = ".note.criu")]
            static NOTE: $crate::__private::Note<{ $crate::__private::padded(PARTS) }> =
                $crate::__private::Note::new($crate::__private::KIND_NOTE, PARTS);

            $crate::inventory::submit! {
                $crate::__private::Registration {
                    name: $name,
                    claims: &[$($claim),*],
                    package: env!("CARGO_PKG_NAME"),
                    make: $crate::__criu_point!(make $point $kind),
                }
            }
        };
    };
}

/// The part of [`register!`] that depends on the extension point.
#[doc(hidden)]
#[macro_export]
macro_rules! __criu_point {
    (id FileKind) => {
        "file-kind/1"
    };
    (id MappingKind) => {
        "mapping-kind/1"
    };
    (id TaskKind) => {
        "task-kind/1"
    };
    (id StageHook) => {
        "stage-hook/1"
    };
    (id FeatureProbe) => {
        "feature-probe/1"
    };
    (make FileKind $kind:expr) => {
        $crate::__private::Make::File(|| ::std::boxed::Box::new($kind))
    };
    (make MappingKind $kind:expr) => {
        $crate::__private::Make::Mapping(|| ::std::boxed::Box::new($kind))
    };
    (make TaskKind $kind:expr) => {
        $crate::__private::Make::Task(|| ::std::boxed::Box::new($kind))
    };
    (make FeatureProbe $kind:expr) => {
        $crate::__private::Make::Feature(|| ::std::boxed::Box::new($kind))
    };
    (make StageHook $kind:expr) => {
        $crate::__private::Make::Stage(|| ::std::boxed::Box::new($kind))
    };
}

/// Exports the plugin; once per crate, and one such crate per shared object.
///
/// ```ignore
/// criu_plugin_api::export_plugin! {
///     name: "kmsg",
///     description: "The log of the kernel, /dev/kmsg",
///     options: [
///         { name: "rewind", kind: "bool", default: "no", help: "Read from the first message again" },
///     ],
/// }
/// ```
///
/// `name` is a word of `[a-z0-9_-]`, unique among the plugins of a machine. The version is that of the
/// package. `options` may be left out; `kind` is one of bool, int, string, size; `default` may be left
/// out. Users set them by `--plugin-option NAME.OPTION=VALUE` or in `[plugin.NAME]` of a configuration.
///
/// The exported symbol carries the plugin's name, so crates that export themselves can be linked
/// together into one program.
#[macro_export]
macro_rules! export_plugin {
    (
        name: $name:literal,
        description: $description:literal
        $(, options: [$({
            name: $option:literal, kind: $kind:literal, $(default: $default:literal,)? help: $help:literal $(,)?
        }),* $(,)?])?
        $(,)?
    ) => {
        const _: () = {
            const PARTS: &[&str] = &[
                "plugin ", $name, "\n",
                "version ", env!("CARGO_PKG_VERSION"), "\n",
                "api ", $crate::API_VERSION, "\n",
                "abi ", $crate::__private::ABI, "\n",
                "build ", $crate::__private::BUILD, "\n",
                "panic ", if cfg!(panic = "unwind") { "unwind" } else { "abort" }, "\n",
                "description ", $description, "\n",
                $($("option ", $option, "\t", $kind, "\t", $("=", $default,)? "\t", $help, "\n",)*)?
            ];
            $crate::__private::check_word($name);
            $crate::__private::check_line($description);
            $($(
                $crate::__private::check_word($option);
                $crate::__private::check_option_kind($kind);
                $($crate::__private::check_line($default);)?
                $crate::__private::check_line($help);
            )*)?

            #[used]
            #[unsafe(link_section = ".note.criu")]
            static NOTE: $crate::__private::Note<{ $crate::__private::padded(PARTS) }> =
                $crate::__private::Note::new($crate::__private::PLUGIN_NOTE, PARTS);

            // The name is checked above; the symbol is this plugin's alone.
            #[used]
            #[unsafe(export_name = concat!("criu_plugin_root_1_", $name))]
            pub static ROOT: $crate::__private::RootHeader = $crate::__private::RootHeader::new();

            $crate::inventory::submit! {
                $crate::__private::PluginDescription {
                    name: $name,
                    package: env!("CARGO_PKG_NAME"),
                    note: PARTS,
                }
            }
        };
    };
}
