use std::ffi::OsString;

use proptest::prelude::*;

use super::{ParseError, Parsed, parse, resolve};
use crate::table::{OPTIONS, Settings};
use criu_engine::options::SETTING_NAMES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flag,
    Value,
    Optional,
}
use Kind::{Flag, Optional, Value};

/// The command line of CRIU 4.2: long name, short name, kind, whether `--no-NAME` exists, and a value to try.
const FACTS: &[(&str, &str, Kind, bool, &str)] = &[
    ("tree", "t", Value, false, "17"),
    ("leave-stopped", "s", Flag, false, ""),
    ("leave-running", "R", Flag, false, ""),
    ("restore-detached", "d", Flag, true, ""),
    ("restore-sibling", "S", Flag, true, ""),
    ("daemon", "", Flag, true, ""),
    ("images-dir", "D", Value, false, "word"),
    ("work-dir", "W", Value, false, "word"),
    ("log-file", "o", Value, false, "word"),
    ("join-ns", "J", Value, false, "net:12"),
    ("root", "r", Value, false, "word"),
    ("ext-unix-sk", "x", Optional, false, "77"),
    ("help", "h", Flag, false, ""),
    ("tcp-established", "", Flag, true, ""),
    ("close", "", Value, false, "9"),
    ("log-pid", "", Flag, true, ""),
    ("version", "V", Flag, false, ""),
    ("evasive-devices", "", Flag, true, ""),
    ("pidfile", "", Value, false, "word"),
    ("veth-pair", "", Value, false, "eth0=veth1"),
    ("action-script", "", Value, false, "word"),
    ("link-remap", "", Flag, true, ""),
    ("shell-job", "j", Flag, true, ""),
    ("file-locks", "l", Flag, true, ""),
    ("page-server", "", Flag, true, ""),
    ("address", "", Value, false, "word"),
    ("port", "", Value, false, "4321"),
    ("prev-images-dir", "", Value, false, "word"),
    ("ms", "", Flag, false, ""),
    ("track-mem", "", Flag, true, ""),
    ("auto-dedup", "", Flag, true, ""),
    ("libdir", "L", Value, false, "word"),
    ("cpu-cap", "", Optional, false, "fpu,ins"),
    ("force-irmap", "", Flag, true, ""),
    ("ext-mount-map", "M", Value, false, "a:b"),
    ("exec-cmd", "", Flag, false, ""),
    ("manage-cgroups", "", Optional, false, "full"),
    ("cgroup-root", "", Value, false, "cpu:/a"),
    ("inherit-fd", "", Value, false, "fd[5]:pipe[7]"),
    ("feature", "", Value, false, "word"),
    ("skip-mnt", "", Value, false, "word"),
    ("enable-fs", "", Value, false, "word"),
    ("enable-external-sharing", "", Flag, false, ""),
    ("enable-external-masters", "", Flag, false, ""),
    ("freeze-cgroup", "", Value, false, "word"),
    ("ghost-limit", "", Value, false, "2M"),
    ("irmap-scan-path", "", Value, false, "word"),
    ("lsm-profile", "", Value, false, "word"),
    ("timeout", "", Value, false, "33"),
    ("external", "", Value, false, "file[1:2]:x"),
    ("empty-ns", "", Value, false, "word"),
    ("lazy-pages", "", Flag, false, ""),
    ("extra", "", Flag, true, ""),
    ("experimental", "", Flag, true, ""),
    ("all", "", Flag, false, ""),
    ("cgroup-props", "", Value, false, "word"),
    ("cgroup-props-file", "", Value, false, "word"),
    ("cgroup-dump-controller", "", Value, false, "word"),
    ("skip-in-flight", "", Flag, true, ""),
    ("deprecated", "", Flag, true, ""),
    ("display-stats", "", Flag, true, ""),
    ("weak-sysctls", "", Flag, true, ""),
    ("status-fd", "", Value, false, "8"),
    ("tcp-close", "", Flag, true, ""),
    ("verbosity", "v", Optional, false, "4"),
    ("ps-socket", "", Value, false, "6"),
    ("stream", "", Flag, true, ""),
    ("config", "", Value, false, "word"),
    ("no-default-config", "", Flag, false, ""),
    ("tls-cacert", "", Value, false, "word"),
    ("tls-cacrl", "", Value, false, "word"),
    ("tls-cert", "", Value, false, "word"),
    ("tls-key", "", Value, false, "word"),
    ("tls", "", Flag, true, ""),
    ("tls-no-cn-verify", "", Flag, false, ""),
    ("cgroup-yard", "", Value, false, "word"),
    ("pre-dump-mode", "", Value, false, "read"),
    ("file-validation", "", Value, false, "filesize"),
    ("skip-file-rwx-check", "", Flag, true, ""),
    ("lsm-mount-context", "", Value, false, "word"),
    ("network-lock", "", Value, false, "nftables"),
    ("mntns-compat-mode", "", Flag, true, ""),
    ("unprivileged", "", Flag, true, ""),
    ("ghost-fiemap", "", Flag, true, ""),
    ("allow-uprobes", "", Flag, true, ""),
];

