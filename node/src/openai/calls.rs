//! Calls of tools in a model's text.

use serde_json::Value;

use super::wire::{Called, Tool, ToolCall};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// A text, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// No call.
    Text(String),
    /// Calls, with the text before them.
    Calls(String, Vec<ToolCall>),
}

/// Looks for calls of these tools: blocks of `<tool_call>`, or a text that is nothing but one in JSON; where something was said
/// before it, only blocks.
pub(super) fn find(text: &str, tools: &[Tool], begun: bool, fresh_id: &mut dyn FnMut() -> String) -> Said {
    let mut calls = Vec::new();
    let mut before = String::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once(OPEN) {
        let (body, after) = tail.split_once(CLOSE).unwrap_or((tail, ""));
        if calls.is_empty() {
            before = head.trim_end().to_owned();
        }
        match call(body, tools, fresh_id) {
            Some(call) => calls.push(call),
            // What looks like a call and is none is text like any other.
            None => return Said::Text(text.to_owned()),
        }
        rest = after;
    }
    if calls.is_empty() && !begun {
        calls.extend(call(text, tools, fresh_id));
    }
    if calls.is_empty() { Said::Text(text.to_owned()) } else { Said::Calls(before, calls) }
}

/// A demanded call that was cut off: its function, and its arguments as far as they came. `None` where even the name is
/// not whole.
pub(super) fn cut(text: &str, tools: &[Tool], fresh_id: &mut dyn FnMut() -> String) -> Option<ToolCall> {
    let after = |text: &'_ str, mark: &str| text.trim_start().strip_prefix(mark).map(str::to_owned);
    let rest = after(&after(&after(text, "{")?, "\"name\"")?, ":")?;
    let mut names = serde_json::Deserializer::from_str(&rest).into_iter::<String>();
    let name = names.next()?.ok()?;
    tools.iter().find(|t| t.function.name == name)?;
    let rest = &rest[names.byte_offset()..];
    let arguments = after(rest, ",").and_then(|r| after(&r, "\"arguments\"")).and_then(|r| after(&r, ":"));
    let function = Called { name, arguments: arguments.unwrap_or_default().trim_start().to_owned() };
    Some(ToolCall { index: None, id: fresh_id(), kind: "function".to_owned(), function })
}

fn call(text: &str, tools: &[Tool], fresh_id: &mut dyn FnMut() -> String) -> Option<ToolCall> {
    let value: Value = serde_json::from_str(text.trim()).ok()?;
    let name = value.get("name")?.as_str()?;
    let tool = tools.iter().find(|t| t.function.name == name)?;
    let arguments = value.get("arguments").or_else(|| value.get("parameters"))?;
    let (given, arguments) = match arguments {
        Value::String(text) => (serde_json::from_str(text).unwrap_or(Value::Null), text.clone()),
        Value::Object(_) => (arguments.clone(), arguments.to_string()),
        _ => return None,
    };
    // A strict tool promises arguments that fit.
    if tool.function.strict == Some(true)
        && let Some(schema) = &tool.function.parameters
        && !fits(schema, &given)
    {
        return None;
    }
    let function = Called { name: name.to_owned(), arguments };
    Some(ToolCall { index: None, id: fresh_id(), kind: "function".to_owned(), function })
}

fn fits(schema: &Value, value: &Value) -> bool {
    // These match in linear time, whatever the pattern.
    let options = jsonschema::options().with_pattern_options(jsonschema::PatternOptions::regex());
    options.build(schema).is_ok_and(|schema| schema.is_valid(value))
}

/// Bytes of a text, so far, that belong to no call whatever comes; `begun` tells whether some of it was sent on already.
pub(super) fn free(text: &str, begun: bool) -> usize {
    if !begun && (text.trim_start().is_empty() || text.trim_start().starts_with('{')) {
        return 0;
    }
    let mark = text.find(OPEN).unwrap_or_else(|| {
        let ends = (1..OPEN.len().min(text.len() + 1)).rev();
        text.len() - ends.into_iter().find(|n| text.ends_with(&OPEN[..*n])).unwrap_or(0)
    });
    // Blanks before a call are no text.
    text[..mark].trim_end().len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tools() -> Vec<Tool> {
        serde_json::from_str(r#"[{"type": "function", "function": {"name": "add"}}]"#).unwrap()
    }

    fn said(text: &str) -> Said {
        let mut n = 0;
        find(text, &tools(), false, &mut || {
            n += 1;
            format!("call_{n}")
        })
    }

    #[test]
    fn blocks_and_bare_calls_are_found() {
        let Said::Calls(before, calls) =
            said("So: <tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>")
        else {
            panic!("no call")
        };
        assert_eq!((before.as_str(), calls.len()), ("So:", 1));
        assert_eq!(calls[0].function.arguments, r#"{"a":1}"#);
        assert!(matches!(said(r#"{"name": "add", "parameters": {}}"#), Said::Calls(_, c) if c.len() == 1));
    }

    #[test]
    fn a_strict_tool_is_called_with_what_fits_or_not_at_all() {
        let strict = r#"[{"type": "function", "function": {"name": "add", "strict": true,
            "parameters": {"type": "object", "properties": {"a": {"enum": [1, 2]}}}}}]"#;
        let tools: Vec<Tool> = serde_json::from_str(strict).unwrap();
        let is_call = |text| matches!(find(text, &tools, false, &mut String::new), Said::Calls(..));
        assert!(is_call(r#"{"name": "add", "arguments": {"a": 2}}"#));
        assert!(!is_call(r#"{"name": "add", "arguments": {"a": 3}}"#));
    }

    #[test]
    fn a_call_that_is_cut_off_has_what_came_of_its_arguments() {
        let cut = |text| cut(text, &tools(), &mut String::new).map(|c| c.function.arguments);
        assert_eq!(cut(r#"{"name":"add","arguments":{"a": 1"#).as_deref(), Some(r#"{"a": 1"#));
        assert_eq!(cut(r#" { "name" : "add""#).as_deref(), Some(""));
        for text in ["", "{", r#"{"name":"ad"#, r#"{"name":"sub","arguments":{}"#, "hello"] {
            assert_eq!(cut(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for text in [
            "hello",
            r#"{"name": "sub", "arguments": {}}"#,
            r#"{"name": "add", "arguments": 3}"#,
            "<tool_call>nonsense</tool_call>",
        ] {
            assert_eq!(said(text), Said::Text(text.to_owned()));
        }
        assert_eq!([free("hello", false), free(" <tool", false), free("{", false), free("{", true)], [5, 0, 0, 1]);
        assert_eq!([free("So: <tool_call>{", false), free("a <", true), free("a < b", true)], [3, 1, 5]);
    }
}
