//! `--cgroup-root [CONTROLLER:]/PATH`.

use criu_plugin_api::{Error, Host, Result};

use crate::set::is_plain;

/// Where the groups of a hierarchy begin, as the user says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roots {
    /// For the hierarchies that no other names.
    all: Option<String>,
    named: Vec<(String, String)>,
}

impl Roots {
    pub(crate) fn of(host: &Host<'_>) -> Result<Self> {
        let mut roots = Self::default();
        for text in host.settings("cgroup-root")? {
            let (name, path) = match text.split_once(':') {
                Some((name, path)) if !text.starts_with('/') => (Some(name), path),
                _ => (None, text.as_str()),
            };
            if !path.starts_with('/') || !is_plain(path.as_bytes()) {
                return Err(Error::new(format!(
                    "--cgroup-root {text} is not the path of a group"
                )));
            }
            let trimmed = path.trim_end_matches('/');
            let path = if trimmed.is_empty() { "/" } else { trimmed }.to_owned();
            match name {
                Some(name) => roots.named.push((name.to_owned(), path)),
                None => roots.all = Some(path),
            }
        }
        Ok(roots)
    }

    /// The root for a hierarchy; the last that names it counts.
    pub(crate) fn find(&self, hierarchy: &str) -> Option<&[u8]> {
        let named = self.named.iter().rev();
        let named = named.filter(|(name, _)| names_hierarchy(name, hierarchy));
        named
            .map(|(_, path)| path)
            .next()
            .or(self.all.as_ref())
            .map(|path| path.as_bytes())
    }
}

/// Whether a user's word means a hierarchy: one of its controllers, all of them, or a name with or without `name=`.
pub(crate) fn names_hierarchy(word: &str, hierarchy: &str) -> bool {
    word == hierarchy
        || hierarchy
            .split(',')
            .any(|part| part == word || part.strip_prefix("name=") == Some(word))
        || (word == "unified" && hierarchy.is_empty())
        || (!word.is_empty() && crate::hierarchy::same(word, hierarchy))
}

/// `path` with `new` in place of `old`, in which it lies.
pub(crate) fn moved(path: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let old = old.strip_suffix(b"/").unwrap_or(old);
    let rest = path.strip_prefix(old).unwrap_or(path);
    let rest = if rest == b"/" { b"" } else { rest };
    let mut moved = new.strip_suffix(b"/").unwrap_or(new).to_vec();
    moved.extend_from_slice(rest);
    if moved.is_empty() {
        moved.push(b'/');
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use criu_plugin_api::testing::MockHost;

    fn roots(texts: &[&str]) -> Result<Roots> {
        let mut mock = MockHost::new();
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        mock.settings.insert("cgroup-root".to_owned(), texts);
        Roots::of(&Host::new(&mock, "cgroup"))
    }

    #[test]
    fn one_for_all_and_one_for_each() {
        let roots = roots(&["/all/", "cpuacct:/c", "name=systemd:/s", ":/2"]).unwrap();
        assert_eq!(roots.find("memory"), Some(b"/all".as_slice()));
        assert_eq!(roots.find("cpu,cpuacct"), Some(b"/c".as_slice()));
        assert_eq!(roots.find("name=systemd"), Some(b"/s".as_slice()));
        assert_eq!(roots.find(""), Some(b"/2".as_slice()));
        assert_eq!(Roots::default().find("cpu"), None);
    }

    #[test]
    fn paths_that_lead_up_are_refused() {
        assert!(roots(&["/a/../b"]).is_err());
        assert!(roots(&["cpu:a"]).is_err());
    }

    #[test]
    fn paths_move_below_another_root() {
        assert_eq!(moved(b"/a/b", b"/a", b"/x"), b"/x/b");
        assert_eq!(moved(b"/a", b"/a", b"/x"), b"/x");
        assert_eq!(moved(b"/a", b"/", b"/x"), b"/x/a");
        assert_eq!(moved(b"/", b"/", b"/x"), b"/x");
        assert_eq!(moved(b"/a/b", b"/a", b"/"), b"/b");
        assert_eq!(moved(b"/a", b"/a", b"/"), b"/");
    }
}