/// Our additions.
const OURS: [&str; 3] = ["plugin-dir", "plugin-option", "json"];

fn args(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn read(words: &[&str]) -> Result<Parsed, ParseError> {
    parse(&args(words), false)
}

/// Everything the words set, as text, and the operands.
fn outcome(words: &[&str]) -> Result<(Vec<String>, Vec<OsString>), ParseError> {
    let parsed = read(words)?;
    let mut settings = Settings::default();
    parsed
        .uses
        .iter()
        .try_for_each(|given| given.apply(&mut settings))?;
    let mut set: Vec<String> = SETTING_NAMES
        .iter()
        .filter(|name| settings.options.setting(name) != Settings::default().options.setting(name))
        .map(|name| format!("{name}={}", settings.options.setting(name).unwrap_or_default()))
        .collect();
    for (name, on) in [
        ("help", settings.help),
        ("version", settings.version),
        ("no-default-config", settings.no_default_config),
        ("exec-cmd", settings.exec_cmd),
    ] {
        set.extend(on.then(|| name.to_owned()));
    }
    set.extend(settings.config.map(|path| format!("config={}", path.display())));
    Ok((set, parsed.operands))
}

/// What one option of the facts is expected to set.
fn expected(long: &str, kind: Kind, value: &str) -> Vec<String> {
    let name = if long == "libdir" { "plugin-dir" } else { long };
    match (kind, long) {
        (Flag, "help" | "version" | "no-default-config" | "exec-cmd") => vec![long.to_owned()],
        (Flag, _) => vec![format!("{name}=1")],
        (_, "ext-unix-sk") => vec!["ext-unix-sk=1".to_owned(), format!("ext-unix-sk-inodes={value}")],
        (_, "ghost-limit") => vec!["ghost-limit=2097152".to_owned()],
        _ => vec![format!("{name}={value}")],
    }
}

#[test]
fn the_table_is_that_of_criu_and_ours() {
    let theirs: Vec<&str> = FACTS.iter().map(|fact| fact.0).collect();
    for option in OPTIONS {
        assert_eq!(option.ours, !theirs.contains(&option.long), "{}", option.long);
        assert_eq!(option.ours, OURS.contains(&option.long), "{}", option.long);
    }
    for (long, short, kind, negatable, _) in FACTS {
        let option = OPTIONS.iter().find(|option| option.long == *long).expect(long);
        assert_eq!(option.short, short.bytes().next(), "{long}");
        assert_eq!(option.negatable, *negatable, "{long}");
        let has = match option.arg {
            crate::table::Arg::None => Flag,
            crate::table::Arg::Required(_) => Value,
            crate::table::Arg::Optional(_) => Optional,
        };
        assert_eq!(has, *kind, "{long}");
    }
}

#[test]
fn every_option_in_every_spelling() {
    for (long, short, kind, negatable, value) in FACTS {
        let want = Ok((expected(long, *kind, value), args(&["dump", "end"])));
        let dashed = format!("--{long}");
        let joined = format!("--{long}={value}");
        let clustered = format!("-{short}{value}");
        let dash_short = format!("-{short}");
        let mut spellings: Vec<Vec<&str>> = match kind {
            Flag => vec![vec![&dashed]],
            Value => vec![vec![&joined], vec![&dashed, value]],
            Optional => vec![vec![&joined]],
        };
        if !short.is_empty() {
            spellings.push(vec![&clustered]);
            if *kind == Value {
                spellings.push(vec![&dash_short, value]);
            }
        }
        for spelling in &spellings {
            // The option may stand before, between and after the operands.
            for at in 0..=2 {
                let mut words = vec!["dump", "end"];
                words.splice(at..at, spelling.iter().copied());
                assert_eq!(outcome(&words), want, "{words:?}");
            }
        }
        let negation = format!("--no-{long}");
        if *negatable {
            assert_eq!(outcome(&[&dashed, &negation]), Ok((vec![], vec![])), "{negation}");
            assert_eq!(outcome(&[&negation, &dashed]), outcome(&[&dashed]), "{negation}");
            let with_value = format!("{negation}=1");
            assert!(
                matches!(outcome(&[&with_value]), Err(ParseError::TakesNoValue { .. })),
                "{with_value}"
            );
        } else {
            // At most it abbreviates another one, as --no-all does --no-allow-uprobes.
            let found = resolve(format!("no-{long}").as_bytes());
            assert!(
                found.is_err() || found.is_ok_and(|(option, _)| option.long != *long),
                "{negation}"
            );
        }
    }
}

#[test]
fn every_option_refuses_the_wrong_shape() {
    for (long, short, kind, _, _) in FACTS {
        let dashed = format!("--{long}");
        let dash_short = format!("-{short}");
        match kind {
            Flag => {
                let error = outcome(&[&format!("{dashed}=x")]).unwrap_err();
                assert_eq!(error, ParseError::TakesNoValue { option: dashed });
            }
            Value => {
                assert_eq!(
                    outcome(&[&dashed]).unwrap_err(),
                    ParseError::NeedsValue { option: dashed }
                );
                if !short.is_empty() {
                    assert_eq!(
                        outcome(&[&dash_short]).unwrap_err(),
                        ParseError::NeedsValue { option: dash_short }
                    );
                }
            }
            // A separate word is no value but an operand.
            Optional => assert_eq!(outcome(&[&dashed, "4"]).unwrap().1, args(&["4"]), "{dashed}"),
        }
    }
}

#[test]
fn every_unique_prefix_is_the_whole_name() {
    let mut names: Vec<String> = Vec::new();
    for (long, _, _, negatable, _) in FACTS {
        names.push((*long).to_owned());
        names.extend(negatable.then(|| format!("no-{long}")));
    }
    for name in &names {
        for end in 1..=name.len() {
            let prefix = &name[..end];
            let candidates: Vec<&String> = names.iter().filter(|other| other.starts_with(prefix)).collect();
            let found = resolve(prefix.as_bytes());
            if names.iter().any(|other| other == prefix) || candidates.len() == 1 {
                let whole = if names.iter().any(|other| other == prefix) {
                    prefix
                } else {
                    name
                };
                let (option, off) = found.unwrap();
                assert_eq!(
                    if off {
                        format!("no-{}", option.long)
                    } else {
                        option.long.to_owned()
                    },
                    whole
                );
            } else {
                let Err(ParseError::Ambiguous {
                    candidates: listed, ..
                }) = found
                else {
                    panic!("{prefix}")
                };
                let mut listed: Vec<&str> = listed.iter().map(|name| name.trim_start_matches("--")).collect();
                let mut candidates: Vec<&str> = candidates.iter().map(|name| name.as_str()).collect();
                listed.sort_unstable();
                candidates.sort_unstable();
                assert_eq!(listed, candidates, "{prefix}");
            }
        }
    }
}

#[test]
fn verbosity_in_all_its_spellings() {
    for (words, level) in [
        (vec![], "2"),
        (vec!["-v"], "3"),
        (vec!["-vv"], "4"),
        (vec!["-vvvv"], "6"),
        (vec!["-v", "-v"], "4"),
        (vec!["-v0"], "0"),
        (vec!["-v4"], "4"),
        (vec!["-v", "4"], "3"),
        (vec!["-verbosity=0"], "0"),
        (vec!["-verbosity=4"], "0"),
        (vec!["--verbosity=4"], "4"),
        (vec!["--verbosity"], "3"),
        (vec!["--verb=1"], "1"),
        (vec!["-v4x"], "4"),
        (vec!["-v99999999999"], "4294967295"),
        (vec!["-v4294967295", "-v"], "4294967295"),
        (vec!["-sv4"], "4"),
    ] {
        let mut settings = Settings::default();
        for given in read(&words).unwrap().uses {
            given.apply(&mut settings).unwrap();
        }
        assert_eq!(settings.options.log_level.to_string(), level, "{words:?}");
    }
}

#[test]
fn clusters_and_terminators() {
    let both = vec!["leave-stopped=1".to_owned(), "leave-running=1".to_owned()];
    let empty: Vec<String> = vec![];
    for (words, set, operands) in [
        (vec!["-sR"], both.clone(), vec![]),
        (vec!["-Rs", "x"], both.clone(), vec!["x"]),
        (
            vec!["-sRt5"],
            vec!["tree=5".to_owned(), both[0].clone(), both[1].clone()],
            vec![],
        ),
        (
            vec!["-sRt", "5"],
            vec!["tree=5".to_owned(), both[0].clone(), both[1].clone()],
            vec![],
        ),
        (vec!["--", "-s"], empty.clone(), vec!["-s"]),
        (
            vec!["a", "--", "-s", "--", "-R"],
            empty.clone(),
            vec!["a", "-s", "--", "-R"],
        ),
        (vec!["-"], empty.clone(), vec!["-"]),
        (vec![""], empty.clone(), vec![""]),
        (
            vec!["-D", "--", "-s"],
            vec!["leave-stopped=1".to_owned(), "images-dir=--".to_owned()],
            vec![],
        ),
        (
            vec!["--images-dir", "-s"],
            vec!["images-dir=-s".to_owned()],
            vec![],
        ),
        (vec!["-D", "-s"], vec!["images-dir=-s".to_owned()], vec![]),
        (vec!["-D=x"], vec!["images-dir==x".to_owned()], vec![]),
        (
            vec!["--images-dir=a=b"],
            vec!["images-dir=a=b".to_owned()],
            vec![],
        ),
        (vec!["-x"], vec!["ext-unix-sk=1".to_owned()], vec![]),
        (
            vec!["-x1,2", "-x3"],
            vec![
                "ext-unix-sk=1".to_owned(),
                "ext-unix-sk-inodes=1\n2\n3".to_owned(),
            ],
            vec![],
        ),
        (vec!["--libdir", ""], empty.clone(), vec![]),
        (vec!["--cpu-cap"], vec!["cpu-cap=all".to_owned()], vec![]),
        (
            vec!["--manage-cgroups"],
            vec!["manage-cgroups=soft".to_owned()],
            vec![],
        ),
        (
            vec!["-L", "a", "--plugin-dir=b", "--libdir", "c"],
            vec!["plugin-dir=a\nb\nc".to_owned()],
            vec![],
        ),
    ] {
        let (mut got, rest) = outcome(&words).unwrap();
        got.sort();
        let mut want = set;
        want.sort();
        assert_eq!((got, rest), (want, args(&operands)), "{words:?}");
    }
}

#[test]
fn the_first_operand_ends_the_options_where_posix_is_asked_for() {
    let parsed = parse(&args(&["-s", "dump", "-R"]), true).unwrap();
    assert_eq!(parsed.uses.len(), 1);
    assert_eq!(parsed.operands, args(&["dump", "-R"]));
}

#[test]
fn our_additions_leave_abbreviations_of_criu_alone() {
    // `--j` is --join-ns, though --json begins so too; only ours begin with `--pl`.
    assert_eq!(resolve(b"j").unwrap().0.long, "join-ns");
    assert_eq!(resolve(b"js").unwrap().0.long, "json");
    assert_eq!(resolve(b"plugin-d").unwrap().0.long, "plugin-dir");
    assert!(matches!(resolve(b"pl"), Err(ParseError::Ambiguous { .. })));
}

#[test]
fn values_are_checked() {
    for words in [
        vec!["-t", "0"],
        vec!["-t", "-5"],
        vec!["-t", "self"],
        vec!["-t", "99999999999"],
        vec!["-t", ""],
        vec!["--timeout", "1.5"],
        vec!["--ghost-limit", "many"],
        vec!["--port", "65536"],
        vec!["--cpu-cap=mmx"],
        vec!["--network-lock", "ebpf"],
        vec!["--file-validation", "checksum"],
        vec!["--manage-cgroups=hard"],
        vec!["--pre-dump-mode", "fast"],
        vec!["--inherit-fd", "5:x"],
        vec!["--external", "file"],
        vec!["--close", "x"],
        vec!["-xabc"],
        vec!["-D", ""],
        vec!["--plugin-option", "nodot=1"],
    ] {
        assert!(
            matches!(outcome(&words), Err(ParseError::Value { .. })),
            "{words:?}"
        );
    }
    for (words, error) in [
        (vec!["-z"], "invalid option -- 'z'"),
        (vec!["-sz"], "invalid option -- 'z'"),
        (vec!["-:"], "invalid option -- ':'"),
        (vec!["--nonsense"], "unrecognized option '--nonsense'"),
        (
            vec!["--tls-c"],
            "option '--tls-c' is ambiguous; it could be --tls-cacert, --tls-cacrl, --tls-cert",
        ),
    ] {
        assert_eq!(outcome(&words).unwrap_err().to_string(), error, "{words:?}");
    }
}

#[test]
fn paths_need_not_be_text_but_words_must() {
    use std::os::unix::ffi::OsStringExt;
    let raw = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let parsed = parse(&[raw(b"-D\xff"), raw(b"--work-dir=\xfe")], false).unwrap();
    let mut settings = Settings::default();
    parsed
        .uses
        .iter()
        .for_each(|given| given.apply(&mut settings).unwrap());
    assert_eq!(settings.options.images_dir.into_os_string(), raw(b"\xff"));
    let parsed = parse(&[raw(b"-t\xff")], false).unwrap();
    assert!(parsed.uses[0].apply(&mut Settings::default()).is_err());
}

/// Words that look like command lines, and some that do not.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let names: Vec<String> = OPTIONS.iter().map(|option| option.long.to_owned()).collect();
    let cut = (
        proptest::sample::select(names),
        0..40usize,
        any::<bool>(),
        "[=]?[a-z0-9\\[\\]:,^]{0,6}",
    );
    prop_oneof![
        proptest::collection::vec(1..=255u8, 0..12),
        cut.prop_map(|(name, end, no, value)| {
            let end = end.min(name.len());
            format!("--{}{}{value}", if no { "no-" } else { "" }, &name[..end]).into_bytes()
        }),
        "-[a-zA-Z0-9=:]{0,5}".prop_map(String::into_bytes),
        "[0-9]{1,12}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn no_command_line_breaks_the_parser(words in proptest::collection::vec(word(), 0..8), posix in any::<bool>()) {
        use std::os::unix::ffi::OsStringExt;
        let words: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
        if let Ok(parsed) = parse(&words, posix) {
            // No word is lost or made up: each use takes a word of its own at most, and values come from words.
            prop_assert!(parsed.operands.len() <= words.len());
            prop_assert!(parsed.operands.iter().all(|operand| words.contains(operand)));
            let mut settings = Settings::default();
            for given in &parsed.uses {
                let _ = given.apply(&mut settings);
            }
        }
    }
}
