//! `assay infer --batch`: a file of requests, several at a time.
//!
//! ```text
//! requests, a line each ──workers──> gateway ──> results, a line each, as they come
//!                                        └─ receipt ──> verify
//! ```
//!
//! Both files have OpenAI's batch format: `{"custom_id", "method", "url", "body"}` and
//! `{"custom_id", "response": {"status_code", "request_id", "body"}, "error"}`, with `verified` beside it. What has been
//! answered stands in the results: a run that was stopped goes on where it was, and one with failures tries those again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions, TryLockError},
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use assay_primitives::{Hash32, receipt::Receipt};
use eyre::{WrapErr as _, bail, ensure, eyre};
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Client, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    files,
    global::{Global, pairs},
    infer::about_our_question,
};
use crate::{
    home,
    openai::stream::RECEIPT,
    verify::{self, Demands},
    web,
};

/// Larger files of requests or results are not read.
const MOST_BYTES: u64 = 1 << 30;
/// The paths that can be asked.
const PATHS: [&str; 4] = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/classify"];
/// Times that a request is tried while the gateway is busy or away.
const TRIES: u32 = 6;
/// The first pause between two of them; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest, whatever the gateway asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Who asks for more is not asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Longest time for one try.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a batch is to do.
pub(super) struct Batch<'a> {
    pub(super) requests: &'a Path,
    pub(super) results: &'a Path,
    pub(super) workers: usize,
    pub(super) genesis: Option<Hash32>,
    pub(super) key: Option<&'a str>,
}

/// One line of the requests.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    custom_id: String,
    #[serde(default = "post")]
    method: String,
    url: String,
    body: Value,
}

impl Asked {
    /// By this a request is known again that has the id of another.
    fn hash(&self) -> Hash32 {
        let mut asked = json!([self.url, self.body]);
        asked.sort_all_objects();
        Hash32::digest(asked.to_string().as_bytes())
    }
}

fn post() -> String {
    "POST".to_owned()
}

/// One line of the results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Answered {
    custom_id: String,
    /// What was asked, by its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<Hash32>,
    response: Option<Response>,
    error: Option<String>,
    /// Whether the answer's receipts hold; `None` where it has none.
    verified: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Response {
    status_code: u16,
    request_id: Option<String>,
    body: Value,
}

impl Answered {
    fn is_done(&self) -> bool {
        self.error.is_none() && self.response.as_ref().is_some_and(|r| r.status_code == 200)
    }
}

/// The requests of a file, each looked at before any is sent.
fn requests(text: &str) -> eyre::Result<Vec<Asked>> {
    let (mut all, mut ids) = (Vec::new(), BTreeSet::new());
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        let asked: Asked = serde_json::from_str(line).map_err(|e| eyre!("line {number}: {e}"))?;
        let Asked { custom_id, method, url, body } = &asked;
        ensure!(!custom_id.is_empty() && custom_id.len() <= 256, "line {number}: a custom_id has 1 to 256 bytes");
        ensure!(ids.insert(custom_id.clone()), "line {number}: the custom_id {custom_id:?} is that of an earlier line");
        ensure!(method == "POST", "line {number}: the method is POST, found {method:?}");
        ensure!(PATHS.contains(&url.as_str()), "line {number}: url is one of {}, found {url:?}", PATHS.join(", "));
        ensure!(body.is_object(), "line {number}: body is an object");
        ensure!(body["stream"] != json!(true), "line {number}: a batch takes whole answers; leave `stream` out");
        all.push(asked);
    }
    Ok(all)
}

/// What a result begins with, also one that was cut off.
const BEGINNING: &str = r#"{"custom_id":"#;

/// What was answered before, of these requests. A last line that was cut off by a crash is none.
fn answered(path: &Path, asked: &[Asked]) -> eyre::Result<Vec<Answered>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = files::read_at_most(path, MOST_BYTES)?;
    let text = String::from_utf8_lossy(&bytes);
    let (whole, last) = text.rsplit_once('\n').unwrap_or(("", &text));
    ensure!(
        last.starts_with(BEGINNING) || BEGINNING.starts_with(last),
        "{}: its end is no result of a batch; write to another file",
        path.display()
    );
    let ids: BTreeMap<&str, &Asked> = asked.iter().map(|a| (a.custom_id.as_str(), a)).collect();
    let mut all = Vec::new();
    for (line, number) in whole.lines().zip(1..) {
        let found: Answered = serde_json::from_str(line)
            .wrap_err_with(|| format!("{}, line {number}: no result of a batch", path.display()))?;
        let Some(request) = ids.get(found.custom_id.as_str()) else {
            bail!(
                "{}, line {number}: a result of {:?}, which is none of these requests; write to another file",
                path.display(),
                found.custom_id
            );
        };
        ensure!(
            !found.is_done() || found.asked.is_none_or(|asked| asked == request.hash()),
            "{}, line {number}: {:?} asked something else when this was answered; write to another file",
            path.display(),
            found.custom_id
        );
        all.push(found);
    }
    Ok(all)
}

