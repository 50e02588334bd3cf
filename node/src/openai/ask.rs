//! Requests, once they are read, to what an engine is asked for: checked, with every default filled in.

use std::collections::BTreeMap;

use assay_inference::llm::{Grammar, Sampling};
use serde_json::{Value, json};

use super::{
    backend::TextModel,
    error::ApiError,
    wire::{
        ChatRequest, CompletionRequest, Content, Function, Message, OneOrMany, ResponseFormat, Shared, Tool, ToolChoice,
    },
};

/// The most choices of one request.
const MAX_CHOICES: u32 = 16;
/// The most stop strings, and their longest.
const MAX_STOPS: usize = 16;
const MAX_STOP_CHARS: usize = 256;
/// The most log-probabilities of one token.
const MAX_LOGPROBS: u32 = 20;
/// Tools, and messages.
const MAX_TOOLS: usize = 128;
const MAX_MESSAGES: usize = 4096;

/// How text is wanted, whatever it is of.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Answers to each prompt.
    pub choices: u32,
    /// Tokens at most; `None` is as many as the context has left.
    pub max_tokens: Option<usize>,
    /// What ends a text.
    pub stop: Vec<String>,
    /// Whether the model's own end is not one.
    pub ignore_end: bool,
    /// Log-probabilities of so many of the likeliest tokens.
    pub logprobs: Option<usize>,
    /// Whether the answer comes in pieces.
    pub stream: bool,
    /// Whether a stream ends in a count of tokens.
    pub stream_usage: bool,
}

impl Wanted {
    /// Checks what depends on the model.
    ///
    /// # Errors
    /// [`ApiError`] if a bias is for a token that the model does not have.
    pub fn fits(&self, model: &TextModel) -> Result<(), ApiError> {
        let beyond = self.sampling.bias.keys().find(|token| **token as usize >= model.vocabulary);
        beyond.map_or(Ok(()), |token| {
            let words = format!("`{}` has the tokens 0 to {}, found {token}", model.name, model.vocabulary - 1);
            Err(ApiError::invalid("logit_bias", words))
        })
    }
}

/// How a model is to answer with tools.
#[derive(Clone, Debug, PartialEq)]
pub enum Tooling {
    /// It is given none.
    None,
    /// It may call one, or answer.
    Auto,
    /// It must call one; the grammar of the call.
    Must(Grammar),
}

/// Fields of the API that are not served, unless they ask for nothing.
const CHAT_UNSUPPORTED: [&str; 7] =
    ["audio", "function_call", "functions", "modalities", "prediction", "web_search_options", "verbosity"];

/// Refuses fields that ask for what is not served.
fn refuse(rest: &BTreeMap<String, Value>, unsupported: &[&str]) -> Result<(), ApiError> {
    for name in unsupported {
        let asks_nothing = |v: &Value| v.is_null() || (*name == "modalities" && *v == json!(["text"]));
        if rest.get(*name).is_some_and(|v| !asks_nothing(v)) {
            return Err(ApiError::invalid(name, format!("`{name}` is not supported")));
        }
    }
    Ok(())
}

