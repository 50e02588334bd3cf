//! Conversations to tokens.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use serde_json::{Value, json};

use super::{
    ask::{Tooling, text_of},
    backend::TextModel,
    error::ApiError,
    wire::{Message, Tool},
};

/// Roles that messages may have.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// The tokens that a conversation asks to go on from.
///
/// # Errors
/// [`ApiError`] on messages that make no sense, or that the model's template refuses.
pub(super) fn chat(
    model: &TextModel,
    messages: &[Message],
    tools: &[Tool],
    tooling: &Tooling,
) -> Result<Vec<u32>, ApiError> {
    let Some(template) = model.codec.template() else {
        let words = format!("the model `{}` has no chat template; ask it by /v1/completions", model.name);
        return Err(ApiError::invalid("messages", words));
    };
    results_follow_calls(messages)?;
    let offered = if *tooling == Tooling::None { &[] } else { tools };
    let knows = template.knows_tools();
    let known = !offered.is_empty() && knows;
    let mut plain = messages.iter().map(|m| message(m, knows)).collect::<Result<Vec<Value>, _>>()?;
    if !offered.is_empty() && !known {
        // Told in words, where the template has none for it.
        let list: Vec<&super::wire::Function> = offered.iter().map(|t| &t.function).collect();
        let list = serde_json::to_string(&list).map_err(ApiError::internal)?;
        let words = format!(
            "You may call one of these functions: {list}\nTo call one, answer with nothing but \
             {{\"name\": its name, \"arguments\": an object}}."
        );
        plain.insert(0, json!({ "role": "system", "content": words }));
    }
    let marks = Marks::hide(&mut plain, &model.codec.specials());
    let text =
        template.render(&plain, known.then_some(offered)).map_err(|e| ApiError::invalid("messages", e.to_string()))?;
    marks.encode(model, &text).map_err(|e| ApiError::invalid("messages", e))
}

/// Each tool's result is of a call that was made before it, and is its only one.
fn results_follow_calls(messages: &[Message]) -> Result<(), ApiError> {
    let mut open = HashSet::new();
    for message in messages {
        open.extend(message.tool_calls.iter().flatten().map(|call| &call.id));
        let result = message.tool_call_id.as_ref().filter(|_| message.role == "tool");
        if let Some(id) = result.filter(|id| !open.remove(*id)) {
            let id: String = id.chars().take(80).collect();
            let words = format!(
                "a tool's result is of the call `{id}`, which no message before it has, or which has its result"
            );
            return Err(ApiError::invalid("messages", words));
        }
    }
    Ok(())
}

/// What a stand-in begins with, and its bytes: this, 32 hexadecimal digits, and an end as long as the beginning.
const BEGIN: char = '\u{e000}';
const STAND_IN: usize = 38;

/// Marks of the model's own in what people say: they stay words, and begin no turn.
struct Marks {
    /// What stands for each, and the mark.
    hidden: HashMap<String, String>,
}

impl Marks {
    /// Puts something else in the place of marks, that no message has in it.
    fn hide(messages: &mut [Value], specials: &[String]) -> Self {
        let named = |mark: &String| (format!("{BEGIN}{:032x}\u{e001}", rand::random::<u128>()), mark.clone());
        // In the order of the specials: one may be a part of another.
        let hidden: Vec<(String, String)> = specials.iter().filter(|mark| !mark.is_empty()).map(named).collect();
        for message in messages {
            for field in ["content", "name"] {
                let Some(text) = message[field].as_str() else { continue };
                let mut shown = Cow::Borrowed(text);
                for (instead, mark) in &hidden {
                    if shown.contains(mark.as_str()) {
                        shown = shown.replace(mark.as_str(), instead).into();
                    }
                }
                if let Cow::Owned(shown) = shown {
                    message[field] = json!(shown);
                }
            }
        }
        Self { hidden: hidden.into_iter().collect() }
    }