/// Where requests go.
struct Gateway {
    http: Client,
    url: String,
    key: Option<String>,
    genesis: Option<Hash32>,
}

impl Gateway {
    fn post(&self, asked: &Asked) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}{}", self.url, asked.url)).json(&asked.body);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Asks until there is an answer, or no hope of one.
    async fn ask(&self, asked: &Asked) -> Answered {
        let mut pause = PAUSE;
        for left in (0..TRIES).rev() {
            let answer = self.post(asked).send().await;
            let passing = match &answer {
                Ok(answer) => matches!(
                    answer.status(),
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
                ),
                Err(_) => true,
            };
            let asked_for =
                answer.as_ref().ok().and_then(|a| a.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok());
            let asked_for = asked_for.map_or(pause, Duration::from_secs);
            // A quota that is renewed tomorrow is not waited for.
            if passing && left > 0 && asked_for <= LONGEST_WAIT {
                tokio::time::sleep(asked_for.min(LONGEST_PAUSE)).await;
                pause *= 2;
                continue;
            }
            return self.read(asked, answer).await;
        }
        unreachable!("the last try returns")
    }

    async fn read(&self, asked: &Asked, answer: reqwest::Result<reqwest::Response>) -> Answered {
        let (custom_id, hash) = (asked.custom_id.clone(), Some(asked.hash()));
        let failed = |error: String| Answered {
            custom_id: custom_id.clone(),
            asked: hash,
            response: None,
            error: Some(error),
            verified: None,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(e) => return failed(format!("{} does not answer: {}", self.url, root(&e))),
        };
        let text = |name| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (status_code, request_id, receipts) =
            (answer.status().as_u16(), text("x-request-id"), text(RECEIPT.as_str()));
        let body = match answer.bytes().await {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes))),
            Err(e) => return failed(format!("the answer broke off: {}", root(&e))),
        };
        let (mut error, mut verified) = (None, None);
        if status_code == 200 {
            match self.verify(asked, &body, receipts.as_deref()).await {
                Ok(found) => verified = found,
                Err(reason) => (error, verified) = (Some(format!("its receipt: {reason:#}")), Some(false)),
            }
        } else {
            error =
                Some(body["error"]["message"].as_str().map_or_else(|| format!("status {status_code}"), str::to_owned));
        }
        Answered { custom_id, asked: hash, response: Some(Response { status_code, request_id, body }), error, verified }
    }

    /// Checks the receipts of an answer; `None` if it has none.
    async fn verify(&self, asked: &Asked, body: &Value, receipts: Option<&str>) -> eyre::Result<Option<bool>> {
        if asked.url == "/v1/classify" {
            let receipt: Receipt = serde_json::from_value(body["receipt"].clone())?;
            let input: Vec<f32> = serde_json::from_value(asked.body["input"].clone())?;
            about_our_question(&receipt, asked.body["model"].as_str().unwrap_or_default(), &input)?;
            return self.holds(receipt.to_json()).await.map(Some);
        }
        let Some(paths) = receipts else { return Ok(None) };
        for path in paths.split(", ") {
            let request = self.http.get(format!("{}{path}", self.url));
            let request = if let Some(key) = &self.key { request.bearer_auth(key) } else { request };
            self.holds(request.send().await?.error_for_status()?.text().await?).await?;
        }
        Ok(Some(true))
    }

    async fn holds(&self, receipt: String) -> eyre::Result<bool> {
        let genesis = self.genesis.ok_or_else(|| eyre!("the chain's genesis hash is not known; give --genesis"))?;
        let checked = tokio::task::spawn_blocking(move || verify::verify_text(&receipt, &genesis, &Demands::default()));
        checked.await?.map(|_| true).map_err(|failure| eyre!("{}: {}", failure.name, failure.reason))
    }
}

