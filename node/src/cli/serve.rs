//! `assay serve` and `assay run`: models on this machine, without a chain.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use assay_inference::{
    encoders::Embedder,
    llm::{Event, Form, GenerateRequest, KvForm, Llm, LlmShelf, LoadOptions, Piece, Sampling},
};
use clap::{Args, ValueEnum, builder::RangedU64ValueParser};
use eyre::{WrapErr as _, bail, eyre};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::global::{Global, pairs, shown};
use crate::{
    node::asked_to_stop,
    openai::{
        backend::Local,
        keys::Keys,
        server::{self, ServerOptions},
    },
    texts,
    web::Tls,
};

/// How weights are kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Precision {
    /// As in the files.
    Stored,
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Eight bits with a scale for each 32.
    Q8,
}

/// How a language model is loaded.
#[derive(Args, Debug)]
pub(super) struct Loading {
    /// How weights are kept; quantised files stay as they are.
    #[arg(long, value_enum, default_value_t = Precision::Stored)]
    precision: Precision,
    /// Positions of a sequence [default: what the model was trained for, up to 8192].
    #[arg(long, value_name = "TOKENS", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 20))]
    context: Option<usize>,
    /// Threads [default: all cores but one].
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    threads: Option<usize>,
    /// Memory for keys and values, in MiB [default: a quarter of what is free, up to 1024].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    cache: Option<u64>,
}

impl Loading {
    fn options(&self) -> LoadOptions {
        LoadOptions {
            form: match self.precision {
                Precision::Stored => None,
                Precision::F32 => Some(Form::F32),
                Precision::F16 => Some(Form::F16),
                Precision::Q8 => Some(Form::Q8),
            },
            threads: self.threads,
            context: self.context,
            kv_bytes: self.cache.map(|mib| mib << 20),
            kv_form: KvForm::F16,
        }
    }
}

/// A year, in seconds.
const KEEP_ALIVE_MAX: u64 = 365 * 24 * 3600;

#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Language models: folders as Hugging Face has them, or GGUF files. `NAME=PATH` gives one a name of its own.
    #[arg(value_name = "MODEL", required_unless_present = "embed")]
    models: Vec<String>,
    /// A sentence encoder for embeddings: a folder with a BERT. `NAME=PATH` gives it a name of its own.
    #[arg(long, value_name = "MODEL")]
    embed: Vec<String>,
    /// A low-rank adapter (LoRA): a folder as the `peft` library writes it, served as a model of that name beside its own
    /// model. Where several models are served, `MODEL/NAME=PATH` says which it is for.
    #[arg(long, value_name = "NAME=PATH")]
    adapter: Vec<String>,
    /// Lets go of a language model that nobody asked for during so many seconds; the next to ask waits until it is loaded
    /// again.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=KEEP_ALIVE_MAX))]
    keep_alive: Option<u64>,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// A file of keys, as `assay gateway key` makes it; without one nobody needs a key.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// An origin whose pages may call the API; `*` is any.
    #[arg(long, value_name = "ORIGIN", value_parser = server::origin)]
    cors: Vec<String>,
    /// A chain of certificates in PEM, to be called by HTTPS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    loading: Loading,
}

/// A model's name and path.
fn named(argument: &str) -> eyre::Result<(String, PathBuf)> {
    let (name, path) = match argument.split_once('=') {
        Some((name, path)) => (name.to_owned(), PathBuf::from(path)),
        None => {
            let path = PathBuf::from(argument);
            let name = path.file_stem().map(|s| s.to_string_lossy().into_owned());
            (name.ok_or_else(|| eyre!("`{argument}` has no name; say NAME={argument}"))?, path)
        }
    };
    if name.is_empty() || name.chars().any(char::is_control) {
        bail!("{name:?} is no name that a client can ask for; say NAME=PATH");
    }
    Ok((name, path))
}

