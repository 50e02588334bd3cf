//! The flags every verb takes, and how results are shown.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use assay_primitives::{Amount, Keypair};
use clap::Args;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, TableComponent, Width, presets};
use eyre::{WrapErr as _, eyre};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{home::Config, keyfile, rpc::RpcClient};

/// The RPC port of a node made with the first base port that the documentation uses.
const DEFAULT_NODE: &str = "http://127.0.0.1:27002";
/// The HTTP port of the same.
const DEFAULT_GATEWAY: &str = "http://127.0.0.1:27003";

/// Flags of every verb, before or after it.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Global {
    /// The home: a node's folder, or where wallets are kept [env: ASSAY_HOME] [default: ~/.assay].
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) home: Option<PathBuf>,
    /// The node to ask: its RPC address, or a gateway's HTTP address [default: the home's node, else http://127.0.0.1:27002].
    #[arg(long, global = true, value_name = "URL", env = "ASSAY_NODE")]
    pub(super) node: Option<String>,
    /// Print one JSON value on stdout and nothing else.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// No progress and no hints on stderr.
    #[arg(long, short, global = true)]
    pub(super) quiet: bool,
}

impl Global {
    /// The home's folder.
    pub(super) fn home_dir(&self) -> eyre::Result<PathBuf> {
        if let Some(dir) = &self.home {
            return Ok(dir.clone());
        }
        if let Some(dir) = std::env::var_os("ASSAY_HOME").filter(|dir| !dir.is_empty()) {
            return Ok(dir.into());
        }
        let home = std::env::var_os("HOME").filter(|dir| !dir.is_empty());
        let home = home.ok_or_else(|| eyre!("neither --home nor ASSAY_HOME nor HOME is set; give --home DIR"))?;
        Ok(Path::new(&home).join(".assay"))
    }

    /// A client of the node to ask.
    pub(super) fn client(&self) -> eyre::Result<RpcClient> {
        self.client_with(None)
    }

    /// A client that shows a gateway's key.
    pub(super) fn client_with(&self, key: Option<&str>) -> eyre::Result<RpcClient> {
        Ok(RpcClient::with_key(&self.node_url()?, key)?)
    }

