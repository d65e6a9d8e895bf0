//! `cargo xtask test`: all tests, with what they need.

use std::time::Instant;

use clap::Args;

use crate::error::Error;
use crate::{packages, sh};

#[derive(Args)]
pub(crate) struct Options {
    /// Run only the tests whose names contain this.
    filter: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    println!("1. What the tests need");
    packages::ensure(&packages::FOR_TESTS)?;
    println!("2. The program, the plugins and the tests");
    // The plugins are shared objects that no test links: build them by name.
    sh::shown(sh::cargo().args(["build", "--workspace"]))?;
    sh::shown(sh::cargo().args(["test", "--workspace", "--no-run"]))?;
    println!("3. The tests");
    let begun = Instant::now();
    let mut test = sh::cargo();
    test.args(["test", "--workspace", "--no-fail-fast"])
        .args(&options.filter);
    sh::shown(&mut test)?;
    let seconds = begun.elapsed().as_secs();
    println!("All tests passed, in {} min {} s.", seconds / 60, seconds % 60);
    Ok(())
}