fn load(path: &Path, loading: &Loading) -> eyre::Result<Llm> {
    Llm::load(path, &loading.options()).wrap_err_with(|| format!("cannot load {}", path.display()))
}

/// Where an adapter belongs.
struct AdapterArgument {
    name: String,
    model: String,
    folder: PathBuf,
}

impl AdapterArgument {
    /// Out of `NAME=PATH` or `MODEL/NAME=PATH`.
    fn parse(argument: &str, models: &[String]) -> eyre::Result<Self> {
        let malformed =
            || eyre!("`{argument}` is no adapter: say NAME=PATH, or MODEL/NAME=PATH for one of several models");
        let (whole, folder) = argument.split_once('=').ok_or_else(malformed)?;
        let (model, name) = match whole.rsplit_once('/') {
            Some((model, name)) => (model, name),
            None => match models {
                [only] => (only.as_str(), whole),
                [] => bail!("there is no language model that `{whole}` could be for"),
                several => {
                    bail!("which model is `{whole}` for? Say MODEL/{argument}, MODEL one of {}", several.join(", "))
                }
            },
        };
        if name.is_empty() || folder.is_empty() {
            return Err(malformed());
        }
        if !models.iter().any(|m| m == model) {
            bail!("`{model}`, which `{name}` is for, is not served; there is {}", models.join(", "));
        }
        Ok(Self { name: name.to_owned(), model: model.to_owned(), folder: folder.into() })
    }
}

/// What is asked for, loaded, and the names of it all.
fn load_all(global: &Global, command: &Serve, shelf: &LlmShelf) -> eyre::Result<(Local, Vec<String>)> {
    let mut local = Local::new(shelf.clone());
    let texts = command.models.iter().map(|m| named(m)).collect::<eyre::Result<Vec<_>>>()?;
    let embedders = command.embed.iter().map(|m| named(m)).collect::<eyre::Result<Vec<_>>>()?;
    let models: Vec<String> = texts.iter().map(|(name, _)| name.clone()).collect();
    let adapters =
        command.adapter.iter().map(|a| AdapterArgument::parse(a, &models)).collect::<eyre::Result<Vec<_>>>()?;
    let mut names = models;
    names.extend(adapters.iter().map(|a| a.name.clone()));
    names.extend(embedders.iter().map(|(name, _)| name.clone()));
    if let Some(twice) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)).map(|(_, n)| n) {
        bail!("two models have the name `{twice}`; say NAME=PATH");
    }
    let loading = |name: &str, path: &Path| global.hint(format!("loading {name} from {}", path.display()));
    let cannot = |path: &Path| format!("cannot load {}", path.display());
    for (name, path) in &texts {
        loading(name, path);
        local.add_llm(name, path).wrap_err_with(|| cannot(path))?;
    }
    for AdapterArgument { name, model, folder } in &adapters {
        loading(name, folder);
        local.add_adapter(name, model, folder).wrap_err_with(|| format!("{} to {model}", cannot(folder)))?;
    }
    for (name, path) in &embedders {
        loading(name, path);
        local.add_embedder(name, Embedder::load(path)?);
    }
    Ok((local, names))
}

pub(super) async fn serve(global: &Global, command: &Serve) -> eyre::Result<()> {
    assay_inference::background::share();
    let keep_alive = command.keep_alive.map(Duration::from_secs);
    let shelf = LlmShelf::new(command.loading.options(), keep_alive);
    let (local, names) = load_all(global, command, &shelf)?;
    let keys = match &command.keys {
        None => Keys::none(),
        Some(path) if path.exists() => Keys::open(path.clone())?,
        Some(path) => bail!(
            "there is no file of keys at {}: make a key with `assay gateway key add NAME --file FILE`",
            path.display()
        ),
    };
    let tls = match (&command.tls_certificate, &command.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::read(certificate, key).await?),
        _ => None,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let options = ServerOptions { cors: command.cors.clone(), keys, tls };
    let (stop, book) = (CancellationToken::new(), options.keys.book().clone());
    let server = server::serve(command.listen, Arc::new(local), &options)?;
    let keeping = tokio::spawn(book.keep(stop.clone()));
    let sweeping = keep_alive.map(|keep_alive| {
        let every = (keep_alive / 4).clamp(Duration::from_millis(250), Duration::from_secs(60));
        tokio::spawn(texts::sweep(shelf, every, stop.clone()))
    });
    let base = format!("{scheme}://{}/v1", server.local_addr());
    global.show(&json!({ "base_url": base, "models": names }), || {
        pairs([("base URL", base.clone()), ("models", names.join(", "))])
    });
    let asked = asked_to_stop().await;
    server.stop().await;
    stop.cancel();
    keeping.await?;
    if let Some(sweeping) = sweeping {
        sweeping.await??;
    }
    asked
}

