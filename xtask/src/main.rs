//! The project's own tasks: `cargo xtask test`, `vm`, `demo`, `bench`, `dist`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod demo;
mod dist;
mod error;
mod packages;
mod program;
mod sh;
mod test;
mod vm;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "The project's own tasks",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need, build everything, run all tests.
    Test(test::Options),
    /// Run the tests under the kernel of the distribution, in a virtual machine.
    Vm(vm::Options),
    /// Dump and restore a Redis server with a connected client, and show what happens.
    Demo(demo::Options),
    /// Measure against the targets; the medians of interleaved runs.
    Bench(bench::Options),
    /// Build a release tarball: the program, its plugins, the configuration.
    Dist,
    /// A process to be measured; started by `bench`.
    #[command(hide = true)]
    Guest(bench::guest::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test(options) => test::run(&options),
        Task::Vm(options) => vm::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Dist => dist::run(),
        Task::Guest(options) => bench::guest::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error::chain(&error));
            ExitCode::FAILURE
        }
    }
}
