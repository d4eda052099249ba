//! The product's binary, with the feature `faults`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ltv::main()
}
