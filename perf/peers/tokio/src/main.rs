//! tokio-peer: W4, W8, W9 and W11 on Tokio, the same work as coil's programs.
//!
//!   tokio-peer post | post_mpsc | rtt | rtt_1core      one measured round after one that warms up
//!   tokio-peer fork_join WORKERS
//!   tokio-peer echo [--workers N] [--stall]            announces its port like coil-echo-server
//!
//! One worker is Tokio's current_thread runtime, several are its multi_thread one. Results are lines
//! "tokio W4.post 1000000 calls/s".

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

const POSTS: u64 = 1_000_000;
const ROUND_TRIPS: u64 = 20_000;
const MESSAGE_BYTES: usize = 64;

fn runtime(workers: usize) -> Runtime {
    let built = if workers == 1 {
        Builder::new_current_thread().enable_all().build()
    } else {
        Builder::new_multi_thread().worker_threads(workers).enable_all().build()
    };
    built.expect("a runtime")
}

// --- W4: a foreign thread and a loop -------------------------------------------------------------------------------

/// The loop is asleep when the first post comes.
fn until_loop_sleeps() {
    thread::sleep(Duration::from_millis(2));
}

fn post_spawn(rt: &Runtime) -> Duration {
    let handle = rt.handle().clone();
    let (done, finished) = oneshot::channel::<Instant>();
    let poster = thread::spawn(move || {
        let count = Arc::new(AtomicU64::new(0));
        let done = Arc::new(std::sync::Mutex::new(Some(done)));
        until_loop_sleeps();
        let start = Instant::now();
        for _ in 0..POSTS {
            let (count, done) = (count.clone(), done.clone());
            handle.spawn(async move {
                if count.fetch_add(1, Ordering::Relaxed) + 1 == POSTS {
                    let _ = done.lock().unwrap().take().unwrap().send(Instant::now());
                }
            });
        }
        start
    });
    let end = rt.block_on(finished).expect("an end");
    end - poster.join().expect("the poster")
}

fn post_mpsc(rt: &Runtime) -> Duration {
    thread_local!(static COUNT: Cell<u64> = const { Cell::new(0) });
    let (sender, mut receiver) = mpsc::unbounded_channel::<fn()>();
    COUNT.with(|c| c.set(0));
    let poster = thread::spawn(move || {
        until_loop_sleeps();
        let start = Instant::now();
        for _ in 0..POSTS {
            let _ = sender.send(|| COUNT.with(|c| c.set(c.get() + 1)));
        }
        start
    });
    let end = rt.block_on(async move {
        while COUNT.with(|c| c.get()) < POSTS {
            receiver.recv().await.expect("a call")();
        }
        Instant::now()
    });
    end - poster.join().expect("the poster")
}

fn round_trips(rt: &Runtime) -> Duration {
    let handle = rt.handle().clone();
    let (done, finished) = oneshot::channel::<()>();
    let poster = thread::spawn(move || {
        let me = thread::current();
        let served = Arc::new(AtomicU64::new(0));
        until_loop_sleeps();
        let start = Instant::now();
        for i in 0..ROUND_TRIPS {
            let (poster, reply) = (me.clone(), served.clone());
            handle.spawn(async move {
                reply.store(i + 1, Ordering::Release);
                poster.unpark();
            });
            while served.load(Ordering::Acquire) != i + 1 {
                thread::park();
            }
        }
        let took = start.elapsed();
        let _ = done.send(());
        took
    });
    rt.block_on(finished).expect("an end");
    poster.join().expect("the poster")
}

/// This process, and the threads that it makes from now on, on core 0.
fn pin_to_one_core() {
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(0, &mut set);
        assert_eq!(libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set), 0, "sched_setaffinity");
    }
}

fn cross_thread(name: &str, round: fn(&Runtime) -> Duration, operations: u64) {
    let rt = runtime(1);
    round(&rt);
    let took = round(&rt);
    if name.starts_with("rtt") {
        println!("tokio W4.{name} {:.0} ns", took.as_nanos() as f64 / operations as f64);
    } else {
        println!("tokio W4.{name} {:.0} ops/s", operations as f64 / took.as_secs_f64());
    }
}