/// The innermost cause, which is what people can do something about.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Runs a batch; false if a request failed.
pub(super) async fn run(global: &Global, batch: &Batch<'_>) -> eyre::Result<bool> {
    let named = [("--batch", Some(batch.requests)), ("--out", Some(batch.results))];
    files::apart(&named)?;
    let text = String::from_utf8(files::read_at_most(batch.requests, MOST_BYTES)?)
        .map_err(|_| eyre!("{}: no UTF-8", batch.requests.display()))?;
    let asked = requests(text.strip_prefix('\u{feff}').unwrap_or(&text))
        .wrap_err_with(|| batch.requests.display().to_string())?;
    ensure!(!asked.is_empty(), "{} has no requests", batch.requests.display());
    files::try_out(batch.results)?;
    files::is_plain(batch.results)?;
    let place = files::place(batch.results);
    // Both what was there and what replaces it are held.
    let _before = lock(&place)?;
    let before: Vec<Answered> = answered(&place, &asked)?.into_iter().filter(Answered::is_done).collect();
    let done: BTreeSet<&str> = before.iter().map(|a| a.custom_id.as_str()).collect();
    let left: Vec<&Asked> = asked.iter().filter(|a| !done.contains(a.custom_id.as_str())).collect();
    keep(&place, &before)?;
    let mut file = lock(&place)?;

    let url = global.gateway_url()?;
    let genesis = match batch.genesis {
        Some(genesis) => Some(genesis),
        // A server of one machine has no chain, and its answers no receipts.
        None => crate::rpc::RpcClient::new(&url)?.status().await.ok().map(|status| status.genesis_hash),
    };
    let gateway = Gateway { http: web::client(PATIENCE)?, url, key: batch.key.map(str::to_owned), genesis };
    let bar = global.progress_of(left.len());
    let (began, mut failed, mut verified) = (Instant::now(), 0usize, 0usize);
    let mut first_failure = None;
    let mut answers =
        futures::stream::iter(left.iter().map(|asked| gateway.ask(asked))).buffer_unordered(batch.workers);
    while let Some(answer) = answers.next().await {
        if !answer.is_done() {
            failed += 1;
            first_failure
                .get_or_insert_with(|| format!("{}: {}", answer.custom_id, answer.error.clone().unwrap_or_default()));
        }
        verified += usize::from(answer.verified == Some(true));
        let mut line = serde_json::to_string(&answer)?;
        line.push('\n');
        file.write_all(line.as_bytes()).wrap_err_with(|| format!("cannot write {}", place.display()))?;
        bar.inc(1);
        if failed > 0 {
            bar.set_message(format!("{failed} failed"));
        }
    }
    file.sync_all()?;
    bar.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    let answered = left.len() - failed;
    let value = json!({
        "requests": asked.len(), "answered_before": before.len(), "answered": answered, "failed": failed,
        "verified": verified, "seconds": seconds, "per_second": answered as f64 / seconds.max(1e-9), "out": batch.results,
    });
    global.show(&value, || {
        let mut lines = vec![
            ("requests", asked.len().to_string()),
            ("answered", format!("{answered} in {seconds:.1} s, {:.1} a second", answered as f64 / seconds.max(1e-9))),
            ("verified", format!("{verified} by their receipts")),
            ("results", batch.results.display().to_string()),
        ];
        if !before.is_empty() {
            lines.insert(1, ("before", format!("{} were answered before", before.len())));
        }
        if let Some(first) = &first_failure {
            lines.push(("failed", format!("{failed}, the first {first}; the same command tries them again")));
        }
        pairs(lines)
    });
    Ok(failed == 0)
}

/// The results, to be written to by nobody else: another run would answer everything a second time.
fn lock(results: &Path) -> eyre::Result<File> {
    let cannot = || format!("cannot write {}", results.display());
    let file = OpenOptions::new().create(true).append(true).open(results).wrap_err_with(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another run writes to {}", results.display()),
        Err(TryLockError::Error(e)) => Err(e).wrap_err_with(cannot),
    }
}

/// Writes the results that stay, and nothing else.
fn keep(place: &Path, results: &[Answered]) -> eyre::Result<()> {
    let mut text = String::new();
    for result in results {
        text += &serde_json::to_string(result)?;
        text.push('\n');
    }
    home::replace(place, text.as_bytes()).wrap_err_with(|| format!("cannot write {}", place.display()))
}

