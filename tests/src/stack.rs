//! The servers: where they are, and how they are taken away.

use std::fs::File;
use std::path::Path;
use std::process::Command;

/// A PostgreSQL, a RabbitMQ and a Redis, started by `scripts/stack`.
#[derive(Clone, Debug)]
pub struct Stack {
    database_url: String,
    amqp_url: String,
    redis_url: String,
    name: String,
}

impl Stack {
    /// Takes the servers that `scripts/stack env` names.
    pub fn from_env() -> Self {
        Self {
            database_url: variable("LTV_DATABASE_URL"),
            amqp_url: variable("LTV_AMQP_URL"),
            redis_url: variable("LTV_REDIS_URL"),
            name: variable("LTV_STACK"),
        }
    }

    /// What `scripts/stack` calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Brings up a stack beside this one that speaks TLS alone, unless it is up already. `scripts/test` takes it down.
    #[must_use]
    pub fn secured(&self) -> Self {
        let name = format!("{}-tls", self.name);
        run(&["--name", &name, "up", "--tls"]);
        let exports = run(&["--name", &name, "env"]);
        // Without quotes: a shell takes a backslash away before each character that is special to it.
        let variable = |variable: &str| {
            let prefix = format!("export {variable}=");
            let line = exports.lines().find_map(|line| line.strip_prefix(&prefix));
            line.expect("the stack names all three").replace('\\', "")
        };
        Self {
            database_url: variable("LTV_DATABASE_URL"),
            amqp_url: variable("LTV_AMQP_URL"),
            redis_url: variable("LTV_REDIS_URL"),
            name,
        }
    }

    /// Gives a stack with TLS a new authority and certificates for so many days, which its servers use at once; 0 for
    /// some that have expired.
    pub fn renew(&self, days: u16) {
        run(&["--name", &self.name, "renew", &days.to_string()]);
    }

    /// The URL of the database that the stack made; tests make their own beside it.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The broker's URL.
    pub fn amqp_url(&self) -> &str {
        &self.amqp_url
    }

    /// The cache's URL.
    pub fn redis_url(&self) -> &str {
        &self.redis_url
    }

    /// Does `stop`, `start` or `kill` to `rabbitmq`, `postgres` or `redis`, and returns when it is done.
    pub fn service(&self, action: &str, service: &str) {
        self.script(&[action, service]);
    }

    fn script(&self, arguments: &[&str]) {
        run(&[&["--name", &self.name], arguments].concat());
    }

    /// Takes a server away, in good order (`stop`) or not (`kill`), until the outage ends or is dropped.
    #[must_use]
    pub fn without(&self, action: &str, service: &'static str) -> Outage {
        self.service(action, service);
        Outage { stack: self.clone(), service }
    }

    /// Lets RabbitMQ believe that it is low on memory, until the alarm ends or is dropped.
    #[must_use]
    pub fn alarm(&self) -> Alarm {
        self.script(&["alarm"]);
        Alarm { stack: self.clone() }
    }

    /// Gives RabbitMQ what a file of its definitions says.
    pub fn define(&self, file: &Path) {
        self.script(&["define", file.to_str().expect("the file's name is text")]);
    }

    /// The broker's URL for another user, whose password is the name.
    pub fn amqp_url_of(&self, user: &str) -> String {
        let (_, place) = self.amqp_url.rsplit_once('@').expect("the stack's URL has a user");
        format!("amqp://{user}:{user}@{place}")
    }

    /// Waits until no other test uses the servers, and keeps them for this one.
    ///
    /// Under the names of the locks that the tests of the seams take, each for its own server.
    pub fn alone(&self) -> Alone {
        let lock = |server: &str, place: &str| {
            let place = place.replace([':', '/'], "-");
            let path = std::env::temp_dir().join(format!("ltv-tests-{server}-{place}.lock"));
            let file = File::options().create(true).append(true).open(path).expect("a lock file can be made");
            file.lock().expect("a file can be locked");
            file
        };
        let place = self.amqp_url.split('?').next().unwrap_or_default();
        let port = place.rsplit(':').next().unwrap_or_default();
        Alone { _locks: [lock("rabbitmq", port), lock("redis", self.redis_address())] }
    }

    /// Empties Redis, as `redis-cli flushall` would.
    pub fn flush_redis(&self) {
        assert_eq!(self.redis_cli(&["flushall"]), "OK");
    }

    /// What Redis answers to a command.
    pub fn redis_cli(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-u", &self.redis_url])
            .args(command)
            .output()
            .expect("redis-cli comes with Redis");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// `host:port`
    fn redis_address(&self) -> &str {
        let (_, rest) = self.redis_url.split_once("://").expect("it is a URL");
        let rest = rest.split(['?']).next().unwrap_or_default();
        let rest = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        rest.split('/').next().unwrap_or_default()
    }
}

/// The right to take servers away.
#[derive(Debug)]
#[must_use]
pub struct Alone {
    _locks: [File; 2],
}

/// A server is away.
#[derive(Debug)]
pub struct Outage {
    stack: Stack,
    service: &'static str,
}

/// RabbitMQ takes no messages.
#[derive(Debug)]
pub struct Alarm {
    stack: Stack,
}

impl Drop for Alarm {
    // Also for a test that failed in the middle: the others publish.
    fn drop(&mut self) {
        self.stack.script(&["calm"]);
    }
}

impl Outage {
    /// Brings it back, and returns when it answers.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Outage {
    // Also for a test that failed in the middle: the others need the server.
    fn drop(&mut self) {
        self.stack.service("start", self.service);
    }
}

fn run(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/stack");
    let output = Command::new(&script)
        .args(arguments)
        // They are those of the stack that the tests run on.
        .env_remove("LTV_DATABASE_URL")
        .env_remove("LTV_AMQP_URL")
        .env_remove("LTV_REDIS_URL")
        .output()
        .expect("scripts/stack can be run");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/stack {}: {problem}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("it speaks text")
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where the servers are")]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: run `scripts/test`, or `scripts/stack --name mine up` and then \
             `eval \"$(scripts/stack --name mine env)\"`"
        )
    })
}
