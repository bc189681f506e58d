//! The `replproto` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    replproto_cli::main()
}
