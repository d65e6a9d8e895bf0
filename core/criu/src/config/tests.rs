use std::path::Path;

use super::{ConfigError, Places, apply, load};
use crate::table::Settings;

fn with(file: &str, text: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    match apply(Path::new(file), text, &mut settings) {
        Ok(()) => Ok(settings),
        Err(error) => Err(error.to_string()),
    }
}

fn setting(file: &str, text: &str, name: &str) -> Option<String> {
    with(file, text).unwrap().options.setting(name)
}

#[test]
fn lines_of_the_classic_form() {
    for (line, name, value) in [
        ("tcp-established", "tcp-established", Some("1")),
        ("  tcp-established   # why", "tcp-established", Some("1")),
        ("no-tcp-established", "tcp-established", None),
        ("tcp-est", "tcp-established", Some("1")),
        ("# tcp-established", "tcp-established", None),
        ("", "tcp-established", None),
        ("work-dir /a/b", "work-dir", Some("/a/b")),
        ("work-dir\t/a/b # c", "work-dir", Some("/a/b")),
        ("work-dir=/a/b", "work-dir", Some("/a/b")),
        (
            "work-dir \"/a/my \\\"work\\\" #dir\"",
            "work-dir",
            Some("/a/my \"work\" #dir"),
        ),
        ("work-dir \"/a\\b\\n\"", "work-dir", Some("/a\\b\\n")),
        ("verbosity 4", "verbosity", Some("4")),
        ("cpu-cap fpu,ins", "cpu-cap", Some("fpu,ins")),
        ("cpu-cap", "cpu-cap", Some("all")),
        ("ghost-limit 2M\r", "ghost-limit", Some("2097152")),
    ] {
        assert_eq!(setting("a.conf", line, name).as_deref(), value, "{line:?}");
    }
}

#[test]
fn wrong_lines_are_told_by_file_and_line() {
    for (line, what) in [
        ("nonsense", "unrecognized option 'nonsense'"),
        ("tcp-established 1", "takes no value"),
        ("work-dir", "needs a value"),
        ("work-dir a b", "\"b\" follows the value"),
        ("work-dir \"a", "does not end"),
        ("--tcp-established", "without the dashes"),
        ("timeout soon", "\"soon\" is not a number of seconds"),
        ("config other", "belongs on the command line"),
        ("help", "belongs on the command line"),
        ("tls-c", "ambiguous"),
    ] {
        let error = with("a.conf", &format!("# first\n\n{line}\n")).unwrap_err();
        assert!(error.starts_with("a.conf:3: "), "{error}");
        assert!(error.contains(what), "{line}: {error}");
    }
}

#[test]
fn toml_keys_are_long_names() {
    let text = r#"
tcp-established = true
file-locks = false
images-dir = "/images"
timeout = 30
verbosity = 4
cpu-cap = "fpu"
ghost-limit = "2M"
plugin-dir = ["/a", "/b"]
close = [3, 4]

[plugin.gpu]
tool = "/bin/tool"
retries = 3
quick = true
slow = false
devices = ["a", 1]
"#;
    let options = with("a.toml", text).unwrap().options;
    for (name, value) in [
        ("tcp-established", Some("1")),
        ("file-locks", None),
        ("images-dir", Some("/images")),
        ("timeout", Some("30")),
        ("verbosity", Some("4")),
        ("cpu-cap", Some("fpu")),
        ("ghost-limit", Some("2097152")),
        ("plugin-dir", Some("/a\n/b")),
        ("close", Some("3\n4")),
    ] {
        assert_eq!(options.setting(name).as_deref(), value, "{name}");
    }
    let plugin: Vec<(&str, &str)> = options.plugin_settings("gpu").into_iter().collect();
    let want = [
        ("devices", "a,1"),
        ("quick", "1"),
        ("retries", "3"),
        ("slow", "0"),
        ("tool", "/bin/tool"),
    ];
    assert_eq!(plugin, want);
}

