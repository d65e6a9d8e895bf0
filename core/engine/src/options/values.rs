//! The values that options take, and how they are read from text.

use std::str::FromStr;

/// Why the text of an option's value was not accepted. Carries no option name: the caller knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct ValueError {
    /// The text as given.
    pub value: String,
    /// What would have been accepted, as a noun phrase.
    pub expected: String,
}

impl ValueError {
    /// An error about `value` where `expected` was wanted.
    pub fn new(value: &str, expected: impl Into<String>) -> Self {
        ValueError {
            value: value.to_owned(),
            expected: expected.into(),
        }
    }
}

/// Declares an enum whose variants are words on the command line.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $what:literal, $( $(#[$vmeta:meta])* $variant:ident = $word:literal $(| $alias:literal)* ),+ $(,)?) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum $name { $( $(#[$vmeta])* $variant, )+ }

        impl $name {
            /// The words the option takes, in the order of the variants.
            pub const WORDS: &[&str] = &[$($word),+];

            /// The word of this variant.
            pub fn word(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }
        }

        impl FromStr for $name {
            type Err = ValueError;
            fn from_str(text: &str) -> Result<Self, ValueError> {
                match text {
                    $( $word $(| $alias)* => Ok($name::$variant), )+
                    _ => Err(ValueError::new(text, concat!($what, " (one of: ", words!(@list $($word),+), ")"))),
                }
            }
        }
    };
    (@list $first:literal $(, $rest:literal)*) => { concat!($first $(, ", ", $rest)*) };
}

words! {
    /// `--manage-cgroups[=MODE]`: what restore does with control groups. Without the option [`Self::Ignore`] on the
    /// command line; the option without a mode means [`Self::Soft`].
    ManageCgroups, "a way to manage cgroups",
    /// Leave cgroups alone.
    #[default] Ignore = "ignore",
    /// Expect the cgroups to exist and touch nothing in them.
    None = "none",
    /// Only restore properties of cgroups, which must exist.
    Props = "props",
    /// Restore only what does not exist.
    Soft = "soft",
    /// Restore cgroups and properties always.
    Full = "full",
    /// Restore everything and fail when something is there already.
    Strict = "strict",
}

words! {
    /// `--network-lock METHOD`: how traffic of frozen connections is held back.
    NetworkLock, "a network lock method",
    /// By iptables rules; the default of CRIU 4.2.
    #[default] Iptables = "iptables",
    /// By nftables rules.
    Nftables = "nftables",
    /// Not at all: the caller has seen to it.
    Skip = "skip",
}

words! {
    /// `--file-validation METHOD`: how restore tells that a file is still the one that was dumped.
    FileValidation, "a file validation method",
    /// By its size alone.
    Filesize = "filesize",
    /// By the build-id of ELF files, by the size of all others; the default of CRIU 4.2.
    #[default] BuildId = "buildid",
}

words! {
    /// `--pre-dump-mode MODE`: how a pre-dump takes memory.
    PreDumpMode, "a pre-dump mode",
    /// Through pipes filled by the parasite; the default.
    #[default] Splice = "splice",
    /// By process_vm_readv(2) on the running tasks.
    Read = "read",
}

/// What becomes of the tasks once a dump has succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FinalState {
    /// They are killed; the default of a dump.
    #[default]
    Kill,
    /// They stay stopped (`--leave-stopped`).
    Stopped,
    /// They go on (`--leave-running`).
    Running,
}

/// `--cpu-cap[=CAP,...]`: which of the processor's abilities must match between the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuCap(u32);

impl CpuCap {
    /// Nothing is checked.
    pub const NONE: CpuCap = CpuCap(0);
    /// The floating point state: the restoring machine must know every extended state the dumping one knew.
    pub const FPU: CpuCap = CpuCap(1);
    /// The whole CPU: every capability word must be equal.
    pub const CPU: CpuCap = CpuCap(2);
    /// The instructions: the restoring machine must have every instruction set the dumping one had.
    pub const INS: CpuCap = CpuCap(4);
    /// All of it.
    pub const ALL: CpuCap = CpuCap(7);
    /// What a dump or restore takes when the option is absent.
    pub const DEFAULT: CpuCap = Self::FPU;

    const NAMES: [(&'static str, CpuCap); 5] = [
        ("none", Self::NONE),
        ("fpu", Self::FPU),
        ("cpu", Self::CPU),
        ("ins", Self::INS),
        ("all", Self::ALL),
    ];

    /// Whether every bit of `other` is set; for [`Self::NONE`] whether no bit is.
    pub fn contains(self, other: CpuCap) -> bool {
        if other.0 == 0 {
            self.0 == 0
        } else {
            self.0 & other.0 == other.0
        }
    }
}

impl std::ops::BitOr for CpuCap {
    type Output = CpuCap;
    fn bitor(self, other: CpuCap) -> CpuCap {
        CpuCap(self.0 | other.0)
    }
}

impl std::fmt::Display for CpuCap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::NONE || *self == Self::ALL {
            return f.write_str(if *self == Self::ALL { "all" } else { "none" });
        }
        let names = Self::NAMES[1..4]
            .iter()
            .filter(|(_, bit)| self.contains(*bit))
            .map(|(name, _)| *name);
        f.write_str(&names.collect::<Vec<_>>().join(","))
    }
}

