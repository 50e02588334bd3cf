//! Connections that send a node malformed requests at a pace, and count what they are told.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use eyre::bail;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinSet,
    time::{Instant, Interval, interval_at, sleep, timeout},
};

use super::{BATCH, Malformed, Nonsense, Wrong};

/// Requests with a body of their own beside each batch.
const ALONE: u32 = 8;
/// Bodies of one connection that may wait for an answer.
const WINDOW: usize = 36;
/// How long the last answers may take.
const LAST: Duration = Duration::from_secs(30);
/// The first connection sends one transaction that is too large in so many turns, and one body.
const LARGE_EVERY: u64 = 10;
const HUGE_EVERY: u64 = 50;

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Requests a second, of all connections; each call of a batch is one.
    pub rate: u32,
    /// Connections; more than 0, as the rate.
    pub connections: u32,
    /// How long.
    pub time: Duration,
    /// Where it is drawn from.
    pub seed: u64,
}

/// Connections at work.
pub struct Flood(JoinSet<eyre::Result<Flooder>>);

/// What all connections sent and were told.
#[derive(Debug, Default)]
pub struct Flooded {
    /// What was sent.
    pub said: Said,
    /// What was answered.
    pub heard: Heard,
    /// Connections that the node closed or did not take. What was not answered was sent on them.
    pub closed: u64,
}

impl Flood {
    /// Starts all connections to a node's RPC. A connection that is closed is opened anew, and makes up for the time.
    pub fn start(address: SocketAddr, nonsense: &Nonsense, pace: Pace) -> Self {
        let until = Instant::now() + pace.time;
        let mut flooders = JoinSet::new();
        for at in 0..pace.connections {
            flooders.spawn(Flooder::new(pace, at, address, nonsense.clone(), until).run());
        }
        Self(flooders)
    }

    /// Waits until the time is over and the last answers are there.
    ///
    /// # Errors
    /// If an answer is not of HTTP, or does not come within 30 s.
    pub async fn finish(mut self) -> eyre::Result<Flooded> {
        let mut all = Flooded::default();
        while let Some(flooder) = self.0.join_next().await {
            let flooder = flooder??;
            all.said.add(&flooder.script.said);
            all.heard.add(&flooder.heard);
            all.closed += flooder.closed;
        }
        Ok(all)
    }
}

/// What was sent.
#[derive(Debug, Default)]
pub struct Said {
    requests: BTreeMap<Wrong, u64>,
    /// HTTP requests.
    pub bodies: u64,
}

impl Said {
    /// How many requests, by what is wrong with them.
    pub fn by_kind(&self) -> impl Iterator<Item = (Wrong, u64)> {
        self.requests.iter().map(|(wrong, requests)| (*wrong, *requests))
    }

    /// How many requests in all.
    pub fn requests(&self) -> u64 {
        self.requests.values().sum()
    }

    fn add(&mut self, other: &Self) {
        self.bodies += other.bodies;
        for (wrong, requests) in &other.requests {
            *self.requests.entry(*wrong).or_default() += requests;
        }
    }
}

/// What was answered: the status of HTTP and the code of JSON-RPC, if there was one.
#[derive(Debug, Default)]
pub struct Heard(BTreeMap<(Wrong, u16, Option<i64>), u64>);

impl Heard {
    /// How many requests.
    pub fn requests(&self) -> u64 {
        self.0.values().sum()
    }

    /// How many with a result.
    pub fn granted(&self) -> u64 {
        self.0
            .iter()
            .filter(|((_, status, code), _)| *status == 200 && code.is_none())
            .map(|(_, answers)| answers)
            .sum()
    }

    fn add(&mut self, other: &Self) {
        for (answer, times) in &other.0 {
            *self.0.entry(*answer).or_default() += times;
        }
    }

    /// Calls are answered in their order; the code of an answer that is no list stands for each.
    fn note(&mut self, request: &Malformed, status: u16, body: &[u8]) {
        let (codes, listed) = (codes(body), body.trim_ascii_start().starts_with(b"["));
        for (at, wrong) in request.wrong.iter().enumerate() {
            let code = if listed { codes.get(at) } else { codes.first() };
            *self.0.entry((*wrong, status, code.copied())).or_default() += 1;
        }
    }

    /// The answers to one kind, in words.
    pub fn words(&self, kind: Wrong) -> String {
        let own = self.0.iter().filter(|((wrong, ..), _)| *wrong == kind);
        let answers = own.map(|((_, status, code), times)| match code {
            Some(code) => format!("{times} with {status}, code {code}"),
            None => format!("{times} with {status}"),
        });
        answers.collect::<Vec<_>>().join("; ")
    }
}

/// The codes of the errors in an answer, in their order.
fn codes(body: &[u8]) -> Vec<i64> {
    let text = String::from_utf8_lossy(body);
    let code = |rest: &str| {
        let end = rest.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    text.split("\"code\":").skip(1).filter_map(code).collect()
}

/// One HTTP answer: its status and its body.
async fn answer(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<(u16, Vec<u8>)> {
    let foreign = |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not of HTTP: {line:?}"));
    let first = line(from).await?;
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status: u16 = status.ok_or_else(|| foreign(&first))?;
    let mut length: Option<usize> = None;
    loop {
        let header = line(from).await?;
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok();
        }
    }
    let mut body = vec![0; length.ok_or_else(|| foreign("an answer without a length"))?];
    from.read_exact(&mut body).await?;
    Ok((status, body))
}

async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).await?;
    if !line.ends_with(b"\n") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// One connection at a time, opened anew when it is closed.
