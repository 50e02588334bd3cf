//! Conversations to prompts, by the model's own Jinja template.

use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;

/// Steps that a template may take: a hostile one ends here.
const FUEL: u64 = 5_000_000;

/// Why a conversation has no prompt.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The template is no template.
    #[error("the chat template does not parse: {0}")]
    Syntax(String),
    /// The template refuses these messages, in its own words.
    #[error("the chat template refuses this: {0}")]
    Refused(String),
    /// It fails on them.
    #[error("the chat template fails: {0}")]
    Failed(String),
}

/// A model's template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Parses a template; `bos` and `eos` are the texts of the model's own tokens.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`].
    pub fn new(template: String, bos: String, eos: String) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, format!("{REFUSED}{text}")))
        });
        environment.add_template_owned("chat", template).map_err(|e| TemplateError::Syntax(e.to_string()))?;
        Ok(Self { environment, bos, eos })
    }

    /// The prompt for messages, each with a role and content, and tools, if any; it ends where the answer begins.
    ///
    /// # Errors
    /// [`TemplateError`], in the template's words where it has some.
    pub fn render<M: Serialize, T: Serialize>(
        &self,
        messages: &[M],
        tools: Option<&[T]>,
    ) -> Result<String, TemplateError> {
        let template = self.environment.get_template("chat").map_err(|e| TemplateError::Syntax(e.to_string()))?;
        let rendered = template.render(context! {
            messages,
            tools,
            add_generation_prompt => true,
            bos_token => self.bos,
            eos_token => self.eos,
        });
        rendered.map_err(|error| {
            let text = error.detail().unwrap_or_default();
            match text.strip_prefix(REFUSED) {
                Some(own) => TemplateError::Refused(own.to_owned()),
                None => TemplateError::Failed(error.to_string()),
            }
        })
    }

    /// Whether it does anything with tools.
    pub fn knows_tools(&self) -> bool {
        self.environment.get_template("chat").is_ok_and(|t| t.source().contains("tools"))
    }
}

/// Tells a template's own refusal from an error of its execution.
const REFUSED: &str = "refused by the template: ";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str, messages: serde_json::Value) -> Result<String, TemplateError> {
        let template = ChatTemplate::new(template.to_owned(), "<s>".to_owned(), "</s>".to_owned())?;
        template.render::<_, ()>(messages.as_array().unwrap(), None)
    }

    #[test]
    fn messages_become_a_prompt() {
        let template = "{{ bos_token }}{% for m in messages %}\n  {% if m.role == 'user' %}\n[{{ m['content'].strip() }}]\
                        {% endif %}\n{% endfor %}{% if add_generation_prompt %}>{% endif %}";
        let prompt = render(template, json!([{ "role": "user", "content": " hi " }])).unwrap();
        assert_eq!(prompt, "<s>[hi]>");
    }

    #[test]
    fn a_template_refuses_in_its_own_words() {
        let error = render("{{ raise_exception('no system role') }}", json!([])).unwrap_err();
        assert_eq!(error.to_string(), "the chat template refuses this: no system role");
    }

    #[test]
    fn a_template_that_would_never_end_is_ended() {
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
        assert!(matches!(render(endless, json!([])), Err(TemplateError::Failed(_))));
        assert!(matches!(render("{% for %}", json!([])), Err(TemplateError::Syntax(_))));
    }
}