impl FromStr for CpuCap {
    type Err = ValueError;
    /// A comma-separated list; each word adds to the set, `^word` takes away, `none` empties it.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut set = CpuCap::NONE;
        for word in text.split(',') {
            let (take_away, name) = match word.strip_prefix('^') {
                Some(name) => (true, name),
                None => (false, word),
            };
            let Some((_, bits)) = Self::NAMES.iter().find(|(known, _)| *known == name) else {
                return Err(ValueError::new(
                    word,
                    "a CPU capability (none, fpu, cpu, ins, all; ^NAME takes away)",
                ));
            };
            set = match (name, take_away) {
                ("none", false) => CpuCap::NONE,
                (_, true) => CpuCap(set.0 & !bits.0),
                (_, false) => CpuCap(set.0 | bits.0),
            };
        }
        Ok(set)
    }
}

/// `--inherit-fd fd[N]:KEY`: restore takes the program's own descriptor `fd` wherever an object named `key` stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InheritFd {
    /// A descriptor open in the program when it was started; never negative.
    pub fd: i32,
    /// The name the dump gave the object: `kind[id]`, or a path.
    pub key: String,
}

impl FromStr for InheritFd {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parsed = text
            .strip_prefix("fd[")
            .and_then(|rest| rest.split_once("]:"))
            .and_then(|(number, key)| {
                let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
                let fd = digits.then(|| number.parse::<i32>().ok()).flatten()?;
                (!key.is_empty()).then(|| InheritFd {
                    fd,
                    key: key.to_owned(),
                })
            });
        parsed.ok_or_else(|| ValueError::new(text, "of the form fd[NUMBER]:KEY"))
    }
}

/// `--external KIND[KEY]:VALUE`: an object that belongs to the outside and is not to be saved.
///
/// What the parts mean is for the plugin that serves the kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// The text as given; what images and plugins compare with.
    pub text: String,
    /// The word before the bracket.
    pub kind: String,
    /// What stands inside the brackets; may be empty.
    pub key: String,
    /// What follows `]:`, if anything does.
    pub value: Option<String>,
}

impl FromStr for External {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::new(text, "of the form KIND[KEY] or KIND[KEY]:VALUE");
        let (kind, rest) = text.split_once('[').ok_or_else(wrong)?;
        if kind.is_empty()
            || !kind
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            return Err(wrong());
        }
        let (key, value) = match rest.split_once("]:") {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (rest.strip_suffix(']').ok_or_else(wrong)?, None),
        };
        Ok(External {
            text: text.to_owned(),
            kind: kind.to_owned(),
            key: key.to_owned(),
            value,
        })
    }
}

/// `--join-ns NS:WHERE[,EXTRA]`: a namespace that exists already and is entered on restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinNs {
    /// The namespace's type as /proc/PID/ns spells it.
    pub ns: String,
    /// A pid whose namespace is meant, or a path of a namespace file.
    pub file: String,
    /// For a user namespace `UID,GID`; for others what follows the first comma.
    pub extra: Option<String>,
}

impl FromStr for JoinNs {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.split_once(':') {
            Some((ns, rest)) if !ns.is_empty() && !rest.is_empty() => {
                let (file, extra) = match rest.split_once(',') {
                    Some((file, extra)) => (file, Some(extra.to_owned())),
                    None => (rest, None),
                };
                Ok(JoinNs {
                    ns: ns.to_owned(),
                    file: file.to_owned(),
                    extra,
                })
            }
            _ => Err(ValueError::new(
                text,
                "of the form NS:PID or NS:PATH, then ,EXTRA if needed",
            )),
        }
    }
}

/// `--veth-pair INNER=OUTER`: the name of the outer end of a restored pair of network devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethPair {
    /// The end inside the network namespace.
    pub inner: String,
    /// The end outside of it.
    pub outer: String,
}

impl FromStr for VethPair {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.split_once('=') {
            Some((inner, outer)) if !inner.is_empty() && !outer.is_empty() => Ok(VethPair {
                inner: inner.to_owned(),
                outer: outer.to_owned(),
            }),
            _ => Err(ValueError::new(text, "of the form INNER=OUTER")),
        }
    }
}

/// `-M/--ext-mount-map KEY:VALUE` or `auto[:FLAGS]`: a mount that belongs to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtMountMap {
    /// On dump the mount point, on restore the name the dump gave it; `auto` finds all of them by itself.
    pub key: String,
    /// On dump the name to save, on restore the path to mount; absent for a bare `auto`.
    pub value: Option<String>,
}