    /// Tokens of a rendered text, the marks that were hidden as what they are in letters.
    fn encode(&self, model: &TextModel, text: &str) -> Result<Vec<u32>, String> {
        let (mut tokens, mut from) = (Vec::new(), 0);
        for (at, _) in text.match_indices(BEGIN) {
            let end = at + STAND_IN;
            let Some(mark) = text.get(at..end).and_then(|instead| self.hidden.get(instead)) else { continue };
            tokens.extend(model.codec.encode_as_is(&text[from..at])?);
            // In two halves it is no mark.
            let middle = mark.char_indices().nth(mark.chars().count() / 2).map_or(0, |(at, _)| at);
            tokens.extend(model.codec.encode_as_is(&mark[..middle])?);
            tokens.extend(model.codec.encode_as_is(&mark[middle..])?);
            from = end;
        }
        tokens.extend(model.codec.encode_as_is(&text[from..])?);
        Ok(tokens)
    }
}

/// A message as templates expect it: its content one text. A template that knows no tools is given calls and their results in
/// words.
fn message(message: &Message, knows_tools: bool) -> Result<Value, ApiError> {
    if !ROLES.contains(&message.role.as_str()) {
        let role: String = message.role.chars().take(40).collect();
        let words = format!("a message's role is one of {}, found `{role}`", ROLES.join(", "));
        return Err(ApiError::invalid("messages", words));
    }
    // The newer name of the same.
    let role = if message.role == "developer" { "system" } else { &message.role };
    let content = text_of(message)?;
    if content.is_none() && message.tool_calls.is_none() {
        return Err(ApiError::invalid("messages", format!("a message of the role `{role}` has no content")));
    }
    let mut value = json!({ "role": role, "content": content.unwrap_or_default() });
    if !knows_tools {
        if let Some(calls) = &message.tool_calls {
            let told = calls.iter().map(|c| {
                let name = serde_json::to_string(&c.function.name).unwrap_or_default();
                format!("{{\"name\": {name}, \"arguments\": {}}}", c.function.arguments)
            });
            let before = value["content"].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            value["content"] = json!(before.into_iter().chain(told).collect::<Vec<_>>().join("\n"));
        }
        if role == "tool" || role == "function" {
            value["role"] = json!("user");
            value["content"] =
                json!(format!("The function's result: {}", value["content"].as_str().unwrap_or_default()));
        }
        return Ok(value);
    }
    if let Some(calls) = &message.tool_calls {
        // Templates want the arguments as what they are.
        let call = |c: &super::wire::ToolCall| {
            let arguments: Value =
                serde_json::from_str(&c.function.arguments).unwrap_or_else(|_| json!(c.function.arguments));
            json!({ "id": c.id, "type": "function", "function": { "name": c.function.name, "arguments": arguments } })
        };
        value["tool_calls"] = calls.iter().map(call).collect();
    }
    for (key, field) in [("name", &message.name), ("tool_call_id", &message.tool_call_id)] {
        if let Some(text) = field {
            value[key] = json!(text);
        }
    }
    Ok(value)
}

/// Tokens that may be drawn after a prompt.
///
/// # Errors
/// [`ApiError`] if the prompt leaves no room, or less than is asked for.
pub(super) fn room(model: &TextModel, param: &str, prompt: usize, asked: Option<usize>) -> Result<usize, ApiError> {
    let context = model.context;
    let left = context.saturating_sub(prompt);
    match asked {
        _ if left == 0 => Err(ApiError::too_long(
            param,
            format!("the prompt has {prompt} tokens, and the model's context is {context}; shorten it"),
        )),
        Some(asked) if asked > left => Err(ApiError::too_long(
            param,
            format!(
                "the prompt has {prompt} tokens and {asked} are asked for, which is more than the model's context of \
             {context}; shorten the prompt or ask for at most {left}"
            ),
        )),
        Some(asked) => Ok(asked),
        None => Ok(left),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn results_come_after_their_calls_in_any_order_and_once() {
        let call = |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
        let calls = json!({ "role": "assistant", "tool_calls": [call("a"), call("b")] });
        let result = |id: &str| json!({ "role": "tool", "tool_call_id": id, "content": "1" });
        let follow = |messages: &[&Value]| {
            let read = |m: &&Value| serde_json::from_value((*m).clone()).unwrap();
            results_follow_calls(&messages.iter().map(read).collect::<Vec<Message>>()).is_ok()
        };
        let (a, b) = (result("a"), result("b"));
        assert!(follow(&[&calls, &a, &b]) && follow(&[&calls, &b, &a]) && follow(&[&calls, &b]));
        assert!(!follow(&[&a, &calls]) && !follow(&[&calls, &a, &a]) && !follow(&[&calls, &result("c")]));
    }
}