    fn node_url(&self) -> eyre::Result<String> {
        if let Some(url) = &self.node {
            return Ok(url.clone());
        }
        let path = self.home_dir()?.join("config.toml");
        if !path.exists() {
            return Ok(DEFAULT_NODE.into());
        }
        let text = std::fs::read_to_string(&path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
        let config = Config::from_toml(&text, &path)?;
        Ok(rpc_url(&config))
    }

    /// A gateway's or server's HTTP address, without a path.
    pub(super) fn gateway_url(&self) -> eyre::Result<String> {
        let url = match &self.node {
            Some(url) => url.clone(),
            None => {
                let path = self.home_dir()?.join("config.toml");
                if !path.exists() {
                    return Ok(DEFAULT_GATEWAY.into());
                }
                let text =
                    std::fs::read_to_string(&path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
                let config = Config::from_toml(&text, &path)?;
                http_url(&config, config.ports.http)
            }
        };
        Ok(url.trim_end_matches('/').trim_end_matches("/v1").to_owned())
    }

    /// Where a wallet's key lies: a path if `name` looks like one, else a wallet of the home, else one of the keys of
    /// the home's node.
    pub(super) fn wallet_path(&self, name: &str) -> eyre::Result<PathBuf> {
        if name.contains('/') || name.ends_with(".json") {
            return Ok(name.into());
        }
        let home = self.home_dir()?;
        let wallet = home.join("wallets").join(format!("{name}.json"));
        let node_key = home.join("keys").join(format!("{name}.json"));
        let of_node = ["owner", "operator"].contains(&name) && node_key.exists() && !wallet.exists();
        Ok(if of_node { node_key } else { wallet })
    }

    /// The key of a wallet; without a name the owner of the home's node, else the wallet `default`.
    pub(super) fn wallet(&self, name: Option<&str>) -> eyre::Result<Keypair> {
        let path = match name {
            Some(name) => self.wallet_path(name)?,
            None => {
                let owner = self.home_dir()?.join("keys/owner.json");
                if owner.exists() { owner } else { self.wallet_path("default")? }
            }
        };
        Ok(keyfile::read(&path)?)
    }

    /// Shows a result: the JSON value with `--json`, else the words for people.
    pub(super) fn show(&self, value: &Value, words: impl FnOnce() -> String) {
        let text = if self.json { value.to_string() } else { plain(&words()) };
        shown(writeln!(io::stdout(), "{}", text.trim_end()));
    }

    /// [`show`](Self::show) for a result that may be too large to hold as text: JSON is written as it is made.
    pub(super) fn stream(&self, value: &impl Serialize, words: impl FnOnce() -> String) {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = if self.json {
            serde_json::to_writer(&mut out, value).map_err(io::Error::from).and_then(|()| writeln!(out))
        } else {
            writeln!(out, "{}", plain(&words()).trim_end())
        };
        shown(written.and_then(|()| out.flush()));
    }

    /// A hint for people on stderr; silent with `--quiet` and `--json`.
    pub(super) fn hint(&self, text: impl Display) {
        if !self.quiet && !self.json {
            let _ = writeln!(io::stderr(), "{}", plain(&text.to_string()));
        }
    }

    /// What whoever relies on a result must know, on stderr; silent only with `--json`, whose value says it too.
    pub(super) fn warn(&self, text: impl Display) {
        if !self.json {
            let _ = writeln!(io::stderr(), "warning: {}.", plain(&text.to_string()));
        }
    }

    /// A spinner on stderr for what takes longer than a second; none unless stderr is a terminal.
    pub(super) fn progress(&self, text: &'static str) -> indicatif::ProgressBar {
        if self.quiet || self.json || !io::stderr().is_terminal() {
            return indicatif::ProgressBar::hidden();
        }
        let bar = indicatif::ProgressBar::new_spinner().with_message(text);
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        bar
    }

    /// Asks before something is changed. Goes on without asking with `--yes`, and when stdin is no terminal, so that
    /// scripts need no flag.
    pub(super) fn confirm(&self, question: &str, yes: bool) -> eyre::Result<()> {
        if yes || !io::stdin().is_terminal() {
            return Ok(());
        }
        write!(io::stderr(), "{question}\nGo on? [y/N] ")?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(eyre!("not confirmed; nothing was changed")),
        }
    }

    /// Prints an error and gives the exit status for it.
    pub(super) fn failed(&self, error: &eyre::Report) -> ExitCode {
        let mut message = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            // Most errors of this program already say their cause.
            if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
        }
        let text = if self.json {
            json!({ "error": { "message": message } }).to_string()
        } else {
            plain(&format!("error: {message}"))
        };
        let _ = writeln!(io::stderr(), "{text}");
        ExitCode::FAILURE
    }
}

