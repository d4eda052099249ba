//! Whether the database's role may do what is before it: told at the start, not by the night's last statement.
//!
//! What is not there yet, such as a schema before the first migration, is not asked about.

use tokio_postgres::Row;

use super::row::get;
use super::{Fault, Postgres};
use crate::{Error, Result};

/// What a process is about to do with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Look.
    Read,
    /// Plan and publish runs.
    Dispatch,
    /// Value chunks.
    Work,
    /// Watch over runs and finish them.
    Coordinate,
    /// Answer people, and do what they decide.
    Answer,
}

/// A kind of thing, its schema, its name, and what has to be allowed.
type Need = (&'static str, &'static str, &'static str, &'static str);

const READ: [Need; 14] = [
    ("schema", "fleet", "", "usage"),
    ("schema", "source", "", "usage"),
    ("table", "public", "refinery_schema_history", "select"),
    ("table", "fleet", "runs", "select"),
    ("table", "fleet", "chunks", "select"),
    ("table", "fleet", "attempts", "select"),
    ("table", "fleet", "values", "select"),
    ("table", "fleet", "rejections", "select"),
    ("table", "fleet", "figures", "select"),
    ("table", "fleet", "segment_figures", "select"),
    ("table", "fleet", "comparisons", "select"),
    ("table", "fleet", "movements", "select"),
    ("table", "fleet", "model_versions", "select"),
    ("table", "source", "customers", "select"),
];

const DISPATCH: [Need; 9] = [
    ("schema", "fleet", "", "create"),
    ("table", "source", "transactions", "select"),
    ("table", "fleet", "promotions", "select"),
    ("table", "fleet", "runs", "insert"),
    ("table", "fleet", "runs", "update"),
    ("table", "fleet", "chunks", "insert"),
    ("table", "fleet", "chunks", "update"),
    // A run's table is given to whoever owns that of all values, so that it can become a partition.
    ("membership", "fleet", "values", "set"),
    ("ownership", "fleet", "values", "create"),
];

const WORK: [Need; 12] = [
    ("table", "source", "transactions", "select"),
    ("table", "source", "subscriptions", "select"),
    ("table", "source", "acquisition_costs", "select"),
    ("table", "fleet", "chunks", "update"),
    ("table", "fleet", "attempts", "insert"),
    ("table", "fleet", "attempts", "update"),
    ("table", "fleet", "rejections", "insert"),
    ("table", "fleet", "promotions", "select"),
    ("table", "fleet", "requests", "select"),
    ("table", "fleet", "requests", "update"),
    ("table", "fleet", "answers", "insert"),
    // Its values go into tables that are not there yet, and that will belong to whoever owns that of all values.
    ("insertion", "fleet", "values", "insert"),
];

const COORDINATE: [Need; 25] = [
    ("schema", "fleet", "", "create"),
    ("table", "fleet", "leadership", "select"),
    ("table", "fleet", "leadership", "insert"),
    ("table", "fleet", "leadership", "update"),
    ("table", "fleet", "runs", "update"),
    ("table", "fleet", "chunks", "update"),
    ("table", "fleet", "attempts", "update"),
    ("table", "fleet", "rejections", "insert"),
    ("table", "fleet", "requests", "select"),
    ("table", "fleet", "requests", "delete"),
    ("table", "fleet", "answers", "select"),
    ("table", "fleet", "answers", "delete"),
    ("table", "fleet", "figures", "insert"),
    ("table", "fleet", "segment_figures", "insert"),
    ("table", "fleet", "pinned_segments", "insert"),
    ("table", "fleet", "pinned_segments", "select"),
    ("table", "fleet", "comparisons", "insert"),
    ("table", "fleet", "comparisons", "update"),
    ("table", "fleet", "movements", "insert"),
    ("table", "fleet", "movements", "delete"),
    // Who moved is read again as he was.
    ("table", "source", "transactions", "select"),
    ("table", "source", "subscriptions", "select"),
    ("table", "source", "acquisition_costs", "select"),
    ("sequence", "fleet", "visible_versions", "usage"),
    // A finished run's table becomes a partition of it.
    ("owner", "fleet", "values", "ownership"),
];

const ANSWER: [Need; 14] = [
    ("table", "fleet", "leadership", "select"),
    ("table", "fleet", "promotions", "insert"),
    ("table", "fleet", "requests", "select"),
    ("table", "fleet", "requests", "insert"),
    ("table", "fleet", "requests", "update"),
    ("table", "fleet", "answers", "select"),
    // Where the broker is away it values single customers itself.
    ("table", "source", "subscriptions", "select"),
    ("table", "source", "acquisition_costs", "select"),
    ("table", "fleet", "answers", "insert"),
    ("table", "fleet", "idempotency", "select"),
    ("table", "fleet", "idempotency", "insert"),
    ("table", "fleet", "idempotency", "update"),
    ("table", "fleet", "idempotency", "delete"),
    ("sequence", "fleet", "claims", "usage"),
];