impl Global {
    /// Progress of so many things.
    fn progress_of(&self, count: usize) -> ProgressBar {
        let hidden = self.quiet || self.json;
        let bar = if hidden { ProgressBar::hidden() } else { ProgressBar::new(count as u64) };
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len}, {per_sec}, {eta} left {msg}");
        bar.with_style(style.expect("the template is well formed"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    const LINE: &str =
        r#"{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "m", "prompt": "x"}}"#;

    fn result(id: &str, status_code: u16) -> Answered {
        let response = Some(Response { status_code, request_id: None, body: json!({}) });
        Answered { custom_id: id.into(), asked: None, response, error: None, verified: Some(true) }
    }

    #[test]
    fn an_answer_to_something_else_is_not_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let asked = requests(LINE).unwrap();
        let hash = Some(asked[0].hash());
        keep(&path, &[Answered { asked: hash, ..result("a", 200) }]).unwrap();
        assert_eq!(answered(&path, &asked).unwrap().len(), 1);
        // The same in another order of the fields, and with other blanks.
        let again = LINE.replace(r#"{"model": "m", "prompt": "x"}"#, r#"{"prompt":"x","model":"m"}"#);
        assert_eq!(requests(&again).unwrap()[0].hash(), asked[0].hash());
        for other in [LINE.replace("\"x\"", "\"y\""), LINE.replace("/v1/completions", "/v1/embeddings")] {
            let other = requests(&other).unwrap();
            assert!(answered(&path, &other).unwrap_err().to_string().contains("asked something else"));
            // What failed is asked again anyway.
            keep(&path, &[Answered { asked: hash, ..result("a", 500) }]).unwrap();
            assert_eq!(answered(&path, &other).unwrap().len(), 1);
            keep(&path, &[Answered { asked: hash, ..result("a", 200) }]).unwrap();
        }
    }

    #[test]
    fn what_is_no_batch_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let asked = requests(LINE).unwrap();
        keep(&path, &[result("a", 200)]).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        for cut in [0, 1, 9, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(answered(&path, &asked).unwrap().is_empty(), "{cut}");
        }
        for other in ["{\"secret\": \"keep me\"}", "a note", "{\"custom_id\"x"] {
            fs::write(&path, other).unwrap();
            assert!(answered(&path, &asked).unwrap_err().to_string().contains("no result of a batch"), "{other}");
        }
    }

    #[test]
    fn requests_are_read_and_what_is_wrong_is_told_with_its_line() {
        let second = LINE.replace("\"a\"", "\"b\"").replace("\"method\": \"POST\", ", "");
        assert_eq!(requests(&format!("{LINE}\n\n{second}\n")).unwrap().len(), 2);
        assert!(requests("").unwrap().is_empty());
        for (line, words) in [
            ("{".to_owned(), "line 2: EOF"),
            (LINE.to_owned(), "that of an earlier line"),
            (LINE.replace("\"a\"", "\"\""), "1 to 256"),
            (LINE.replace("\"a\"", "\"c\"").replace("POST", "GET"), "the method is POST"),
            (LINE.replace("\"a\"", "\"c\"").replace("/v1/completions", "/metrics"), "url is one of"),
            (LINE.replace("\"a\"", "\"c\"").replace("\"prompt\"", "\"stream\": true, \"prompt\""), "whole answers"),
            (LINE.replace("\"a\"", "\"c\"").replace("\"url\"", "\"uri\""), "unknown field"),
        ] {
            let error = requests(&format!("{LINE}\n{line}")).unwrap_err().to_string();
            assert!(error.contains(words) && error.starts_with("line 2"), "{error}");
        }
    }

    #[test]
    fn a_line_that_was_cut_off_is_asked_again_and_a_strangers_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let asked = requests(&format!("{LINE}\n{}", LINE.replace("\"a\"", "\"b\""))).unwrap();
        assert!(answered(&path, &asked).unwrap().is_empty());
        keep(&path, &[result("a", 200), result("b", 500)]).unwrap();
        assert_eq!(answered(&path, &asked).unwrap().iter().filter(|a| a.is_done()).count(), 1);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 3]).unwrap();
        assert_eq!(answered(&path, &asked).unwrap().len(), 1);
        fs::write(&path, "{\"no\": 1}\n").unwrap();
        assert!(answered(&path, &asked).unwrap_err().to_string().contains("line 1"));
        keep(&path, &[result("z", 200)]).unwrap();
        assert!(answered(&path, &asked).unwrap_err().to_string().contains("none of these requests"));
    }

    #[test]
    fn two_runs_do_not_write_to_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let _first = lock(&path).unwrap();
        assert!(lock(&path).unwrap_err().to_string().contains("another run"));
    }
}