/// Text without characters that make a terminal do things: names come from strangers' files and from the chain.
fn plain(text: &str) -> String {
    let directs = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let escaped = |c: char| directs(c) || c.is_control() && !matches!(c, '\n' | '\t');
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if escaped(c) { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    plain
}

/// Where the node of a home is asked from this machine.
pub(super) fn rpc_url(config: &Config) -> String {
    http_url(config, config.ports.rpc)
}

/// Where this machine asks a node at one of its HTTP ports.
fn http_url(config: &Config, port: u16) -> String {
    // A node that listens on every address is asked at this machine's own.
    let host = match config.rpc_listen {
        ip if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
        ip if ip.is_unspecified() => "[::1]".to_owned(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        std::net::IpAddr::V4(ip) => ip.to_string(),
    };
    format!("http://{host}:{port}")
}

/// Width of tables in files and pipes.
const PIPE_WIDTH: u16 = 120;
/// Of a column of sentences beside accounts and ids, as much is kept at least.
const SOME_WORDS: usize = 24;
/// Tables of more columns show accounts shortened, since whole ones would break over many lines.
const WIDE: usize = 5;

/// Characters in a line of stdout.
pub(super) fn width() -> usize {
    usize::from(Table::new().width().unwrap_or(PIPE_WIDTH))
}

/// An account's first characters, enough for people to tell it from others.
pub(super) fn short(cell: &str) -> String {
    if cell.starts_with("asy1") && cell.len() > 13 && cell.is_ascii() {
        format!("{}…", &cell[..12])
    } else {
        cell.to_owned()
    }
}

/// A table with a header.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    let shown = |row: [String; N]| if N > WIDE { row.map(|cell| short(&cell)) } else { row };
    let rows: Vec<_> = rows.into_iter().map(shown).collect();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    // A line under the header, none between rows.
    for line in [
        TableComponent::HorizontalLines,
        TableComponent::MiddleIntersections,
        TableComponent::LeftBorderIntersections,
        TableComponent::RightBorderIntersections,
    ] {
        table.remove_style(line);
    }
    let names = header.map(str::to_owned);
    table.set_header(header);
    // Accounts and ids are not broken where programs may read them; sentences beside them are.
    let whole = |cell: &String| (cell.len() > 60 && !cell.contains(' ')).then_some(cell.len());
    if !io::stdout().is_terminal() {
        // Beside what is not broken, the others keep room for some words.
        let room = |i: usize| {
            let cells = || rows.iter().map(move |row| &row[i]).chain(std::iter::once(&names[i]));
            let least = cells().filter_map(whole).max();
            3 + least.unwrap_or_else(|| cells().map(|cell| cell.chars().count()).max().unwrap_or(0).min(SOME_WORDS))
        };
        let needed: usize = (0..N).map(room).sum();
        table.set_width(PIPE_WIDTH.max(u16::try_from(needed).unwrap_or(u16::MAX)));
    }
    for (i, column) in table.column_iter_mut().enumerate() {
        let widest = rows.iter().filter_map(|row| whole(&row[i])).max().filter(|_| !io::stdout().is_terminal());
        if let Some(widest) = widest {
            let least = u16::try_from(widest).unwrap_or(PIPE_WIDTH).saturating_add(column.padding_width());
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
    }
    table.add_rows(rows);
    table.to_string()
}

/// Milliseconds since the Unix epoch as a date and time in UTC, as RFC 3339 writes it.
pub(super) fn date(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    // Days since 0000-03-01, so that a leap day ends its year; a cycle of the calendar has 400 years.
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = cycle * 400 + year + u64::from(month <= 2);
    let day = day - (153 * from_march + 2) / 5 + 1;
    let (hour, minute, second) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", in_day % 1000)
}

/// Names and values, one pair a line.
pub(super) fn pairs(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}

/// A field of a JSON answer as text for people: strings bare, everything else as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

/// A field in grain, as an amount for people.
pub(super) fn amount(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".into(), |grain| Amount(grain).to_string())
}

/// The rows of a JSON list; none if it is no list.
pub(super) fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What became of a result on standard output. Nobody reads any more where the pipe is closed, as when it goes into `head`; a
/// result that is lost in another way is no success.
pub(super) fn shown(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = writeln!(io::stderr(), "error: the result cannot be written to standard output: {error}");
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_become_the_date_of_the_calendar() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_735_689_600_001, "2025-01-01T00:00:00.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(date(ms), expected);
        }
    }

    #[test]
    fn no_name_makes_a_terminal_do_things() {
        assert_eq!(plain("a\u{1b}[2K\rb\u{9b}\nc\td é"), "a\\u{1b}[2K\\rb\\u{9b}\nc\td é");
    }

    #[test]
    fn wide_tables_shorten_accounts_and_none_is_wider_than_a_pipe() {
        let account = assay_primitives::AccountId([1; 32]).to_string();
        let wide = table(["a", "b", "c", "d", "e", "f"], [std::array::from_fn(|_| account.clone())]);
        assert!(wide.contains(&account[..12]) && !wide.contains(&account), "{wide}");
        let mixed =
            table(["name", "b"], [["owner".to_owned(), account.clone()], ["rules".to_owned(), "word ".repeat(60)]]);
        assert!(mixed.contains(&account) && mixed.contains("rules"), "{mixed}");
        assert!(mixed.lines().all(|line| line.chars().count() <= usize::from(PIPE_WIDTH)), "{mixed}");
        let narrow = table(["a", "b"], [[account.clone(), "word ".repeat(60)]]);
        assert!(narrow.contains(&account), "{narrow}");
        assert!(narrow.lines().all(|line| line.chars().count() <= usize::from(PIPE_WIDTH)), "{narrow}");
    }
}
