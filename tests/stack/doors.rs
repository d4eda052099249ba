//! Databases as their owners give them: schemas made by others, roles kept apart, settings of a role.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

use batch::{CustomerId, RunId};
use tests::{Answer, FIRST_CUSTOMER, Fleet, unique};
use tokio_postgres::{Client, NoTls};

use crate::brokers;
use crate::store::program;

/// A database of a test's own, with roles of its own that go with it.
struct House {
    fleet: Fleet,
    admin: Client,
    name: String,
}

impl House {
    /// Made by the superuser, by statements in which `DB` is the database and `ROLE` begins the names of roles.
    async fn of(fleet: Fleet, sql: &str) -> Self {
        let admin_url = fleet.database_url().replacen("ltv@", "postgres@", 1);
        let (admin, connection) = tokio_postgres::connect(&admin_url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let house = Self { fleet, admin, name: unique("house").replace('-', "_") };
        house.run(sql).await;
        house
    }

    fn told(&self, text: &str) -> String {
        let (_, database) = self.fleet.database_url().rsplit_once('/').unwrap();
        text.replace("DB", database).replace("ROLE", &self.name)
    }

    async fn run(&self, sql: &str) {
        let sql = self.told(sql);
        self.admin.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The URL of one of its roles.
    fn url(&self, role: &str) -> String {
        self.told(&self.fleet.database_url().replacen("ltv@", &format!("{role}@"), 1))
    }

    fn answer(&self, arguments: &[&str], url: &str) -> Answer {
        self.fleet.answer(&[arguments, &["--database-url", url]].concat())
    }

    fn ltv(&self, arguments: &[&str], url: &str) -> Answer {
        let answer = self.answer(arguments, url);
        assert_eq!(answer.code, Some(0), "ltv {}: {}{}", arguments.join(" "), answer.out, answer.err);
        answer
    }

    /// The log of a process that ends at its start, since this is missing.
    async fn refused(&self, role: &str, url: &str, missing: &str) -> String {
        let mut process = match role {
            "worker" => self.fleet.worker(&["--database-url", url]),
            _ => self.fleet.coordinator(&["--database-url", url]),
        };
        let ended = process.ended(std::time::Duration::from_secs(20)).await;
        assert_eq!(ended.code(), Some(1), "{}", process.log());
        assert!(process.log().contains(&self.told(missing)), "{}", process.log());
        process.log()
    }

    /// Takes the roles away, with what is theirs.
    async fn leave(self, roles: &[&str]) {
        self.run("alter database DB owner to postgres").await;
        for role in roles {
            self.run(&format!("drop owned by {role} cascade; drop role {role}")).await;
        }
    }
}

const EMPTY: &str = "
    drop schema source cascade; drop schema fleet cascade; drop table public.refinery_schema_history;
    alter database DB owner to postgres;";

#[tokio::test(flavor = "multi_thread")]
async fn migrate_takes_a_database_as_its_owner_gives_it() {
    let check = async |made: &str, role: &str, options: &str, owner: &str, roles: &[&str]| {
        let house = House::of(Fleet::empty(&program()).await, &format!("{EMPTY}{made}")).await;
        let url = format!("{}{}", house.url(role), house.told(options));

        house.ltv(&["migrate"], &url);

        let listed = house.ltv(&["runs", "list"], &url);
        assert!(listed.out.contains("no runs yet") || listed.err.contains("no runs yet"), "{listed:?}");
        let owners = "
            select array_agg(distinct pg_get_userbyid(c.relowner)::text)
              from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where n.nspname in ('source', 'fleet') and c.relkind in ('r', 'p')";
        let owners: Vec<String> = house.admin.query_one(owners, &[]).await.unwrap().get(0);
        assert_eq!(owners, [house.told(owner)], "{made}");
        let again = house.ltv(&["migrate"], &url);
        assert!(again.out.contains("up to date"), "{}", again.out);
        house.leave(roles).await;
    };

    // The schemas are there, and the role may not make any.
    let made = "
        create role ROLE_least login;
        create schema fleet authorization ROLE_least;
        create schema source authorization ROLE_least;
        grant usage, create on schema public to ROLE_least";
    check(made, "ROLE_least", "", "ROLE_least", &["ROLE_least"]).await;

    // A schema of the role's own name comes first in its search_path.
    let made = "
        create role ROLE_app login;
        create schema ROLE_app authorization ROLE_app;
        alter database DB owner to ROLE_app";
    check(made, "ROLE_app", "", "ROLE_app", &["ROLE_app"]).await;

    // A person who works as the role that owns everything.
    let made = "
        create role ROLE_owner;
        create role ROLE_person login noinherit in role ROLE_owner;
        alter database DB owner to ROLE_owner";
    let options = "?options=-c%20role%3DROLE_owner";
    check(made, "ROLE_person", options, "ROLE_owner", &["ROLE_person", "ROLE_owner"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_of_subscriptions_are_loaded_where_a_publication_takes_all_tables() {
    let loaded = "
        insert into source.customers values (1, 'c-1', 'venues', '2020-01-01');
        insert into source.subscriptions values (1, 'pro', 12, '2020-01-01', null, 4900, 'USD', null);
        create publication ROLE_all for all tables";
    let house = House::of(Fleet::empty(&program()).await, loaded).await;
    let file = std::env::temp_dir().join(unique("ends.csv"));
    let ends = "customer_id,plan,period_months,started_at,ended_at,currency,end_reason,price_minor\n\
                1,pro,12,2020-01-01T00:00:00Z,2021-01-01T00:00:00Z,USD,cancelled,4900\n";
    std::fs::write(&file, ends).unwrap();

    house.ltv(&["load", "--subscriptions", file.to_str().unwrap()], house.fleet.database_url());

    let ended = "select ended_at is not null from source.subscriptions";
    assert!(house.admin.query_one(ended, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named_at_the_start_with_what_mends_it() {
    let granted = "
        create role ROLE_w login;
        grant usage on schema source to ROLE_w;
        grant select on all tables in schema source to ROLE_w;
        grant usage, create on schema fleet to ROLE_w;
        grant all on all tables in schema fleet to ROLE_w;
        grant all on all sequences in schema fleet to ROLE_w;
        grant select on public.refinery_schema_history to ROLE_w";
    let house = House::of(Fleet::new(&program()).await, granted).await;
    let url = house.url("ROLE_w");
    for role in ["coordinator", "worker"] {
        house.refused(role, &url, "alter table fleet.values owner to ROLE_w").await;
    }
    house.run("revoke insert on fleet.attempts from ROLE_w").await;
    house.refused("worker", &url, "grant insert on table fleet.attempts to ROLE_w").await;
    house.run("revoke select on source.acquisition_costs from ROLE_w").await;
    house.refused("worker", &url, "grant select on table source.acquisition_costs to ROLE_w").await;
    let dispatch = || house.answer(&["dispatch", "--all", "--as-of", tests::AS_OF], &url);
    let ordered = dispatch();
    assert_eq!(ordered.code, Some(1), "{ordered:?}");
    let owner = "grant ltv to ROLE_w";
    assert!(ordered.err.contains(&house.told(owner)), "the table would be nobody's who ends it: {ordered:?}");
    house.run("revoke create on schema fleet from ROLE_w").await;
    let dispatched = dispatch();
    assert_eq!(dispatched.code, Some(1), "{dispatched:?}");
    assert!(dispatched.err.contains(&house.told("grant create on schema fleet to ROLE_w")), "{dispatched:?}");

    house.leave(&["ROLE_w"]).await;
}

/// It would shut the coordinator out, and the tables of open runs would be nobody's who ends them.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_to_take_what_another_role_was_given() {
    let granted = "
        create role ROLE_runner login;
        create role ROLE_w login noinherit;
        grant usage on schema source to ROLE_w;
        grant select on all tables in schema source to ROLE_w;
        grant usage, create on schema fleet to ROLE_w;
        grant usage on schema fleet to ROLE_runner;
        grant select, update, insert, delete on all tables in schema fleet to ROLE_w;
        grant usage on all sequences in schema fleet to ROLE_w;
        grant select on public.refinery_schema_history to ROLE_w;
        alter table fleet.values owner to ROLE_runner;
        grant select, insert on fleet.values to ROLE_w";
    let house = House::of(Fleet::new(&program()).await, granted).await;
    let url = house.url("ROLE_w");
    let dispatch = || house.answer(&["dispatch", "--all", "--as-of", tests::AS_OF], &url);

    for role in ["coordinator", "worker"] {
        let log = house.refused(role, &url, "`grant ROLE_runner to ROLE_w`").await;
        assert!(!log.contains("owner to"), "{log}");
    }
    house.run("grant ROLE_runner to ROLE_w").await;
    let version = "select current_setting('server_version_num')::integer >= 160000";
    let inherits = if house.admin.query_one(version, &[]).await.unwrap().get(0) {
        "`grant ROLE_runner to ROLE_w with inherit true`"
    } else {
        "`alter role ROLE_w inherit`"
    };
    house.refused("coordinator", &url, inherits).await;
    let ordered = dispatch();
    assert_eq!(ordered.code, Some(1), "{ordered:?}");
    assert!(
        ordered.err.contains(&house.told("`grant create on schema fleet to ROLE_runner`")),
        "{ordered:?}"
    );
    house.run("grant create on schema fleet to ROLE_runner").await;
    let ordered = dispatch();
    assert_eq!(ordered.code, Some(0), "whoever may become the owner needs no more: {ordered:?}");

    // What it may insert it is given with each table.
    house
        .run(
            "revoke ROLE_runner from ROLE_w;
             alter default privileges for role ltv in schema fleet grant insert on tables to ROLE_w;
             revoke insert on fleet.attempts from ROLE_w",
        )
        .await;
    house.refused("worker", &url, "`grant insert on table fleet.attempts to ROLE_w`").await;

    house.leave(&["ROLE_w", "ROLE_runner"]).await;
}

/// The base as the migrator has loaded it: made by the test's own role, and given away.
const GIVEN_AWAY: &str = "
    do $$
    declare r record;
    begin
        for r in select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
                  where (n.nspname in ('source', 'fleet') or c.relname = 'refinery_schema_history')
                    and (c.relkind in ('r', 'p') or c.relname in ('visible_versions', 'claims'))
        loop
            execute format('alter table %I.%I owner to ROLE_migrator', r.nspname, r.relname);
        end loop;
    end
    $$;
    alter schema source owner to ROLE_migrator;
    alter schema fleet owner to ROLE_migrator;";

#[tokio::test(flavor = "multi_thread")]
async fn three_roles_with_the_documented_grants_do_a_night() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/grants.md");
    let mut document = std::fs::read_to_string(document).unwrap();
    for (role, ours) in
        [("ltv_migrator", "ROLE_migrator"), ("ltv_runner", "ROLE_runner"), ("ltv_reader", "ROLE_reader")]
    {
        document = document.replace(role, ours);
    }
    let blocks: Vec<&str> =
        document.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    let [before, after] = blocks[..] else { panic!("{} blocks", blocks.len()) };
    let fleet = Fleet::new(&program()).await;
    let given =
        before.lines().filter(|line| !line.starts_with("create schema")).collect::<Vec<_>>().join("\n")
            + GIVEN_AWAY;
    let house = House::of(fleet, &given).await;
    let url = house.url("ROLE_migrator");
    house.ltv(&["migrate"], &url);
    let (migrator, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    migrator.batch_execute(&house.told(after)).await.unwrap();

    // The test itself looks as `ltv`, who owns nothing any more.
    house
        .run("grant ROLE_reader, ROLE_runner to ltv; grant select on all tables in schema source to ltv")
        .await;

    let users = brokers::made_as_documented(&house.fleet);
    let runner = house.url("ROLE_runner");
    let runner = ["--database-url", &runner, "--amqp-url", &users.runner];
    let run: RunId = house.fleet.dispatch(&[&runner[..], &["--chunk-customers", "250"]].concat()).await;
    let some = [CustomerId(FIRST_CUSTOMER), CustomerId(FIRST_CUSTOMER + 1)];
    let migrator = ["--database-url", &url, "--amqp-url", &users.runner];
    let by_migrator = house.fleet.dispatch_customers(&some, &migrator).await;
    let coordinator = house.fleet.coordinator(&runner);
    let worker = house.fleet.worker(&runner);
    house.fleet.finished(run).await;
    house.fleet.finished(by_migrator).await;
    house.fleet.figured(run).await;

    let reader = house.url("ROLE_reader");
    for command in [&["runs", "show"][..], &["runs", "watch"]] {
        let told = house.ltv(&[command, &[&run.to_string()]].concat(), &reader);
        assert!(told.out.contains("finished"), "{}", told.out);
    }
    let told = house.ltv(&["segments", "list", "--run", &run.to_string()], &reader);
    assert!(told.out.contains("all customers"), "{}", told.out);
    let letters = house.ltv(&["dead-letters", "list", "--amqp-url", &users.reader], &reader);
    assert!(letters.out.contains("there are no dead letters"), "{}", letters.out);
    let refused = house.answer(&["dispatch", "--all", "--as-of", tests::AS_OF], &house.url("ROLE_reader"));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    house.fleet.assert_exact(run).await;
    drop((coordinator, worker));
    house.leave(&["ROLE_reader", "ROLE_runner", "ROLE_migrator"]).await;
}