struct Flooder {
    address: SocketAddr,
    script: Script,
    heard: Heard,
    /// Connections that the node closed.
    closed: u64,
}

impl Flooder {
    fn new(pace: Pace, at: u32, address: SocketAddr, nonsense: Nonsense, until: Instant) -> Self {
        let turn = Duration::from_secs(1) * (BATCH + ALONE) * pace.connections / pace.rate;
        // Not all at once.
        let start = Instant::now() + turn * at / pace.connections;
        let script = Script {
            nonsense,
            random: ChaCha8Rng::seed_from_u64(pace.seed.wrapping_add(1 + u64::from(at))),
            ticks: interval_at(start, turn),
            until,
            sends_large: at == 0,
            turns: 0,
            said: Said::default(),
        };
        Self { address, script, heard: Heard::default(), closed: 0 }
    }

    async fn run(mut self) -> eyre::Result<Self> {
        while Instant::now() < self.script.until {
            match TcpStream::connect(self.address).await {
                Ok(stream) => self.closed += u64::from(self.converse(stream).await?),
                Err(_) => {
                    self.closed += 1;
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        Ok(self)
    }

    /// Talks and listens at once; whether the node hung up.
    async fn converse(&mut self, stream: TcpStream) -> eyre::Result<bool> {
        stream.set_nodelay(true)?;
        // The half that writes stays open until the last answer: a node may take its end for a farewell.
        let (from, mut to) = stream.into_split();
        let (asking, asked) = mpsc::channel(WINDOW);
        let saying = self.script.say(&mut to, asking);
        let hearing = hear(&mut self.heard, BufReader::new(from), asked);
        tokio::pin!(saying, hearing);
        let (said, heard) = tokio::select! {
            said = &mut saying => {
                let Ok(heard) = timeout(LAST, &mut hearing).await else { bail!("no answer within {LAST:?}") };
                (said, heard)
            }
            // It hung up.
            heard = &mut hearing => (Ok(()), heard),
        };
        match heard {
            Err(e) if e.kind() == io::ErrorKind::InvalidData => bail!("the answer to a request is {e}"),
            heard => Ok(said.is_err() || heard.is_err()),
        }
    }
}

/// Reads the answers to what was asked until nothing more is.
async fn hear(
    heard: &mut Heard,
    mut from: BufReader<OwnedReadHalf>,
    mut asked: mpsc::Receiver<Arc<Malformed>>,
) -> io::Result<()> {
    while let Some(request) = asked.recv().await {
        let (status, body) = answer(&mut from).await?;
        heard.note(&request, status, &body);
    }
    Ok(())
}

/// What one connection says, and when.
struct Script {
    nonsense: Nonsense,
    random: ChaCha8Rng,
    /// Missed ones are made up for.
    ticks: Interval,
    until: Instant,
    sends_large: bool,
    turns: u64,
    said: Said,
}

impl Script {
    /// What is sent in one turn.
    fn turn(&mut self) -> Vec<Arc<Malformed>> {
        self.turns += 1;
        let mut all = vec![self.nonsense.batch(&mut self.random)];
        all.extend((0..ALONE).map(|_| self.nonsense.alone(&mut self.random)));
        if self.sends_large && self.turns.is_multiple_of(LARGE_EVERY) {
            all.push(Arc::clone(&self.nonsense.large));
        }
        if self.sends_large && self.turns.is_multiple_of(HUGE_EVERY) {
            all.push(Arc::clone(&self.nonsense.huge));
        }
        all
    }

    /// Sends until the time is over.
    async fn say(&mut self, to: &mut OwnedWriteHalf, asking: mpsc::Sender<Arc<Malformed>>) -> io::Result<()> {
        loop {
            self.ticks.tick().await;
            if Instant::now() >= self.until {
                return Ok(());
            }
            for request in self.turn() {
                if asking.send(Arc::clone(&request)).await.is_err() {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                to.write_all(&request.bytes).await?;
                self.said.bodies += 1;
                for wrong in &request.wrong {
                    *self.said.requests.entry(*wrong).or_default() += 1;
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_told_apart_and_what_is_no_http_is_an_error() {
        let two = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\n\r\n";
        let mut from = &two[..];
        assert_eq!(answer(&mut from).await.unwrap(), (200, b"12345".to_vec()));
        assert_eq!(answer(&mut from).await.unwrap(), (413, Vec::new()));
        assert_eq!(answer(&mut from).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(answer(&mut &b"hello\r\n"[..]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn each_call_of_a_batch_has_its_code_and_a_result_is_noticed() {
        let request = Malformed { bytes: Vec::new(), wrong: vec![Wrong::Method, Wrong::Nonce] };
        let mut heard = Heard::default();
        heard.note(&request, 200, br#"[{"error":{"code":-32601,"message":"a"}},{"error":{"code":-32001}}]"#);
        heard.note(&request, 200, br#"{"error":{"code":-32700}}"#);
        let codes: Vec<_> = heard.0.keys().map(|(wrong, _, code)| (*wrong, code.unwrap())).collect();
        let expected =
            [(Wrong::Method, -32700), (Wrong::Method, -32601), (Wrong::Nonce, -32700), (Wrong::Nonce, -32001)];
        assert_eq!((codes, heard.granted()), (expected.to_vec(), 0));
        heard.note(&request, 200, br#"[{"result":1},{"result":2}]"#);
        assert_eq!((heard.requests(), heard.granted()), (6, 2));
        heard.note(&request, 200, br#"[{"error":{"code":-32601}},{"result":2}]"#);
        assert_eq!((heard.requests(), heard.granted()), (8, 3), "one error does not stand for the other call");
    }
}
