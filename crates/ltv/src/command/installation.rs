//! `ltv installation`

use batch::InstallationId;
use queue::rabbitmq::Names;
use store::postgres::Installation;

use crate::cli::{InstallationShowArgs, NamesArgs, RenewArgs};
use crate::config;
use crate::output::table;
use crate::stdout::{Unsaid, put, say};

pub(crate) async fn show(args: &InstallationShowArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let history = store.installations().await?;
    let (now, former) = history.split_first().expect("whoever asks has one made");
    let names = Names::new(&args.names.queue_prefix, now.id)?;
    if args.json {
        let shown = documents::ShownInstallation {
            now: document(now),
            queues: names.queues().collect(),
            exchanges: names.exchanges().to_vec(),
            keys: cache::names(&args.names.cache_prefix, now.id),
            former: former.iter().map(document).collect(),
        };
        say!("{}", documents::line(&shown))?;
        return Ok(());
    }
    say!("installation {}, since {} by {}: {}\n", now.id, moment(now), now.made_by, now.reason)?;
    tell_names(&names, &args.names, now.id)?;
    if !former.is_empty() {
        say!("\nIdentities before\n")?;
        let row = |was: &Installation| {
            vec![was.id.to_string(), moment(was), was.made_by.clone(), was.reason.clone()]
        };
        let rows: Vec<_> = former.iter().map(row).collect();
        put(table(&["installation", "since", "made by", "reason"], &[0, 1, 2, 3], &rows))?;
    }
    Ok(())
}

pub(crate) async fn renew(args: &RenewArgs) -> anyhow::Result<()> {
    let names = |id| Names::new(&args.names.queue_prefix, id);
    names(InstallationId::default())?;
    let store = config::store_now(&args.database, "command").await?;
    let before = store.installation().await?;
    let now = store.renew_installation(args.by.by.as_deref(), &args.reason).await?;
    say!(
        "installation {before} is {now} now. Workers and coordinators that run end within seconds: start them again.\n"
    )?;
    tell_names(&names(now)?, &args.names, now)?;
    say!("\nNobody reads what is left under the identity before:\n")?;
    tell_names(&names(before)?, &args.names, before)?;
    say!(
        "\nThe keys expire 72 h after they were last written. Delete the queues, with `rabbitmqctl delete_queue NAME`, \
         when nothing works under {before} any more: if this database is a copy, what it was copied from may."
    )?;
    Ok(())
}

fn tell_names(names: &Names, args: &NamesArgs, id: InstallationId) -> Result<(), Unsaid> {
    let queues: Vec<String> = names.queues().collect();
    say!("  queues     {}", queues.join("\n             "))?;
    say!("  exchanges  {}", names.exchanges().join("\n             "))?;
    say!("  keys       {}:*", cache::names(&args.cache_prefix, id))
}

fn moment(installation: &Installation) -> String {
    installation.since.strftime("%Y-%m-%d %H:%M").to_string()
}

fn document(installation: &Installation) -> documents::Installation {
    let Installation { id, since, made_by, reason } = installation;
    documents::Installation {
        installation: id.to_string(),
        since: *since,
        made_by: made_by.clone(),
        reason: reason.clone(),
    }
}
