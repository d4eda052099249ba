//! The `ltv` binary.

fn main() -> std::process::ExitCode {
    ltv::main()
}
