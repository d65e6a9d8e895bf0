//! Tells code from comments.

/// The text without its comments (doc comments too); the lines keep their numbers. Strings stay.
pub(super) fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let end = match rest {
            ['/', '/', ..] => {
                at += rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
                continue;
            }
            ['/', '*', ..] => {
                let length = block_comment(rest);
                out.extend(rest[..length].iter().filter(|c| **c == '\n'));
                // Words on both sides of a comment are two words.
                out.push(' ');
                at += length;
                continue;
            }
            ['r', '"' | '#', ..] if !out.ends_with(is_word) || out.ends_with(['b', 'c']) => raw_string(rest),
            ['"', ..] => string(rest),
            ['\'', ..] => character(rest),
            _ => 1,
        };
        out.extend(&rest[..end]);
        at += end;
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of a block comment; they nest.
fn block_comment(text: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

/// Length of `r"..."`, `r#"..."#`; 1 when it is a raw identifier.
fn raw_string(text: &[char]) -> usize {
    let hashes = text[1..].iter().take_while(|c| **c == '#').count();
    if text.get(1 + hashes) != Some(&'"') {
        return 1;
    }
    let end: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    let begin = hashes + 2;
    let found = text[begin..].windows(end.len()).position(|window| window == end);
    found.map_or(text.len(), |at| begin + at + end.len())
}

/// Length of `"..."`.
fn string(text: &[char]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Length of `'x'` or `'\n'`; 1 when the quote begins a lifetime.
fn character(text: &[char]) -> usize {
    match text {
        ['\'', '\\', _, rest @ ..] => 3 + rest.iter().position(|c| *c == '\'').map_or(0, |at| at + 1),
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    }
}

#[test]
fn comments_go_and_strings_stay() {
    for (text, code) in [
        ("a // b\nc", "a \nc"),
        ("/// doc\nfn f() {} //! inner", "\nfn f() {} "),
        ("a /* b /* c */ d\n */ e", "a \n  e"),
        (r#"let url = "http://x"; // y"#, r#"let url = "http://x"; "#),
        (r#"'"' // a"#, r#"'"' "#),
        (r#"'\'' // a"#, r#"'\'' "#),
        (r#"'\u{41}' // a"#, r#"'\u{41}' "#),
        (r#""a\"//b" // c"#, r#""a\"//b" "#),
        ("r#\"a \" // b\"# // c", "r#\"a \" // b\"# "),
        ("br\"\\\" // c", "br\"\\\" "),
        ("fn f<'a>(x: &'a str) // c", "fn f<'a>(x: &'a str) "),
        ("r#type // a", "r#type "),
        ("var\"x//\" //", "var\"x//\" "),
    ] {
        assert_eq!(code_of(text), code, "{text}");
    }
}
