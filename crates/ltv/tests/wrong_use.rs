//! A command line that makes no sense.

use std::process::Command;

#[test]
fn a_url_that_cannot_be_used_is_wrong_use_like_any_other_argument() {
    let good = ["postgres://ltv@127.0.0.1:1/ltv", "amqp://127.0.0.1:1", "redis://127.0.0.1:1"];
    let check = |place: usize, url: &str, expected: &str| {
        let mut urls = good;
        urls[place] = url;
        let [database, broker, cache] = urls;
        let output = Command::new(env!("CARGO_BIN_EXE_ltv"))
            .args(["worker", "--listen", "127.0.0.1:0", "--database-url", database])
            .args(["--amqp-url", broker, "--redis-url", cache])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    };

    check(0, "mysql://ltv:hunter2@h/db", "database URL: ");
    check(1, "amqp://ltv:hunter2@h", "RabbitMQ URL: ");
    check(2, "redis://ltv:hunter2@h", "redis url: ");
}
