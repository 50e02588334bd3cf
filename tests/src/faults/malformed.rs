//! Requests that a node has to refuse, of every kind there is.
//!
//! They are made beforehand, as whole HTTP requests: a flood of them costs the machine what it costs the node, not what it costs
//! to sign them.

use std::{net::SocketAddr, sync::Arc};

use assay_ledger::tx::{Action, SignedTransaction, Transaction};
use assay_primitives::{AccountId, Amount, Hash32, Keypair, Signed, encode, receipt::Blob};
use rand::{Rng as _, RngCore as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Calls in a batch: as many as a node takes.
pub const BATCH: u32 = 32;

/// How many there are of requests with a body of their own, and of batches.
const ALONE: usize = 1024;
const BATCHES: usize = 256;
/// Bytes of a transaction that is too large, and of a body.
const LARGE: usize = 300 << 10;
const HUGE: usize = 3 << 20;

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// Its body is no JSON.
    NoJson,
    /// It is JSON, and no call.
    NoCall,
    /// There is no such method.
    Method,
    /// The method has other parameters.
    Parameters,
    /// Its transaction is random bytes.
    Bytes,
    /// One bit of its transaction's signature is flipped; all else holds.
    Signature,
    /// Its transaction's nonce stands in a block already.
    Nonce,
    /// Its transaction's signer has nothing to pay with.
    Money,
    /// Its transaction has more bytes than one may have; all else holds.
    Transaction,
    /// Its body has more bytes than one may have.
    Body,
}

impl Wrong {
    /// What stands in batches.
    const CALLS: [Self; 7] =
        [Self::NoCall, Self::Method, Self::Parameters, Self::Bytes, Self::Signature, Self::Nonce, Self::Money];

    /// It in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoJson => "no JSON",
            Self::NoCall => "JSON that is no call",
            Self::Method => "unknown method",
            Self::Parameters => "wrong parameters",
            Self::Bytes => "random bytes as a transaction",
            Self::Signature => "signature with a flipped bit",
            Self::Nonce => "stale nonce",
            Self::Money => "account without money",
            Self::Transaction => "transaction too large",
            Self::Body => "body too large",
        }
    }
}

/// An HTTP request with what is wrong with it: one thing, or one for each call of a batch.
#[derive(Debug)]
pub struct Malformed {
    /// All of it, as it is sent.
    pub bytes: Vec<u8>,
    /// In the order of its calls.
    pub wrong: Vec<Wrong>,
}

/// Many of them, to draw from.
#[derive(Clone, Debug)]
pub struct Nonsense {
    /// With a body each.
    alone: Arc<[Arc<Malformed>]>,
    /// [`BATCH`] calls each.
    batches: Arc<[Arc<Malformed>]>,
    /// With a transaction that is too large.
    pub large: Arc<Malformed>,
    /// With a body that is too large; a node may close its connection.
    pub huge: Arc<Malformed>,
}

impl Nonsense {
    /// Makes them for a node's RPC. `idle` has money and has sent no transaction; `old` has sent one.
    pub fn new(address: SocketAddr, genesis: Hash32, (idle, old): (Keypair, Keypair), seed: u64) -> Self {
        let mut make = Make { genesis, idle, old, calls: 0, random: ChaCha8Rng::seed_from_u64(seed) };
        let alone = |make: &mut Make| {
            let wrong = if make.random.gen_ratio(1, 8) { Wrong::NoJson } else { make.draw() };
            let body = if wrong == Wrong::NoJson { make.noise(256) } else { make.call(wrong).to_string().into() };
            Arc::new(Malformed { bytes: post(address, &body), wrong: vec![wrong] })
        };
        let batch = |make: &mut Make| {
            let wrong: Vec<Wrong> = (0..BATCH).map(|_| make.draw()).collect();
            let calls: Vec<Value> = wrong.iter().map(|wrong| make.call(*wrong)).collect();
            Arc::new(Malformed { bytes: post(address, Value::from(calls).to_string().as_bytes()), wrong })
        };
        let one = |make: &mut Make, wrong| {
            Arc::new(Malformed { bytes: post(address, make.call(wrong).to_string().as_bytes()), wrong: vec![wrong] })
        };
        Self {
            alone: (0..ALONE).map(|_| alone(&mut make)).collect(),
            batches: (0..BATCHES).map(|_| batch(&mut make)).collect(),
            large: one(&mut make, Wrong::Transaction),
            huge: one(&mut make, Wrong::Body),
        }
    }

    /// One with a body of its own.
    pub fn alone(&self, random: &mut ChaCha8Rng) -> Arc<Malformed> {
        Arc::clone(&self.alone[random.gen_range(0..self.alone.len())])
    }

    /// A batch.
    pub fn batch(&self, random: &mut ChaCha8Rng) -> Arc<Malformed> {
        Arc::clone(&self.batches[random.gen_range(0..self.batches.len())])
    }
}

/// A transfer of `amount` grain, with the least fee.
pub fn transfer(genesis: &Hash32, key: &Keypair, nonce: u64, amount: u64) -> SignedTransaction {
    let action = Action::Transfer { to: AccountId([9; 32]), amount: Amount(amount) };
    Signed::new(Transaction { signer: key.account(), nonce, fee: Amount(1000), action }, genesis, key)
}