impl Duty {
    fn needs(self) -> impl Iterator<Item = Need> {
        let more: &[Need] = match self {
            Self::Read => &[],
            Self::Dispatch => &DISPATCH,
            Self::Work => &WORK,
            Self::Coordinate => &COORDINATE,
            Self::Answer => &ANSWER,
        };
        // An api starts runs as well.
        let runs: &[Need] = if self == Self::Answer { &DISPATCH } else { &[] };
        READ.into_iter().chain(runs.iter().copied()).chain(more.iter().copied())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => "reader",
            Self::Dispatch => "dispatcher",
            Self::Work => "worker",
            Self::Coordinate => "coordinator",
            Self::Answer => "api",
        }
    }
}

impl Postgres {
    /// Fails where the database's role lacks a right that the duty needs; says which, and what mends it.
    pub async fn check_rights(&self, duty: Duty) -> Result<()> {
        let (source, fleet): (Vec<Need>, Vec<Need>) = duty.needs().partition(|need| need.1 == "source");
        let mut missing = self.missing(&fleet).await?;
        match self.source().missing(&source).await {
            Ok(more) => missing.extend(more),
            // Whoever reads there waits for it, and says so.
            Err(error) if error.is_transient() && self.source_server().is_some() => {}
            Err(error) => return Err(error),
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::Broken {
            what: format!("use {} as a {}", self.config.url, duty.name()),
            reason: format!("its role lacks rights; `{}` gives them (docs/grants.md)", missing.join("; ")),
        })
    }

    /// The statements that give what is missing.
    async fn missing(&self, needs: &[Need]) -> Result<Vec<String>> {
        // To give a table away takes a member who may become its owner, and an owner who might have made it there.
        const MISSING: &str = "
            select quote_ident(current_user) as role, need.kind, need.schema, need.name, need.privilege,
                   quote_ident(pg_get_userbyid(c.relowner)) as owner,
                   pg_has_role(c.relowner, 'member') as is_member,
                   coalesce(c.relowner = (select relowner from pg_class where oid = to_regclass('fleet.runs')), true)
                       as is_the_migrators,
                   server.version >= 160000 as has_options
              from unnest($1::text[], $2::text[], $3::text[], $4::text[])
                   with ordinality as need (kind, schema, name, privilege, position)
              join pg_namespace n on n.nspname = need.schema
              left join pg_class c on c.relnamespace = n.oid and c.relname = need.name
             cross join (select current_setting('server_version_num')::integer as version) as server
             where not coalesce(case need.kind
                       when 'schema' then has_schema_privilege(n.oid, need.privilege)
                       when 'table' then has_table_privilege(c.oid, need.privilege)
                       when 'sequence' then has_sequence_privilege(c.oid, need.privilege)
                       when 'owner' then pg_has_role(c.relowner, 'usage')
                       when 'insertion' then pg_has_role(c.relowner, 'usage')
                           or exists (select from pg_default_acl d, aclexplode(d.defaclacl) a
                                       where d.defaclobjtype = 'r'
                                         and d.defaclnamespace in (0, n.oid)
                                         and a.privilege_type = 'INSERT'
                                         and (a.grantee = 0 or pg_has_role(a.grantee, 'usage')))
                       when 'membership'
                           then pg_has_role(c.relowner,
                                            case when server.version >= 160000 then 'set' else 'member' end)
                       when 'ownership' then pg_get_userbyid(c.relowner) = current_user
                           or has_schema_privilege(c.relowner, n.oid, need.privilege)
                   end, true)
             order by need.position";
        let (mut kinds, mut schemas, mut names, mut privileges) = (vec![], vec![], vec![], vec![]);
        for &(kind, schema, name, privilege) in needs {
            kinds.push(kind);
            schemas.push(schema);
            names.push(name);
            privileges.push(privilege);
        }
        self.short("check the rights", async |client| {
            let rows = client.query(MISSING, &[&kinds, &schemas, &names, &privileges]).await?;
            rows.iter().map(mend).collect()
        })
        .await
    }
}

/// The statement that gives what is missing.
fn mend(row: &Row) -> Result<String, Fault> {
    let (role, kind): (String, String) = (get(row, "role")?, get(row, "kind")?);
    let (schema, name): (String, String) = (get(row, "schema")?, get(row, "name")?);
    let privilege: String = get(row, "privilege")?;
    Ok(match kind.as_str() {
        "schema" => format!("grant {privilege} on schema {schema} to {role}"),
        // From the migrator it may be taken; from another it would be the right of those who are of that owner.
        "owner" | "insertion" if get(row, "is_the_migrators")? => {
            format!("alter table {schema}.{name} owner to {role}")
        }
        "owner" | "insertion" => membership(row, &role, "inherit")?,
        "membership" => membership(row, &role, &privilege)?,
        "ownership" => format!("grant {privilege} on schema {schema} to {}", get::<String>(row, "owner")?),
        kind => format!("grant {privilege} on {kind} {schema}.{name} to {role}"),
    })
}

/// The statement that makes a role one of the owner's, with an option of that which members may be without.
fn membership(row: &Row, role: &str, option: &str) -> Result<String, Fault> {
    let owner: String = get(row, "owner")?;
    Ok(match (get(row, "is_member")?, get(row, "has_options")?) {
        (false, _) => format!("grant {owner} to {role}"),
        (true, true) => format!("grant {owner} to {role} with {option} true"),
        (true, false) => format!("alter role {role} inherit"),
    })
}