impl FromStr for ExtMountMap {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.split_once(':') {
            Some((key, value)) if !key.is_empty() => Ok(ExtMountMap {
                key: key.to_owned(),
                value: Some(value.to_owned()),
            }),
            None if text == "auto" => Ok(ExtMountMap {
                key: text.to_owned(),
                value: None,
            }),
            _ => Err(ValueError::new(text, "of the form KEY:VALUE, or auto")),
        }
    }
}

/// `--cgroup-root [CONTROLLER:]PATH`: where restore puts the cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupRoot {
    /// The controller meant; all of them when absent.
    pub controller: Option<String>,
    /// The directory inside the hierarchy, beginning with a slash.
    pub path: String,
}

impl FromStr for CgroupRoot {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (controller, path) = match text.split_once(':') {
            Some((controller, path)) if !text.starts_with('/') => (Some(controller.to_owned()), path),
            _ => (None, text),
        };
        if !path.starts_with('/') {
            return Err(ValueError::new(text, "of the form [CONTROLLER:]/PATH"));
        }
        Ok(CgroupRoot {
            controller,
            path: path.to_owned(),
        })
    }
}

/// Reads a size in bytes: digits with an optional suffix K, M or G (powers of 1024), in either case.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let wrong = || ValueError::new(text, "a size (digits, then K, M or G if wanted)");
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// One `--plugin-option PLUGIN.NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginOption {
    /// The plugin's name.
    pub plugin: String,
    /// The option's name as the plugin declares it.
    pub name: String,
    /// The value as text; "1" when `=VALUE` is left out.
    pub value: String,
}

impl FromStr for PluginOption {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (left, value) = text.split_once('=').unwrap_or((text, "1"));
        match left.split_once('.') {
            Some((plugin, name)) if !plugin.is_empty() && !name.is_empty() => Ok(PluginOption {
                plugin: plugin.to_owned(),
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(ValueError::new(text, "of the form PLUGIN.NAME=VALUE")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_capabilities_add_and_take_away() {
        let read = |text: &str| text.parse::<CpuCap>().unwrap().to_string();
        assert_eq!(CpuCap::DEFAULT.to_string(), "fpu");
        assert_eq!((CpuCap::FPU | CpuCap::INS).to_string(), "fpu,ins");
        assert_eq!(read("all"), "all");
        assert_eq!(read("none"), "none");
        assert_eq!(read("fpu,none"), "none");
        assert_eq!(read("cpu,fpu"), "fpu,cpu");
        assert_eq!(read("all,^ins"), "fpu,cpu");
        assert!("".parse::<CpuCap>().is_err());
        assert!("fpu,,ins".parse::<CpuCap>().is_err());
    }

    #[test]
    fn externals_fall_into_their_parts() {
        let parts = |text: &str| {
            let e: External = text.parse().unwrap();
            assert_eq!(e.text, text);
            (e.kind, e.key, e.value)
        };
        assert_eq!(parts("file[1a:2]"), ("file".into(), "1a:2".into(), None));
        assert_eq!(parts("mnt[]"), ("mnt".into(), "".into(), None));
        assert_eq!(
            parts("mnt[/a]:b]:c"),
            ("mnt".into(), "/a".into(), Some("b]:c".into()))
        );
        for wrong in ["", "file", "[x]", "file[x", "file]x[", "a b[x]", "file[x]y"] {
            assert!(wrong.parse::<External>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_know_suffixes_and_bounds() {
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("4k"), Ok(4096));
        assert_eq!(parse_size("1M"), Ok(1 << 20));
        assert_eq!(parse_size("2G"), Ok(2 << 30));
        for wrong in [
            "",
            "K",
            "-1",
            "+1",
            "1T",
            "1 M",
            "99999999999999999999",
            "18446744073709551615K",
            "µ",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn composed_values_are_checked() {
        assert_eq!(
            "fd[5]:pipe[7]".parse(),
            Ok(InheritFd {
                fd: 5,
                key: "pipe[7]".into()
            })
        );
        for wrong in [
            "5:x",
            "fd[]:x",
            "fd[-1]:x",
            "fd[+1]:x",
            "fd[99999999999]:x",
            "fd[1]:",
            "fd[1]",
        ] {
            assert!(wrong.parse::<InheritFd>().is_err(), "{wrong}");
        }
        assert!("net".parse::<JoinNs>().is_err());
        let join: JoinNs = "user:12,0,0".parse().unwrap();
        assert_eq!((join.file.as_str(), join.extra.as_deref()), ("12", Some("0,0")));
        assert!("name:relative".parse::<CgroupRoot>().is_err());
        assert_eq!(
            "cpu:/a".parse::<CgroupRoot>().unwrap().controller.as_deref(),
            Some("cpu")
        );
        assert_eq!("/a:b".parse::<CgroupRoot>().unwrap().controller, None);
    }
}