#[derive(Args, Debug)]
pub(super) struct Run {
    /// A folder as Hugging Face has it, or a GGUF file.
    model: PathBuf,
    /// Ask this one thing and end; without it, lines are read until the end of input.
    #[arg(value_name = "PROMPT")]
    prompt: Option<String>,
    /// 0 takes the likeliest token; more is more varied.
    #[arg(long, default_value_t = 0.7)]
    temperature: f32,
    /// Of the random numbers [default: drawn].
    #[arg(long)]
    seed: Option<u64>,
    /// Tokens of an answer at most.
    #[arg(long, default_value_t = 512, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 20))]
    max_tokens: usize,
    #[command(flatten)]
    loading: Loading,
}

pub(super) async fn run(global: &Global, command: &Run) -> eyre::Result<()> {
    let llm = load(&command.model, &command.loading)?;
    let mut messages = Vec::new();
    if let Some(prompt) = &command.prompt {
        messages.push(json!({ "role": "user", "content": prompt }));
        let text = answer(&llm, command, &messages, !global.json).await?;
        global.show(&json!({ "text": text }), String::new);
        return Ok(());
    }
    if global.json {
        bail!("--json prints one answer: give the prompt, as in `assay run MODEL \"PROMPT\" --json`");
    }
    let terminal = io::stdin().is_terminal();
    loop {
        if terminal {
            eprint!("> ");
            io::stderr().flush()?;
        }
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            continue;
        }
        messages.push(json!({ "role": "user", "content": line.trim() }));
        let text = answer(&llm, command, &messages, true).await?;
        shown(writeln!(io::stdout()));
        messages.push(json!({ "role": "assistant", "content": text }));
    }
}

/// The model's answer, shown as it comes.
async fn answer(llm: &Llm, command: &Run, messages: &[serde_json::Value], show: bool) -> eyre::Result<String> {
    let template = llm.codec.template().ok_or_else(|| eyre!("the model has no chat template"))?;
    let prompt = template.render::<_, ()>(messages, None)?;
    let prompt = llm.codec.encode_as_is(&prompt).map_err(|e| eyre!(e))?;
    let left = llm.engine.options().context.saturating_sub(prompt.len());
    if left == 0 {
        bail!("the conversation has filled the model's context of {} tokens", llm.engine.options().context);
    }
    let seed = command.seed.unwrap_or_else(rand::random);
    let sampling = Sampling { temperature: command.temperature, seed, ..Sampling::default() };
    let max_tokens = command.max_tokens.min(left);
    let mut answer =
        llm.engine.generate(GenerateRequest { prompt, sampling, max_tokens, ..GenerateRequest::default() })?;
    let mut whole = String::new();
    while let Some(event) = answer.next().await {
        let (Event::Piece(Piece { text, .. }) | Event::Done { text, .. }) = event else {
            let Event::Failed(error) = event else { continue };
            return Err(error.into());
        };
        let written = if show { write!(io::stdout(), "{text}").and_then(|()| io::stdout().flush()) } else { Ok(()) };
        whole.push_str(&text);
        if written.is_err() {
            shown(written);
            break;
        }
    }
    Ok(whole)
}