fn post(address: SocketAddr, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

struct Make {
    genesis: Hash32,
    idle: Keypair,
    old: Keypair,
    /// The id of the last call.
    calls: u64,
    random: ChaCha8Rng,
}

impl Make {
    fn draw(&mut self) -> Wrong {
        Wrong::CALLS[self.random.gen_range(0..Wrong::CALLS.len())]
    }

    fn noise(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.random.gen_range(1..=most)];
        self.random.fill_bytes(&mut bytes);
        bytes
    }

    fn pick(&mut self, values: &[Value]) -> Value {
        values.choose(&mut self.random).cloned().unwrap_or_default()
    }

    fn rpc(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        json!({ "jsonrpc": "2.0", "id": self.calls, "method": method, "params": params })
    }

    fn submit(&mut self, transaction: Vec<u8>) -> Value {
        self.rpc("assay_submit", json!({ "transaction": Blob(transaction) }))
    }

    fn call(&mut self, wrong: Wrong) -> Value {
        match wrong {
            // Without an id it would be a notification, which nobody answers: these are not even that.
            Wrong::NoJson | Wrong::NoCall => self.pick(&[
                json!(7),
                json!(null),
                json!("assay_status"),
                json!({}),
                json!({ "jsonrpc": "2.0" }),
                json!({ "jsonrpc": "1.0", "id": 1, "method": "assay_status" }),
                json!({ "id": 1, "result": 2 }),
            ]),
            Wrong::Method => {
                let random = format!("assay_{:08x}", self.random.next_u32());
                let name = self.pick(&[
                    json!(random),
                    json!(""),
                    json!("eth_blockNumber"),
                    json!("../../etc/passwd"),
                    json!("assay_".repeat(200)),
                ]);
                self.rpc(name.as_str().unwrap_or_default(), json!({}))
            }
            Wrong::Parameters => self.parameters(),
            Wrong::Bytes => {
                let noise = self.noise(512);
                self.submit(noise)
            }
            Wrong::Signature => {
                let mut forged = transfer(&self.genesis, &self.idle, 0, self.random.gen_range(1..1000));
                let (byte, bit): (usize, u32) = (self.random.gen_range(0..64), self.random.gen_range(0..8));
                forged.signature.0[byte] ^= 1u8 << bit;
                self.submit(encode(&forged))
            }
            Wrong::Nonce => {
                let stale = transfer(&self.genesis, &self.old, 0, self.random.gen_range(1..1000));
                self.submit(encode(&stale))
            }
            Wrong::Money => {
                let mut secret = [0; 32];
                self.random.fill_bytes(&mut secret);
                let poor = transfer(&self.genesis, &Keypair::from_secret(secret), 0, 1);
                self.submit(encode(&poor))
            }
            Wrong::Transaction => {
                let action = Action::RegisterModel { subnet: 1, name: "large".into(), bytes: vec![7; LARGE] };
                let body = Transaction { signer: self.idle.account(), nonce: 0, fee: Amount::asy(1), action };
                let large = Signed::new(body, &self.genesis, &self.idle);
                self.submit(encode(&large))
            }
            Wrong::Body => self.rpc("assay_submit", json!({ "transaction": "0".repeat(HUGE) })),
        }
    }

    fn parameters(&mut self) -> Value {
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        let cases = [
            ("assay_block", json!({ "height": "tall" })),
            ("assay_block", json!({ "height": -1 })),
            ("assay_tx", json!({ "id": 5 })),
            ("assay_tx", json!({ "id": "ff" })),
            ("assay_account", json!({})),
            ("assay_account", json!({ "account": "asy1nobody" })),
            ("assay_submit", json!({ "transaction": "no hexadecimal digits" })),
            ("assay_submit", json!({ "transaction": "00", "more": 1 })),
            ("assay_status", json!({ "verbose": true })),
            ("assay_proof", json!([1, 2])),
            ("assay_proof", json!({ "key": "0" })),
            ("assay_explain", deep),
        ];
        let (method, params) = cases[self.random.gen_range(0..cases.len())].clone();
        self.rpc(method, params)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_whole_http_requests_the_same_for_a_seed() {
        let make = || {
            let keys = (Keypair::from_secret([1; 32]), Keypair::from_secret([2; 32]));
            Nonsense::new(([127, 0, 0, 1], 1).into(), Hash32([3; 32]), keys, 7)
        };
        let (first, second) = (make(), make());
        let (mut one, mut other) = (ChaCha8Rng::seed_from_u64(1), ChaCha8Rng::seed_from_u64(1));
        for _ in 0..64 {
            let (a, b) = (first.batch(&mut one), second.batch(&mut other));
            assert_eq!((&a.bytes, &a.wrong), (&b.bytes, &b.wrong));
            let end = a.bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            let calls: Vec<Value> = serde_json::from_slice(&a.bytes[end..]).unwrap();
            assert_eq!((calls.len(), a.wrong.len()), (32, 32));
            assert_eq!(first.alone(&mut one).bytes, second.alone(&mut other).bytes);
        }
        assert!(first.large.bytes.len() > 2 * LARGE && first.huge.bytes.len() > HUGE);
    }
}
