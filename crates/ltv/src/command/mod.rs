//! One file for each subcommand, under its name.

mod api;
mod backtest;
mod bench;
mod coordinator;
mod dead_letters;
mod dispatch;
mod evaluate;
pub(crate) mod explain;
mod fit;
mod fit_file;
mod fit_report;
mod follow;
mod generate;
mod held;
mod installation;
mod load;
mod local;
mod meaning;
mod migrate;
mod models;
mod moved;
mod predict;
mod requests;
mod role;
pub(crate) mod runs;
mod segments;
mod worker;

use crate::cli::{
    BenchCommand, Cli, Command, DeadLettersCommand, InstallationCommand, ModelsCommand, RequestsCommand,
    RunsCommand, SegmentsCommand,
};
use process::telemetry::{self, Metrics, TelemetryConfig};
use tokio::task::spawn_blocking;

/// Does what the command line says.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<()> {
    let role = match &cli.command {
        Command::Worker(_) => "worker",
        Command::Coordinator(_) => "coordinator",
        Command::Api(_) => "api",
        Command::Dispatch(_) => "dispatcher",
        _ => "command",
    };
    let is_service = matches!(cli.command, Command::Worker(_) | Command::Coordinator(_) | Command::Api(_));
    let instance = process::instance(match &cli.command {
        Command::Worker(args) => args.role.instance.as_ref(),
        Command::Coordinator(args) => args.role.instance.as_ref(),
        Command::Api(args) => args.role.instance.as_ref(),
        _ => None,
    });
    // A command answers its caller; what it logs by the way is for those who ask for it.
    let log_filter = match cli.telemetry.log.as_str() {
        "info" if !is_service => "error,ltv=warn,process=warn",
        given => given,
    };
    let telemetry = telemetry::start(TelemetryConfig {
        log_format: cli.telemetry.log_format.into(),
        log_filter: queue::rabbitmq::quietened(log_filter),
        otlp_endpoint: cli.telemetry.otlp_endpoint,
        role,
        instance: instance.clone(),
        describe_metrics,
    })?;

    // These know themselves how they end in good order; every other command is dropped, and what it had begun with it.
    let ends_in_order = is_service || matches!(cli.command, Command::Local(_) | Command::Bench(_));
    let work = Box::pin(act(cli.command, instance, telemetry.metrics()));
    let result = if ends_in_order {
        work.await
    } else {
        tokio::select! {
            biased;
            interrupted = process::interrupted() => Err(interrupted.map_or_else(Into::into, Into::into)),
            result = work => result,
        }
    };
    telemetry.shutdown().await;
    result
}

async fn act(command: Command, instance: String, metrics: Metrics) -> anyhow::Result<()> {
    match command {
        Command::Migrate(args) => migrate::run(&args).await,
        Command::Load(args) => load::run(&args).await,
        Command::Generate(args) => generate::run(&args).await,
        // The largest of them, by far.
        Command::Fit(args) => Box::pin(fit::run(args)).await,
        Command::Predict(args) => busy(move || predict::run(&args)).await,
        Command::Evaluate(args) => busy(move || evaluate::run(&args)).await,
        Command::Backtest(args) => backtest::run(args).await,
        Command::Local(args) => Box::pin(local::run(args)).await,
        Command::Dispatch(args) => dispatch::run(&args).await,
        Command::Worker(args) => worker::run(args, instance, metrics).await,
        Command::Coordinator(args) => coordinator::run(args, instance, metrics).await,
        Command::Api(args) => api::run(args, instance, metrics).await,
        Command::Runs(RunsCommand::List(args)) => runs::list(&args).await,
        Command::Runs(RunsCommand::Show(args)) => runs::show(&args).await,
        Command::Runs(RunsCommand::Moved(args)) => moved::run(&args).await,
        Command::Runs(RunsCommand::Watch(args)) => runs::watch(&args).await,
        Command::Runs(RunsCommand::Cancel(args)) => runs::cancel(&args).await,
        Command::Runs(RunsCommand::Release(args)) => held::release(args).await,
        Command::Runs(RunsCommand::Reject(args)) => held::reject(args).await,
        Command::Requests(RequestsCommand::Show(args)) => requests::show(&args).await,
        Command::Requests(RequestsCommand::Abandon(args)) => requests::abandon(&args).await,
        Command::Segments(SegmentsCommand::List(args)) => segments::list(&args).await,
        Command::Segments(SegmentsCommand::History(args)) => segments::history(&args).await,
        Command::DeadLetters(DeadLettersCommand::List(args)) => dead_letters::list(&args).await,
        Command::DeadLetters(DeadLettersCommand::Redrive(args)) => dead_letters::redrive(&args).await,
        Command::DeadLetters(DeadLettersCommand::Discard(args)) => dead_letters::discard(&args).await,
        Command::Models(ModelsCommand::List(args)) => models::list(&args).await,
        Command::Models(ModelsCommand::Show(args)) => models::show(&args).await,
        Command::Models(ModelsCommand::Promote(args)) => models::promote(args).await,
        Command::Models(ModelsCommand::RollBack(args)) => models::roll_back(args).await,
        Command::Installation(InstallationCommand::Show(args)) => installation::show(&args).await,
        Command::Installation(InstallationCommand::Renew(args)) => installation::renew(&args).await,
        Command::Bench(BenchCommand::Night(args)) => bench::night(&args).await,
    }
}

/// Does what keeps a thread busy, so that a signal is heard meanwhile.
async fn busy(work: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> anyhow::Result<()> {
    spawn_blocking(work).await?
}

fn describe_metrics() {
    resilience::metrics::describe();
    store::describe_metrics();
    queue::metrics::describe();
    cache::metrics::describe();
    ::dispatcher::describe_metrics();
    ::worker::describe_metrics();
    ::coordinator::describe_metrics();
    movements::describe_metrics();
    ::api::describe_metrics();
}
