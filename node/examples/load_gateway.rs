//! Many clients of an OpenAI API at once, each asking again as soon as it has its answer.
//!
//! ```text
//! cargo run -p assay --example load_gateway -- --url http://127.0.0.1:28443/v1 --model gloss [--clients 200] [--seconds 300]
//! ```
//!
//! Half of the clients read streams. Whoever is told 429 waits as long as it is told to. Prints one line of JSON: answers, 429s,
//! everything else with its words, and how long answers took.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use clap::Parser;
use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};

#[derive(Parser)]
struct Options {
    /// The API's base, ending in `/v1`.
    #[arg(long)]
    url: String,
    #[arg(long)]
    model: String,
    #[arg(long, default_value_t = 200)]
    clients: u32,
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Tokens of an answer at most.
    #[arg(long, default_value_t = 32)]
    max_tokens: u32,
}

const WORDS: [&str; 12] =
    ["river", "stone", "apple", "law", "music", "bridge", "cloud", "engine", "forest", "garden", "hammer", "island"];

/// What became of one client's requests.
#[derive(Default)]
struct Seen {
    answers: u64,
    busy: u64,
    other: BTreeMap<String, u64>,
    took: Vec<Duration>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), reqwest::Error> {
    let options = Options::parse();
    let http = assay::web::client(Duration::from_secs(120))?;
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let clients = (0..options.clients).map(|n| client(&http, &options, n, end));
    let all = futures::future::join_all(clients).await;
    let mut sum = Seen::default();
    for seen in all {
        sum.answers += seen.answers;
        sum.busy += seen.busy;
        sum.took.extend(seen.took);
        for (words, count) in seen.other {
            *sum.other.entry(words).or_default() += count;
        }
    }
    sum.took.sort_unstable();
    let at = |part: f64| sum.took.get((sum.took.len() as f64 * part) as usize).map(Duration::as_secs_f64);
    println!(
        "{}",
        json!({ "answers": sum.answers, "busy": sum.busy, "other": sum.other, "p50_s": at(0.5), "p99_s": at(0.99) })
    );
    Ok(())
}

async fn client(http: &Client, options: &Options, number: u32, end: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut turn = 0;
    while Instant::now() < end {
        turn += 1;
        let word = WORDS[((number + turn) as usize) % WORDS.len()];
        let began = Instant::now();
        match ask(http, options, (number, turn), word).await {
            Ok(None) => {
                seen.answers += 1;
                seen.took.push(began.elapsed());
            }
            Ok(Some(pause)) => {
                seen.busy += 1;
                tokio::time::sleep(pause).await;
            }
            Err(words) => *seen.other.entry(words).or_default() += 1,
        }
    }
    seen
}

/// Asks once; gives how long to wait where the gateway is busy.
async fn ask(
    http: &Client,
    options: &Options,
    (number, turn): (u32, u32),
    word: &str,
) -> Result<Option<Duration>, String> {
    let stream = number % 2 == 0;
    let question = format!("What does \"{word}\" mean? ({number}.{turn})");
    let body = json!({
        "model": options.model, "messages": [{ "role": "user", "content": question }], "max_tokens": options.max_tokens,
        "temperature": 0.7, "seed": number, "stream": stream,
    });
    let answer = http.post(format!("{}/chat/completions", options.url)).json(&body).send().await;
    let answer = answer.map_err(|e| root(&e))?;
    let status = answer.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        let asked = answer.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        return Ok(Some(Duration::from_secs(asked.unwrap_or(1))));
    }
    if status != StatusCode::OK {
        let body: Value = answer.json().await.unwrap_or_default();
        return Err(format!("{status}: {}", body["error"]["message"].as_str().unwrap_or_default()));
    }
    if !stream {
        let body: Value = answer.json().await.map_err(|e| root(&e))?;
        let whole = body["choices"][0]["finish_reason"].is_string();
        return if whole { Ok(None) } else { Err(format!("no answer: {body}")) };
    }
    let text = answer.text().await.map_err(|e| root(&e))?;
    match text.trim_end().ends_with("data: [DONE]") && !text.contains("\"error\"") {
        true => Ok(None),
        false => {
            Err(format!("a stream that ended badly: {}", text.lines().rev().find(|l| !l.is_empty()).unwrap_or("")))
        }
    }
}

/// The innermost cause.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