#[test]
fn wrong_toml_is_told_by_file_and_line() {
    for (text, line, what) in [
        ("a = [", 1, ""),
        ("\nnonsense = 1", 2, "unknown key 'nonsense'"),
        ("\n\ntcp-est = true", 3, "unknown key 'tcp-est'"),
        ("tcp-established = 1", 1, "takes true or false"),
        ("tcp-established = [true]", 1, "text or numbers"),
        ("images-dir = true", 1, "takes a value"),
        ("images-dir = 1979-05-27", 1, "text, a number or a list"),
        ("timeout = -1", 1, "is not a number of seconds"),
        ("config = \"x\"", 1, "belongs on the command line"),
        ("plugin = 1", 1, "not a table"),
        ("x\n= 1", 1, ""),
        ("[plugin]\nfoo = 1", 2, "plugin.foo is not a table"),
        ("[plugin.x]\nfoo = { a = 1 }", 1, "plugin.x.foo is not"),
    ] {
        let error = with("a.toml", text).unwrap_err();
        assert!(
            error.starts_with(&format!("a.toml:{line}: ")),
            "{text:?}: {error}"
        );
        assert!(error.contains(what), "{text:?}: {error}");
    }
}

#[test]
fn the_shipped_configuration_changes_nothing() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config.toml"));
    let mut settings = Settings::default();
    let text = std::fs::read_to_string(path).unwrap();
    apply(path, &text, &mut settings).unwrap();
    for name in criu_engine::options::SETTING_NAMES {
        let plain = Settings::default().options.setting(name);
        assert_eq!(
            settings.options.setting(name),
            plain,
            "{name} in config.toml is not the default"
        );
    }
    // Every option that works today has its place there, commented out or not.
    for option in crate::table::OPTIONS
        .iter()
        .filter(|option| option.status == crate::table::Status::Now)
    {
        let once = [
            "help",
            "version",
            "config",
            "no-default-config",
            "exec-cmd",
            "libdir",
            "tree",
            "close",
            "json",
        ];
        let invocation = [
            "feature",
            "extra",
            "experimental",
            "all",
            "ms",
            "plugin-option",
            "inherit-fd",
            "status-fd",
        ];
        if !once.contains(&option.long) && !invocation.contains(&option.long) {
            assert!(
                text.contains(&format!("{} = ", option.long)),
                "{} is not explained",
                option.long
            );
        }
    }
}

#[test]
fn later_files_override_earlier_ones() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, seconds: u32| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let equals = if name.ends_with("toml") { "=" } else { " " };
        std::fs::write(&path, format!("timeout{equals}{seconds}\n")).unwrap();
        path
    };
    let mut places = Places {
        system: dir.path().join("etc"),
        home: Some(dir.path().join("home")),
        named: None,
    };
    let read = |places: &Places, no_default_config: bool, config: Option<&Path>| {
        let config = config.map(Path::to_owned);
        let mut settings = Settings {
            no_default_config,
            config,
            ..Settings::default()
        };
        load(places, &mut settings).unwrap();
        settings.options.timeout.as_secs()
    };
    assert_eq!(read(&places, false, None), 10);
    for (seconds, name) in [
        (1, "etc/config.toml"),
        (2, "etc/default.conf"),
        (3, "home/.config/criu/config.toml"),
        (4, "home/.criu/default.conf"),
    ] {
        write(name, seconds);
        assert_eq!(read(&places, false, None), u64::from(seconds), "{name}");
    }
    assert_eq!(read(&places, true, None), 10);
    places.named = Some(write("named.conf", 5));
    assert_eq!(read(&places, false, None), 5);
    assert_eq!(read(&places, true, None), 5);
    let given = write("given.toml", 6);
    assert_eq!(read(&places, false, Some(&given)), 6);
}

#[test]
fn a_named_file_must_exist_and_be_text() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places {
        system: dir.path().join("etc"),
        home: None,
        named: Some(dir.path().join("none.conf")),
    };
    let error = load(&places, &mut Settings::default()).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }) && error.to_string().contains("none.conf"));
    std::fs::write(dir.path().join("none.conf"), b"\xff\xfe").unwrap();
    assert!(matches!(
        load(&places, &mut Settings::default()),
        Err(ConfigError::Read { .. })
    ));
    std::fs::write(dir.path().join("none.conf"), "#".repeat((1 << 20) + 1)).unwrap();
    assert!(matches!(
        load(&places, &mut Settings::default()),
        Err(ConfigError::TooLong { .. })
    ));
}
