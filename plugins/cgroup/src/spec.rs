//! `--cgroup-props`: which properties of which controllers are saved, in the simplified YAML of criu(8).

use criu_plugin_api::{Error, Result};

/// What is said of one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) controller: String,
    /// Instead of the properties that are saved without it, not beside them.
    pub(crate) replace: bool,
    pub(crate) properties: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(char),
}

/// Reads a specification; `source` names it in errors.
pub(crate) fn parse(text: &str, source: &str) -> Result<Vec<Spec>> {
    let wrong = |what: &str| {
        Error::new(format!("{source}: {what}")).with_remedy(
            "each controller is written as \"NAME\": and, in lines below, - \"strategy\": \"merge\" or \"replace\" and \
             - \"properties\": [\"P\", ...]",
        )
    };
    let mut tokens = tokens(text).map_err(|what| wrong(&what))?.into_iter().peekable();
    let mut specs: Vec<Spec> = Vec::new();
    while let Some(token) = tokens.next() {
        let Token::Word(controller) = token else {
            return Err(wrong("a controller's name is missing"));
        };
        if tokens.next() != Some(Token::Sign(':')) {
            return Err(wrong(&format!("{controller:?} is not followed by a colon")));
        }
        let mut spec = Spec {
            controller,
            replace: false,
            properties: Vec::new(),
        };
        while tokens.next_if_eq(&Token::Sign('-')).is_some() {
            let (key, colon) = (tokens.next(), tokens.next());
            let Some(Token::Word(key)) = key.filter(|_| colon == Some(Token::Sign(':'))) else {
                return Err(wrong("a dash is not followed by strategy: or properties:"));
            };
            match key.as_str() {
                "strategy" => match tokens.next() {
                    Some(Token::Word(word)) if word == "merge" => spec.replace = false,
                    Some(Token::Word(word)) if word == "replace" => spec.replace = true,
                    _ => return Err(wrong("a strategy is neither merge nor replace")),
                },
                "properties" => {
                    let list =
                        list(&mut tokens).ok_or_else(|| wrong("a list of properties is not complete"))?;
                    spec.properties.extend(list);
                }
                other => return Err(wrong(&format!("{other:?} is neither strategy nor properties"))),
            }
        }
        if let Some(bad) = spec.properties.iter().find(|name| !is_file_name(name)) {
            return Err(wrong(&format!("{bad:?} is not the name of a property")));
        }
        specs.push(spec);
    }
    if specs.is_empty() {
        return Err(wrong("no controller is named"));
    }
    Ok(specs)
}

/// `[a, b]`, or a dash before each.
fn list(tokens: &mut std::iter::Peekable<std::vec::IntoIter<Token>>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    if tokens.next_if_eq(&Token::Sign('[')).is_none() {
        // A dash and a word that no colon follows.
        loop {
            let mut ahead = tokens.clone();
            match (ahead.next(), ahead.next(), ahead.next()) {
                (Some(Token::Sign('-')), Some(Token::Word(word)), after)
                    if after != Some(Token::Sign(':')) =>
                {
                    words.push(word);
                    tokens.next();
                    tokens.next();
                }
                _ => return Some(words),
            }
        }
    }
    loop {
        match tokens.next()? {
            Token::Sign(']') => return Some(words),
            Token::Sign(',') => {}
            Token::Word(word) => words.push(word),
            Token::Sign(_) => return None,
        }
    }
}

fn tokens(text: &str) -> std::result::Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '"' | '\'' => {
                let (word, after) = after.split_once(first).ok_or("a quotation mark is not closed")?;
                found.push(Token::Word(word.to_owned()));
                after
            }
            '#' => after.find('\n').map_or("", |end| &after[end..]),
            '[' | ']' | ',' | ':' => {
                found.push(Token::Sign(first));
                after
            }
            '-' if after.is_empty() || after.starts_with(char::is_whitespace) => {
                found.push(Token::Sign('-'));
                after
            }
            c if c.is_whitespace() => after,
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || "[],:\"'#".contains(c))
                    .unwrap_or(rest.len());
                let word = &rest[..end];
                // `---` begins a document.
                if word != "---" {
                    found.push(Token::Word(word.to_owned()));
                }
                &rest[end..]
            }
        };
    }
    Ok(found)
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(controller: &str, replace: bool, properties: &[&str]) -> Spec {
        Spec {
            controller: controller.to_owned(),
            replace,
            properties: properties.iter().map(|&p| p.to_owned()).collect(),
        }
    }

    #[test]
    fn the_example_of_the_manual_page() {
        let text = "\"c1\":\n - \"strategy\": \"merge\"\n - \"properties\": [\"a\", \"b\"]\n \"c2\":\n \
                    - \"strategy\": \"replace\"\n - \"properties\": [\"c\", \"d\"]";
        let expected = [spec("c1", false, &["a", "b"]), spec("c2", true, &["c", "d"])];
        assert_eq!(parse(text, "x").unwrap(), expected);
    }

    #[test]
    fn plain_words_block_lists_and_comments() {
        let text = "---\nname=systemd: # named\n  - strategy: replace\n  - properties:\n    - a-b\n    - c\ncpu:\n  - properties: []\n";
        let expected = [spec("name=systemd", true, &["a-b", "c"]), spec("cpu", false, &[])];
        assert_eq!(parse(text, "x").unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("", "no controller"),
            ("\"c1\"", "colon"),
            ("\"c1", "quotation"),
            ("c: - strategy: keep", "neither merge nor replace"),
            ("c:\n - strategy", "dash"),
            ("c:\n - colour: red", "colour"),
            ("c:\n - properties: [a", "not complete"),
            ("c:\n - properties: [\"a/b\"]", "a/b"),
            ("- x", "name is missing"),
        ] {
            let error = parse(text, "FILE").unwrap_err();
            assert!(
                error.message.contains("FILE") && error.message.contains(words),
                "{text:?}: {error}"
            );
        }
    }
}