// --- W8: fork and join ---------------------------------------------------------------------------------------------

type Boxed = Pin<Box<dyn Future<Output = u64> + Send>>;

fn fib(n: u64) -> Boxed {
    Box::pin(async move {
        if n < 2 {
            return n;
        }
        let (a, b) = (tokio::spawn(fib(n - 1)), tokio::spawn(fib(n - 2)));
        a.await.unwrap() + b.await.unwrap()
    })
}

fn skynet(number: u64, size: u64) -> Boxed {
    Box::pin(async move {
        if size == 1 {
            return number;
        }
        let children: [_; 10] =
            std::array::from_fn(|i| tokio::spawn(skynet(number + i as u64 * (size / 10), size / 10)));
        let mut sum = 0;
        for child in children {
            sum += child.await.unwrap();
        }
        sum
    })
}

fn fork_join(workers: usize) {
    let rt = runtime(workers);
    let works: [(&str, fn() -> Boxed, u64); 2] =
        [("W8.fib27", || fib(27), 196418), ("W8.skynet", || skynet(0, 1_000_000), 499_999_500_000)];
    for (name, work, right) in works {
        let mut took = Duration::ZERO;
        for _ in 0..2 {
            let start = Instant::now();
            // From a task on a worker, as in every contender.
            let result = rt.block_on(async { tokio::spawn(work()).await.unwrap() });
            took = start.elapsed();
            assert_eq!(result, right, "{name}");
        }
        println!("tokio {name}_{workers}w {:.2} ms", took.as_secs_f64() * 1e3);
    }
}

// --- W9, W11: echo -------------------------------------------------------------------------------------------------

fn compute(nanoseconds: u32) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_nanos(nanoseconds.into()) {}
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 16384];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

async fn stall(mut stream: TcpStream) -> std::io::Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    loop {
        stream.read_exact(&mut message).await?;
        match u32::from_le_bytes(message[..4].try_into().unwrap()) {
            0 => (),
            nanoseconds => compute(nanoseconds),
        }
        stream.write_all(&message).await?;
    }
}

async fn serve(stalls: bool) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {} backend=tokio", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        if stalls {
            tokio::spawn(stall(stream));
        } else {
            tokio::spawn(echo(stream));
        }
    }
}

// --- program -------------------------------------------------------------------------------------------------------

const USAGE: &str = "usage: tokio-peer post|post_mpsc|rtt|rtt_1core\n       tokio-peer fork_join WORKERS\n       \
                     tokio-peer echo [--workers N] [--stall]";

fn usage() -> ! {
    eprintln!("{USAGE}");
    std::process::exit(2)
}

fn workers_of(text: Option<&str>) -> usize {
    text.and_then(|t| t.parse().ok()).filter(|&n| n > 0).unwrap_or_else(|| usage())
}

fn run_echo(arguments: &[&str]) {
    let (mut workers, mut stalls) = (1, false);
    let mut rest = arguments.iter();
    while let Some(&argument) = rest.next() {
        match argument {
            "--stall" => stalls = true,
            "--workers" => workers = workers_of(rest.next().copied()),
            _ => usage(),
        }
    }
    // From a task: then accepting is the workers' work too.
    runtime(workers).block_on(async move { tokio::spawn(serve(stalls)).await }).unwrap().expect("serving");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--help"] => println!("{USAGE}"),
        ["post"] => cross_thread("post", post_spawn, POSTS),
        ["post_mpsc"] => cross_thread("post_mpsc", post_mpsc, POSTS),
        ["rtt"] => cross_thread("rtt", round_trips, ROUND_TRIPS),
        ["rtt_1core"] => {
            pin_to_one_core();
            cross_thread("rtt_1core", round_trips, ROUND_TRIPS)
        }
        ["fork_join", workers] => fork_join(workers_of(Some(workers))),
        ["echo", ref rest @ ..] => run_echo(rest),
        _ => usage(),
    }
}
