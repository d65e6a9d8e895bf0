//! The parser against the one it must read like: both are given the same words.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;

use proptest::prelude::*;

use super::parse;
use crate::table::{Arg, OPTIONS};

/// `struct option` of getopt.h.
#[repr(C)]
struct LongOption {
    name: *const c_char,
    has_arg: c_int,
    flag: *mut c_int,
    val: c_int,
}

unsafe extern "C" {
    static mut optarg: *const c_char;
    static mut optind: c_int;
    static mut opterr: c_int;
    fn getopt_long(
        argc: c_int,
        argv: *const *mut c_char,
        short: *const c_char,
        long: *const LongOption,
        index: *mut c_int,
    ) -> c_int;
}

/// getopt_long keeps its state in globals.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// One option read: the index in [`OPTIONS`], whether negated, and the value.
type Read = (usize, bool, Option<Vec<u8>>);

/// What glibc makes of the words: the options up to the first error, whether there was one, and the operands.
fn by_glibc(words: &[CString]) -> (Vec<Read>, bool, Vec<Vec<u8>>) {
    let _guard = ONE_AT_A_TIME.lock().unwrap();
    let mut names = Vec::new();
    let mut long = Vec::new();
    let mut short = String::new();
    for (index, option) in OPTIONS.iter().enumerate().filter(|(_, option)| !option.ours) {
        let (has_arg, colons) = match option.arg {
            Arg::None => (0, ""),
            Arg::Required(_) => (1, ":"),
            Arg::Optional(_) => (2, "::"),
        };
        let val = 1000 + 2 * c_int::try_from(index).unwrap();
        let mut add = |name: String, val| {
            let name = CString::new(name).unwrap();
            long.push(LongOption {
                name: name.as_ptr(),
                has_arg,
                flag: std::ptr::null_mut(),
                val,
            });
            names.push(name);
        };
        add(option.long.to_owned(), val);
        if option.negatable {
            add(format!("no-{}", option.long), val + 1);
        }
        if let Some(letter) = option.short {
            short.push(char::from(letter));
            short.push_str(colons);
        }
    }
    long.push(LongOption {
        name: std::ptr::null(),
        has_arg: 0,
        flag: std::ptr::null_mut(),
        val: 0,
    });
    let short = CString::new(short).unwrap();
    let program = CString::new("criu").unwrap();
    // getopt_long permutes the pointers, and writes to no string.
    let mut argv: Vec<*mut c_char> = std::iter::once(&program)
        .chain(words)
        .map(|word| word.as_ptr().cast_mut())
        .collect();
    let argc = c_int::try_from(argv.len()).unwrap();
    argv.push(std::ptr::null_mut());
    let (mut read, mut wrong) = (Vec::new(), false);
    // SAFETY: argv ends with a null pointer and its strings, like those of the options, live to the end of this
    // function; the lock keeps other tests away from getopt's globals; optarg is null or a string out of argv.
    unsafe {
        // Zero makes glibc begin anew.
        optind = 0;
        opterr = 0;
        loop {
            let mut index = 0;
            let val = getopt_long(argc, argv.as_ptr(), short.as_ptr(), long.as_ptr(), &raw mut index);
            if val == -1 {
                break;
            }
            if val == c_int::from(b'?') {
                wrong = true;
                break;
            }
            let value = (!optarg.is_null()).then(|| CStr::from_ptr(optarg).to_bytes().to_vec());
            if val >= 1000 {
                let at = usize::try_from(val - 1000).unwrap();
                read.push((at / 2, at % 2 == 1, value));
            } else {
                let letter = u8::try_from(val).unwrap();
                let at = OPTIONS
                    .iter()
                    .position(|option| option.short == Some(letter))
                    .unwrap();
                read.push((at, false, value));
            }
        }
        let from = usize::try_from(optind).unwrap();
        let operands = argv[from..argv.len() - 1].iter();
        (
            read,
            wrong,
            operands
                .map(|word| CStr::from_ptr(*word).to_bytes().to_vec())
                .collect(),
        )
    }
}

/// The same by our parser.
fn by_us(words: &[CString]) -> Result<(Vec<Read>, Vec<Vec<u8>>), super::ParseError> {
    let words: Vec<OsString> = words
        .iter()
        .map(|word| OsStr::from_bytes(word.as_bytes()).to_owned())
        .collect();
    let parsed = parse(&words, false)?;
    let uses = parsed.uses.into_iter().map(|given| {
        let at = OPTIONS
            .iter()
            .position(|option| option.long == given.option.long)
            .unwrap();
        (at, given.off, given.value.map(|value| value.as_bytes().to_vec()))
    });
    let operands = parsed
        .operands
        .iter()
        .map(|operand| operand.as_bytes().to_vec())
        .collect();
    Ok((uses.collect(), operands))
}

fn agree(words: &[CString]) -> Result<(), TestCaseError> {
    let (read, wrong, operands) = by_glibc(words);
    match by_us(words) {
        Ok(ours) => prop_assert_eq!((ours, false), ((read, operands), wrong)),
        Err(error) => prop_assert!(wrong, "{}: glibc reads {:?}", error, read),
    }
    Ok(())
}

/// Words made of the options' names, whole or cut, and of their letters.
fn word() -> impl Strategy<Value = CString> {
    let ours: Vec<&str> = OPTIONS
        .iter()
        .filter(|option| option.ours)
        .map(|option| option.long)
        .collect();
    let names: Vec<&str> = OPTIONS
        .iter()
        .filter(|option| !option.ours)
        .map(|option| option.long)
        .collect();
    let letters: Vec<u8> = OPTIONS
        .iter()
        .filter_map(|option| option.short)
        .chain(*b"z4=-")
        .collect();
    let long = (
        proptest::sample::select(names),
        1..40usize,
        any::<bool>(),
        "|=|=[a-z=]{1,4}",
    );
    let long = long.prop_map(|(name, end, no, value)| {
        format!(
            "--{}{}{value}",
            if no { "no-" } else { "" },
            &name[..end.min(name.len())]
        )
    });
    let cluster = proptest::collection::vec(proptest::sample::select(letters), 1..5)
        .prop_map(|letters| format!("-{}", String::from_utf8(letters).unwrap()));
    let plain = prop_oneof![Just("--".to_owned()), Just("-".to_owned()), "[a-z0-9]{0,4}"];
    prop_oneof![3 => long, 3 => cluster, 2 => plain]
        .prop_filter("a name that begins one of our additions", move |word| {
            let name = word
                .trim_start_matches("--")
                .split('=')
                .next()
                .unwrap_or_default();
            !word.starts_with("--") || name.is_empty() || !ours.iter().any(|long| long.starts_with(name))
        })
        .prop_map(|word| CString::new(word).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn both_read_the_same(words in proptest::collection::vec(word(), 0..7)) {
        agree(&words)?;
    }
}
