use std::time::{Duration, Instant};
use ::queue::*;
use batch::*;
fn ctl(args: &str) { let s = std::process::Command::new("/tmp/qctl").args(args.split(' ')).status().unwrap(); assert!(s.success()); }
fn sig(s: &str) { let p = std::process::Command::new("bash").arg("-c").arg(format!("kill -{s} $(/work/main/scripts/stack --name q pid rabbitmq)")).status().unwrap(); assert!(p.success()); }
fn o(c: i32) -> Outgoing {
    let chunk = ChunkRef { run: RunId(1), chunk: ChunkId(c) };
    Outgoing { priority: Priority::Normal, message: ChunkMessage { chunk, attempt_hint: Attempt(0) }, trace: TraceContext::default() }
}
fn cfg() -> RabbitMqConfig { RabbitMqConfig { prefix: crate::unique("own"), heartbeat: Duration::from_secs(2), confirm_timeout: Duration::from_secs(3), ..RabbitMqConfig::new(crate::Stack.amqp_url(), "test") } }
async fn recover(queue: &RabbitMq) { let t = Instant::now(); loop { let r = queue.publish(vec![o(9)]).await; if r[0].is_ok() { break } if t.elapsed().as_secs() % 5 == 0 { eprintln!("{r:?}") } tokio::time::sleep(Duration::from_millis(100)).await; } eprintln!("recovered {:?}", t.elapsed()); }
fn trace() { let _ = tracing_subscriber::fmt().with_env_filter("info,lapin=off").try_init(); }
#[tokio::test(flavor = "multi_thread")]
async fn own_blocked() {
    trace();
    let queue = RabbitMq::connect_now(cfg()).await.unwrap();
    eprintln!("{:?}", queue.publish(vec![o(1), o(2)]).await);
    ctl("set_vm_memory_high_watermark absolute 1");
    let t = Instant::now();
    eprintln!("first {:?} {:?} ready {}", queue.publish(vec![o(3), o(4)]).await, t.elapsed(), queue.ready());
    let t = Instant::now();
    eprintln!("second {:?} {:?}", queue.publish(vec![o(5)]).await, t.elapsed());
    let mut c = queue.consume(1).await.unwrap();
    let d = c.next().await.unwrap(); eprintln!("consumed {:?}", d.message()); eprintln!("{:?}", d.ack().await);
    let d = c.next().await.unwrap(); let t = Instant::now(); eprintln!("dead {:?} {:?}", d.dead_letter("x").await, t.elapsed());
    eprintln!("{:?} {:?}", queue.waiting().await, queue.dead_letters(3).await);
    tokio::time::sleep(Duration::from_secs(8)).await;
    eprintln!("still {:?}", queue.publish(vec![o(5)]).await);
    ctl("set_vm_memory_high_watermark absolute 3GB");
    recover(&queue).await;
    c.stop().await;
    eprintln!("{:?}", queue.waiting().await);
    queue.delete_topology().await.unwrap(); queue.close().await;
}
#[tokio::test(flavor = "multi_thread")]
async fn own_frozen() {
    trace();
    let queue = RabbitMq::connect_now(cfg()).await.unwrap();
    let mut c = queue.consume(1).await.unwrap();
    eprintln!("{:?}", queue.publish(vec![o(1), o(2)]).await);
    let d = c.next().await.unwrap();
    sig("STOP");
    let t = Instant::now();
    eprintln!("first {:?} {:?} ready {}", queue.publish((3..600).map(o).collect()).await[500], t.elapsed(), queue.ready());
    for _ in 0..4 { let t = Instant::now();
    eprintln!("second {:?} {:?} ready {}", queue.publish(vec![o(5)]).await, t.elapsed(), queue.ready());
    eprintln!("waiting {:?} {:?}", queue.waiting().await, t.elapsed());
    tokio::time::sleep(Duration::from_secs(4)).await; }
    let t = Instant::now();
    eprintln!("ack {:?} {:?}", d.ack().await, t.elapsed());
    sig("CONT");
    recover(&queue).await;
    let d = c.next().await.unwrap(); eprintln!("consumed {:?} {:?}", d.message(), d.redelivered()); eprintln!("{:?}", d.ack().await);
    c.stop().await;
    eprintln!("{:?}", queue.waiting().await);
    queue.delete_topology().await.unwrap(); queue.close().await;
}
#[tokio::test(flavor = "multi_thread")]
async fn own_mismatch() {
    trace();
    let cfg = cfg();
    let con = lapin::Connection::connect(&crate::Stack.amqp_url(), Default::default()).await.unwrap();
    let ch = con.create_channel().await.unwrap();
    let name = format!("{}.high", cfg.prefix);
    ch.queue_declare(name.as_str().into(), lapin::options::QueueDeclareOptions::durable(), Default::default()).await.unwrap();
    eprintln!("{}", RabbitMq::connect_now(cfg.clone()).await.unwrap_err());
    let q = RabbitMq::connect(cfg.clone()).await.unwrap();
    eprintln!("{:?}", q.publish(vec![o(1)]).await);
    ch.queue_delete(name.as_str().into(), Default::default()).await.unwrap();
    recover(&q).await;
    q.delete_topology().await.unwrap(); q.close().await;
    let u = crate::Stack.amqp_url() + "/nowhere";
    eprintln!("{}", RabbitMq::connect_now(RabbitMqConfig { url: u, ..cfg.clone() }).await.unwrap_err());
    let u = crate::Stack.amqp_url().replace("guest:guest", "guest:wrong");
    eprintln!("{}", RabbitMq::connect_now(RabbitMqConfig { url: u, ..cfg }).await.unwrap_err());
}
#[tokio::test(flavor = "multi_thread")]
async fn own_speed() {
    let queue = RabbitMq::connect_now(cfg()).await.unwrap();
    let t = Instant::now();
    assert!(queue.publish((1..20001).map(o).collect()).await.iter().all(Result::is_ok));
    eprintln!("publish 20000 in {:?}", t.elapsed());
    let mut c = queue.consume(50).await.unwrap();
    let t = Instant::now();
    for _ in 0..20000 { assert_eq!(c.next().await.unwrap().ack().await, Acked::Sent); }
    eprintln!("consume 20000 in {:?}", t.elapsed());
    c.stop().await;
    queue.delete_topology().await.unwrap(); queue.close().await;
}