/// A parameter, by the name that the caller gave it.
type Called<T> = (&'static str, Option<T>);

/// What is common to both ways to ask; at least `least` tokens are to be asked for; `seed` is drawn where none is given.
fn shared(
    shared: Shared,
    logprobs: Called<u32>,
    max_tokens: Called<u64>,
    least: u64,
    seed: u64,
) -> Result<Wanted, ApiError> {
    let ((logprobs_name, logprobs), (max_tokens_name, max_tokens)) = (logprobs, max_tokens);
    let mut bias = BTreeMap::new();
    for (token, value) in shared.logit_bias.unwrap_or_default() {
        let id = token
            .parse()
            .map_err(|_| ApiError::invalid("logit_bias", format!("expected tokens' numbers, found `{token}`")))?;
        bias.insert(id, value);
    }
    // vLLM's clients say -1 where they mean all.
    let top_k = match shared.top_k.unwrap_or(0) {
        -1 => 0,
        k => u32::try_from(k)
            .map_err(|_| ApiError::invalid("top_k", format!("`top_k` is a count, 0 or -1 for all, found {k}")))?,
    };
    let sampling = Sampling {
        temperature: shared.temperature.unwrap_or(1.0),
        top_p: shared.top_p.unwrap_or(1.0),
        top_k,
        min_p: shared.min_p.unwrap_or(0.0),
        presence_penalty: shared.presence_penalty.unwrap_or(0.0),
        frequency_penalty: shared.frequency_penalty.unwrap_or(0.0),
        bias,
        seed: shared.seed.map_or(seed, i64::cast_unsigned),
    };
    sampling.check().map_err(|e| ApiError::invalid(e.parameter, e.to_string()))?;
    let choices = shared.n.unwrap_or(1);
    if !(1..=MAX_CHOICES).contains(&choices) {
        return Err(ApiError::invalid("n", format!("`n` lies in 1 to {MAX_CHOICES}, found {choices}")));
    }
    if let Some(found) = max_tokens.filter(|n| *n < least) {
        return Err(ApiError::invalid(max_tokens_name, format!("at least one token must be asked for, found {found}")));
    }
    let stop = shared.stop.map(OneOrMany::into_vec).unwrap_or_default();
    if stop.len() > MAX_STOPS || stop.iter().any(|s| s.is_empty() || s.chars().count() > MAX_STOP_CHARS) {
        let limits = format!("at most {MAX_STOPS} stop strings of 1 to {MAX_STOP_CHARS} characters are taken");
        return Err(ApiError::invalid("stop", limits));
    }
    if let Some(n) = logprobs.filter(|n| *n > MAX_LOGPROBS) {
        let words = format!("at most {MAX_LOGPROBS} of the likeliest tokens are given, found {n}");
        return Err(ApiError::invalid(logprobs_name, words));
    }
    let stream = shared.stream.unwrap_or(false);
    if shared.stream_options.is_some() && !stream {
        return Err(ApiError::invalid("stream_options", "`stream_options` is for requests with `stream: true`"));
    }
    Ok(Wanted {
        sampling,
        choices,
        max_tokens: max_tokens.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        stop,
        ignore_end: shared.ignore_eos.unwrap_or(false),
        logprobs: logprobs.map(|n| n as usize),
        stream,
        stream_usage: shared.stream_options.and_then(|o| o.include_usage).unwrap_or(false),
    })
}

/// Checks a chat's parameters.
///
/// # Errors
/// [`ApiError`], naming the parameter.
pub fn chat(request: &ChatRequest, seed: u64) -> Result<(Wanted, Tooling, Option<Grammar>), ApiError> {
    refuse(&request.rest, &CHAT_UNSUPPORTED)?;
    if request.messages.is_empty() || request.messages.len() > MAX_MESSAGES {
        let found = request.messages.len();
        return Err(ApiError::invalid("messages", format!("1 to {MAX_MESSAGES} messages are taken, found {found}")));
    }
    let logprobs = match (request.logprobs.unwrap_or(false), request.top_logprobs) {
        (true, n) => Some(n.unwrap_or(0)),
        (false, None | Some(0)) => None,
        (false, Some(_)) => {
            return Err(ApiError::invalid("top_logprobs", "`top_logprobs` is for requests with `logprobs: true`"));
        }
    };
    let max_tokens = match request.max_completion_tokens {
        Some(n) => ("max_completion_tokens", Some(n)),
        None => ("max_tokens", request.shared.max_tokens),
    };
    let wanted = shared(request.shared.clone(), ("top_logprobs", logprobs), max_tokens, 1, seed)?;
    let grammar = match &request.response_format {
        None | Some(ResponseFormat::Text) => None,
        Some(ResponseFormat::JsonObject) => Some(Grammar::Object),
        Some(ResponseFormat::JsonSchema { json_schema }) => Some(match &json_schema.schema {
            Some(schema) => Grammar::Schema(schema.clone()),
            None => Grammar::Object,
        }),
    };
    let tooling = tooling(request.tools.as_deref().unwrap_or_default(), request.tool_choice.as_ref())?;
    if matches!(tooling, Tooling::Must(_)) && grammar.is_some() {
        let words = "a call of a tool has a form of its own: leave `response_format` out, or `tool_choice` to `auto`";
        return Err(ApiError::invalid("response_format", words));
    }
    Ok((wanted, tooling, grammar))
}

fn tooling(tools: &[Tool], choice: Option<&ToolChoice>) -> Result<Tooling, ApiError> {
    if tools.len() > MAX_TOOLS {
        return Err(ApiError::invalid("tools", format!("at most {MAX_TOOLS} tools are taken, found {}", tools.len())));
    }
    if let Some(tool) = tools.iter().find(|t| t.kind != "function") {
        return Err(ApiError::invalid("tools", format!("tools are of type `function`, found `{}`", tool.kind)));
    }
    let mut names = std::collections::BTreeSet::new();
    if let Some(twice) = tools.iter().find(|t| !names.insert(&t.function.name)) {
        let words = format!("two tools have the name `{}`", twice.function.name);
        return Err(ApiError::invalid("tools", words));
    }
    let is_name = |name: &str| {
        (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    if let Some(tool) = tools.iter().find(|t| !is_name(&t.function.name)) {
        let name: String = tool.function.name.chars().take(80).collect();
        let words = format!("a function's name has 1 to 64 letters, digits, `_` or `-`, found `{name}`");
        return Err(ApiError::invalid("tools", words));
    }
    for Function { name, parameters, .. } in tools.iter().map(|tool| &tool.function) {
        if parameters.as_ref().is_some_and(|p| p.get("type").is_some_and(|kind| kind != "object") || !p.is_object()) {
            return Err(ApiError::invalid("tools", format!("the parameters of `{name}` must be those of an object")));
        }
        if let Some(Err(error)) = parameters.as_ref().map(jsonschema::meta::validate) {
            let words: String = error.to_string().chars().take(200).collect();
            return Err(ApiError::invalid("tools", format!("the parameters of `{name}` are no JSON schema: {words}")));
        }
    }
    let need = || ApiError::invalid("tool_choice", "`tool_choice` is for requests with `tools`");
    match choice {
        None if tools.is_empty() => Ok(Tooling::None),
        None => Ok(Tooling::Auto),
        Some(ToolChoice::Mode(mode)) => match mode.as_str() {
            "none" => Ok(Tooling::None),
            "auto" if tools.is_empty() => Ok(Tooling::None),
            "auto" => Ok(Tooling::Auto),
            "required" if tools.is_empty() => Err(need()),
            "required" => Ok(Tooling::Must(call_grammar(tools.iter()))),
            other => {
                let words = format!("`tool_choice` is `none`, `auto`, `required` or a function, found `{other}`");
                Err(ApiError::invalid("tool_choice", words))
            }
        },
        Some(ToolChoice::Named { function, .. }) => {
            let chosen = tools.iter().find(|t| t.function.name == function.name).ok_or_else(|| {
                ApiError::invalid("tool_choice", format!("there is no tool of the name `{}`", function.name))
            })?;
            Ok(Tooling::Must(call_grammar([chosen].into_iter())))
        }
    }
}

/// The form of a call of one of these tools: `{"name": ..., "arguments": {...}}`. Arguments that a tool does not name are
/// not made up, unless it says that there may be such; one that names no parameters has none.
fn call_grammar<'a>(tools: impl Iterator<Item = &'a Tool>) -> Grammar {
    let mut definitions = serde_json::Map::new();
    let mut call = |(at, tool): (usize, &Tool)| {
        let mut arguments = tool.function.parameters.clone().unwrap_or_else(|| json!({ "properties": {} }));
        if let Some(fields) = arguments.as_object_mut() {
            fields.entry("type").or_insert_with(|| json!("object"));
        }
        if let Some(fields) = arguments.as_object_mut()
            && fields.contains_key("properties")
            && !OPEN.iter().any(|word| fields.contains_key(*word))
        {
            fields.insert("additionalProperties".to_owned(), json!(false));
        }
        definitions.extend(hoisted(&mut arguments, &format!("{at}.")));
        json!({
            "type": "object",
            "properties": { "name": { "const": tool.function.name }, "arguments": arguments },
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    };
    let calls: Vec<Value> = tools.enumerate().map(&mut call).collect();
    Grammar::Schema(json!({ "anyOf": calls, "$defs": definitions }))
}

/// Words of a schema that say what else an object may have.
const OPEN: [&str; 6] =
    ["additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames", "allOf", "anyOf"];

/// Takes a schema's definitions out, for the top of a schema that it becomes a part of: there they have names that begin
/// with `prefix`, and references to them say so. A reference to the whole schema becomes one to a definition too.
fn hoisted(schema: &mut Value, prefix: &str) -> serde_json::Map<String, Value> {
    let mut taken = serde_json::Map::new();
    if let Some(fields) = schema.as_object_mut() {
        for word in ["$defs", "definitions"] {
            if let Some(Value::Object(all)) = fields.remove(word) {
                taken.extend(all);
            }
        }
    }
    let whole = format!("{prefix}whole");
    let mut named = false;
    named |= redirect(schema, prefix, &whole);
    for definition in taken.values_mut() {
        named |= redirect(definition, prefix, &whole);
    }
    let mut all: serde_json::Map<String, Value> =
        taken.into_iter().map(|(name, definition)| (format!("{prefix}{name}"), definition)).collect();
    if named {
        all.insert(whole, schema.clone());
    }
    all
}

/// Points references elsewhere; whether one was to the whole schema.
fn redirect(schema: &mut Value, prefix: &str, whole: &str) -> bool {
    match schema {
        Value::Object(fields) => {
            let mut named = false;
            if let Some(Value::String(to)) = fields.get_mut("$ref") {
                let name = to.strip_prefix("#/$defs/").or_else(|| to.strip_prefix("#/definitions/"));
                if let Some(name) = name {
                    *to = format!("#/$defs/{prefix}{name}");
                } else if to == "#" {
                    *to = format!("#/$defs/{whole}");
                    named = true;
                }
            }
            fields.values_mut().fold(named, |named, value| named | redirect(value, prefix, whole))
        }
        Value::Array(all) => all.iter_mut().fold(false, |named, value| named | redirect(value, prefix, whole)),
        _ => false,
    }
}

/// Checks a completion's parameters.
///
/// # Errors
/// [`ApiError`], naming the parameter.
pub fn completion(request: &CompletionRequest, seed: u64) -> Result<Wanted, ApiError> {
    refuse(&request.rest, &[])?;
    if request.suffix.as_ref().is_some_and(|s| !s.is_empty()) {
        return Err(ApiError::invalid("suffix", "`suffix` is not supported"));
    }
    let n = request.shared.n.unwrap_or(1);
    if request.best_of.is_some_and(|best| best != n) {
        return Err(ApiError::invalid("best_of", "`best_of` other than `n` is not supported"));
    }
    if request.echo == Some(true) && request.logprobs.is_some() {
        return Err(ApiError::invalid("echo", "`echo` together with `logprobs` is not supported"));
    }
    let max_tokens = Some(request.shared.max_tokens.unwrap_or(16));
    // An echo is something without a token.
    let least = u64::from(request.echo != Some(true));
    shared(request.shared.clone(), ("logprobs", request.logprobs), ("max_tokens", max_tokens), least, seed)
}

/// A message's text: the parts joined.
///
/// # Errors
/// [`ApiError`] on parts that are not text.
pub fn text_of(message: &Message) -> Result<Option<String>, ApiError> {
    match &message.content {
        None => Ok(None),
        Some(Content::Text(text)) => Ok(Some(text.clone())),
        Some(Content::Parts(parts)) => {
            let mut whole = String::new();
            for part in parts {
                match (part.kind.as_str(), &part.text) {
                    ("text" | "input_text", Some(text)) => whole.push_str(text),
                    ("refusal", _) if message.role == "assistant" => {
                        whole.push_str(part.refusal.as_deref().unwrap_or_default())
                    }
                    (kind, _) => {
                        let words = format!("only parts of text are supported, found one of type `{kind}`");
                        return Err(ApiError::invalid("messages", words));
                    }
                }
            }
            Ok(Some(whole))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tool(name: &str, parameters: Value) -> Tool {
        serde_json::from_value(json!({ "type": "function", "function": { "name": name, "parameters": parameters } }))
            .unwrap()
    }

    #[test]
    fn definitions_of_tools_stay_apart_and_within_reach() {
        let leaf = |kind: &str| {
            json!({
                "$defs": { "Leaf": { "type": kind } },
                "type": "object", "properties": { "l": { "$ref": "#/$defs/Leaf" } },
            })
        };
        let tree = json!({ "type": "object", "properties": { "left": { "$ref": "#" } } });
        let tools = [tool("a", leaf("string")), tool("b", leaf("integer")), tool("c", tree)];
        let Grammar::Schema(schema) = call_grammar(tools.iter()) else { panic!("a schema") };
        let validator = jsonschema::validator_for(&schema).unwrap();
        for (call, fits) in [
            (json!({ "name": "a", "arguments": { "l": "x" } }), true),
            (json!({ "name": "a", "arguments": { "l": 1 } }), false),
            (json!({ "name": "b", "arguments": { "l": 1 } }), true),
            (json!({ "name": "b", "arguments": { "l": "x" } }), false),
            (json!({ "name": "c", "arguments": { "left": { "left": {} } } }), true),
            (json!({ "name": "c", "arguments": { "left": { "right": {} } } }), false),
            (json!({ "name": "a", "arguments": { "l": "x", "more": 1 } }), false),
            (json!({ "name": "d", "arguments": {} }), false),
        ] {
            assert_eq!(validator.is_valid(&call), fits, "{call}");
        }
    }

    #[test]
    fn a_tool_that_takes_more_than_it_names_is_given_more() {
        let tools =
            [tool("a", json!({ "type": "object", "properties": {}, "additionalProperties": { "type": "integer" } }))];
        let Grammar::Schema(schema) = call_grammar(tools.iter()) else { panic!("a schema") };
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(validator.is_valid(&json!({ "name": "a", "arguments": { "x": 1 } })));
        assert!(!validator.is_valid(&json!({ "name": "a", "arguments": { "x": "y" } })));
    }
}
